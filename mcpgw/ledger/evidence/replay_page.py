"""A session as one page, for a screen, for paper, and to be played. Nothing is fetched, and its script only plays it."""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from html import escape
from string import Template

from mcpgw.core.moments import offset
from mcpgw.core.visible import visible
from mcpgw.ledger.beside import Pair, beside, lines
from mcpgw.ledger.replay import Shown, Step

_SIDES = {"client": "client", "people": "behind the client", "gateway": "behind the client"}


def page(session: str, log: str, steps: Iterable[Step], *, gateway: str) -> str:
    """Return the page. The same steps make the same page."""
    items, last = [], None
    for step in steps:
        items.append(_item(step))
        last = step
    told = [("Session", session), ("Log", log), ("Written by", f"mcpgw {gateway}")]
    if last:
        began = last.time_ns - last.offset_ns
        told += [("Began", _time(began)), ("Steps", str(len(items))), ("Lasted", offset(last.offset_ns))]
    return _PAGE.substitute(
        policy=_POLICY,
        style=_STYLE,
        script=_SCRIPT,
        title=_text(f"Session {session}"),
        about="".join(f"<dt>{_text(name)}<dd>{_text(value)}" for name, value in told),
        steps="\n".join(items),
    )


def _item(step: Step) -> str:
    marks = "".join(f"<li>{_text(mark)}" for mark in step.marks)
    return (
        f'<li class="step {step.tone} {step.side}" data-ms="{step.offset_ns // 1_000_000}">'
        f'<p class=when><time datetime="{_iso(step.time_ns)}">{offset(step.offset_ns)}</time> '
        f"<span>record {step.seq}</span> <span>{_SIDES[step.side]}</span></p>"
        f"<h2>{f'<b>{_text(step.who)}</b> ' if step.who else ''}{_text(step.title)}</h2>"
        f"{f'<ul class=marks>{marks}</ul>' if marks else ''}{''.join(map(_payload, step.shown))}"
    )


def _payload(shown: Shown) -> str:
    if not shown.text:
        return f"<p class=gone>The {shown.label} of this record is not there any more: it was erased, or is missing.</p>"
    body = "".join(_raws(shown)) or f"<pre>{_block(lines(shown.text))}</pre>"
    return f"<details open><summary>{shown.label}</summary>{body}</details>"


def _raws(shown: Shown) -> Iterator[str]:
    for raw in shown.raw:
        pairs = [*beside(shown.text, raw.text)] if raw.text else [Pair(line, "") for line in lines(shown.text)]
        rows = "".join(
            f"<tr{' class=differs' if one.differs else ''}><td>{_text(one.clean)}<td>{_text(one.raw)}" for one in pairs
        )
        yield f"<table><thead><tr><th>clean<th>raw: {_text(raw.note)}<tbody>{rows}</table>"


