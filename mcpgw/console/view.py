"""From values to pages. Everything that somebody else wrote goes through `visible` and is escaped; nothing is marked safe."""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from typing import Any, Final

import anyio.to_thread
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from mcpgw.core.moments import offset
from mcpgw.core.visible import visible, visible_json, visible_line, visible_payload

HEADERS: Final = {
    # Neither inline script nor inline style, nothing from elsewhere, and no frame of anybody around our buttons.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    # `no-referrer` would turn the Origin of our own forms into `null` (Fetch standard, "append a request Origin header").
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
_FOREVER: Final = {"cache-control": "public, max-age=31536000, immutable"}
"""A static file's name holds its hash, so it never changes."""
_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_SUMMARY: Final = 180
"""Characters of masked arguments in a list."""


@dataclass(frozen=True, slots=True)
class Static:
    body: bytes
    media_type: str


class View:
    """Templates and static files of the package, read once at the start."""

    def __init__(self, *, name: str, version: str) -> None:
        self._static, links = _read_static()
        # Autoescaping everywhere; a name that a template misspells is an error and not an empty place.
        self._templates = Environment(
            loader=PackageLoader("mcpgw.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"gateway": name, "version": version, "static": links}
        self._templates.filters |= _FILTERS

    def page(self, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any) -> Response:
        """Return the page. `visit` must be among the values where somebody is signed in."""
        text = self._templates.get_template(template).render({"visit": None, "now_ns": time.time_ns(), **values})
        return HTMLResponse(text, status_code=status, headers={**HEADERS, **(headers or {})})

    async def long_page(self, template: str, **values: Any) -> Response:
        """Return a page of payloads, which may be long: made beside the event loop, so that no call waits for it."""
        return await anyio.to_thread.run_sync(partial(self.page, template, **values))

    def file(self, name: str) -> Response:
        """Return a static file by its hashed name; a name that is not in the list does not exist."""
        found = self._static.get(name)
        if found is None:
            return Response("Not Found", status_code=404, media_type="text/plain", headers=HEADERS)
        return Response(found.body, media_type=found.media_type, headers={**HEADERS, **_FOREVER})


def _read_static() -> tuple[dict[str, Static], dict[str, str]]:
    """Return the files by hashed name, and the links by plain name."""
    files: dict[str, Static] = {}
    links: dict[str, str] = {}
    for entry in resources.files("mcpgw.console").joinpath("static").iterdir():
        stem, _, ending = entry.name.rpartition(".")
        if ending in _TYPES:
            body = entry.read_bytes()
            name = f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{ending}"
            files[name] = Static(body, _TYPES[ending])
            links[entry.name] = f"/static/{name}"
    return files, links


def clock(time_ns: int) -> str:
    """Return Unix nanoseconds as people read them: UTC, to the second."""
    return _moment(time_ns).strftime("%Y-%m-%d %H:%M:%S UTC")


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(int(time_ns) // 1_000_000_000, UTC)


def span(nanoseconds: int) -> str:
    """Return a length of time for people: `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`; nothing below zero."""
    seconds = max(0, nanoseconds // 1_000_000_000)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3_600:
        return f"{seconds // 60} min"
    if seconds < 86_400:
        return f"{seconds // 3_600} h {seconds % 3_600 // 60:02} min"
    return f"{seconds // 86_400} d {seconds % 86_400 // 3_600} h"


def iso(time_ns: int) -> str:
    return _moment(time_ns).isoformat()


def lines(text: object) -> str:
    """Return text of several lines, each of them `visible`."""
    return "\n".join(map(visible, str(text).split("\n")))


def note(text: object) -> str:
    """Return a signed note so that it can be copied: its em dash (C2SP signed-note) is no deception."""
    return lines(text).replace("\\u2014 ", "\N{EM DASH} ")


def one_line(text: object) -> str:
    return visible(str(text))


def summary(value: object) -> str:
    """Return a JSON value on one bounded line, in characters that cannot deceive."""
    return visible_line(value, _SUMMARY)


_FILTERS: Final[dict[str, Callable[..., str]]] = {
    "visible": one_line,
    "lines": lines,
    "note": note,
    "clock": clock,
    "iso": iso,
    "span": span,
    "offset": offset,
    "payload": visible_payload,
    "json": visible_json,
    "summary": summary,
}