def _block(shown: Iterable[str]) -> str:
    return "\n".join(map(escape, shown))


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _iso(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _text(value: str) -> str:
    """Text as text: no markup, and nothing in it turns a line around or hides."""
    return escape(visible(value))


_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881;--good:#17803d;--held:#9a6700;--bad:#c01c28}
@media(prefers-color-scheme:dark){:root{--good:#4cc38a;--held:#e3b341;--bad:#ff7b72}}
body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:64rem;padding:0 1.5rem 4rem}
h1{border-bottom:3px solid #1f5fae;padding-bottom:.5rem;font-size:1.4rem;overflow-wrap:anywhere}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1.2rem}dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}
#player{position:sticky;top:0;display:flex;gap:.8rem;align-items:center;flex-wrap:wrap;padding:.6rem 0;background:Canvas;
border-bottom:1px solid var(--line)}#player[hidden]{display:none}#at{flex:1;min-width:10rem}button{min-width:5rem}
output{font:13px ui-monospace,monospace;min-width:7rem}
ol{list-style:none;padding:0;margin:1.2rem 0}
.step{border-left:4px solid var(--line);padding:.1rem 0 .6rem 1rem;margin:0 0 .8rem}.step.later{display:none}
.good{border-color:var(--good)}.held{border-color:var(--held)}.bad{border-color:var(--bad)}
.people,.gateway{margin-left:3rem;background:var(--soft)}
.when{margin:0;font-size:.8rem;opacity:.85}.when time{font-family:ui-monospace,monospace}.when span{margin-left:.8rem}
h2{font-size:1rem;font-weight:400;margin:.1rem 0;overflow-wrap:anywhere}
.marks{margin:.2rem 0;padding:0;display:flex;flex-wrap:wrap;gap:.3rem .5rem;list-style:none;font-size:.82rem}
.marks li{border:1px solid var(--line);border-radius:.8rem;padding:0 .6rem;overflow-wrap:anywhere}
.good .marks li:first-child{border-color:var(--good)}.held .marks li:first-child{border-color:var(--held)}
.bad .marks li:first-child{border-color:var(--bad)}
summary{cursor:pointer;font-size:.85rem}
pre,td{font:12.5px/1.45 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
pre{background:var(--soft);padding:.5rem .7rem;margin:.2rem 0}.gone{font-style:italic;margin:.2rem 0}
table{border-collapse:collapse;width:100%;table-layout:fixed}td,th{vertical-align:top;text-align:left;padding:0 .5rem;
border:1px solid var(--line);font-size:12.5px}.differs td{background:#e3b34133}.differs td:last-child{font-weight:700}
@media print{#player{display:none!important}.step{break-inside:avoid}.step.later{display:block}body{max-width:none}}
"""
_SCRIPT = """
"use strict";
const steps = [...document.querySelectorAll(".step")], at = document.getElementById("at");
const play = document.getElementById("play"), speed = document.getElementById("speed");
const clock = document.getElementById("clock");
const LONGEST_MS = 3000; /* a pause of hours is nothing to sit through */
let shown = steps.length, timer = 0;
function show(count) {
  shown = Math.max(0, Math.min(steps.length, count));
  steps.forEach((step, number) => step.classList.toggle("later", number >= shown));
  at.value = shown;
  clock.value = `${shown} of ${steps.length}`;
}
function stop() { clearTimeout(timer); timer = 0; play.textContent = "Play"; }
function next() {
  show(shown + 1);
  if (shown) steps[shown - 1].scrollIntoView({ block: "nearest" });
  if (shown >= steps.length) return stop();
  const gap = shown ? steps[shown].dataset.ms - steps[shown - 1].dataset.ms : 0;
  timer = setTimeout(next, Math.min(LONGEST_MS, gap / speed.value));
}
play.onclick = () => {
  if (timer) return stop();
  if (shown >= steps.length) show(0);
  play.textContent = "Pause";
  next();
};
at.oninput = () => { stop(); show(Number(at.value)); };
at.max = steps.length;
show(steps.length);
document.getElementById("player").hidden = false;
"""


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


_POLICY = f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; form-action 'none'; base-uri 'none'"
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="no-referrer">
<title>$title</title>
<style>$style</style>
</head>
<body>
<h1>$title</h1>
<dl>$about</dl>
<p>What the client asked and was answered, and set in what went on behind it. Payloads are the clean view unless they say
otherwise. Characters that hide, turn a line around or look like others are written as escapes. This page proves nothing by
itself: <code>mcpgw verify</code> checks the log, or a package of it.</p>
<div id="player" hidden>
<button id="play" type="button">Play</button>
<label>speed <select id="speed">
<option value="1">1&times;<option value="10" selected>10&times;<option value="100">100&times;
</select></label>
<input id="at" type="range" min="0" aria-label="steps shown"><output id="clock"></output>
</div>
<ol>
$steps
</ol>
<script>$script</script>
</body>
</html>
""")
