"""Suspicious text in definitions: what a description says to the model that reads it, and not to the admin who accepts it.

Heuristics, so they warn and decide nothing by themselves: a definition that is flagged is accepted by a person who was shown
why. docs/catalog.md lists what is looked for, and what is not found. Everything takes time in proportion to the text, because
an upstream chooses its length.
"""

import base64
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mcpgw.catalog.hidden import is_hidden, part, visible
from mcpgw.core.model import Json

_SHOWN = 80
"""Characters of a suspicious passage that are shown."""
_LONG = 20_000
"""Characters of one text above which nobody reads it; real descriptions have at most about 5,000."""
_DISTINCTIVE = 6
"""Characters of another server's tool name from which a mention of it is no accident."""
_ENCODED = 48
"""Characters of a run of Base64 from which it can hold a sentence. Hashes are shorter, or hexadecimal."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """One passage that a person should read before it reaches a model."""

    path: str
    what: str
    """What it seems to do, with the passage."""

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def suspicions(definition: Json, foreign: Collection[str] = ()) -> Iterator[Suspicion]:
    """Yield what is suspicious in the texts and keys of a definition, each kind once for each text.

    Args:
        definition: a tool, prompt, resource or template, as its server offers it; at most `definition.MAX_DEPTH` deep.
        foreign: names of what other servers offer, as they and as the gateway call it, without this server's own.
    """
    known = frozenset(name.lower() for name in foreign if _is_distinctive(name))
    for path, text, is_key in _texts(definition, ""):
        for what in _judge(text, () if is_key else known):
            yield Suspicion(path or "(all of it)", what)


def _texts(value: Json, path: str) -> Iterator[tuple[str, str, bool]]:
    """Yield path and text of everything, and whether it is a key."""
    if isinstance(value, str):
        yield path, value, False
    elif isinstance(value, Mapping):
        for key, item in value.items():
            inside = f"{path}.{part(key)}" if path else part(key)
            yield f"{inside} (the key)", key, True
            yield from _texts(item, inside)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _texts(item, f"{path}[{position}]")


def _judge(text: str, foreign: Collection[str]) -> Iterator[str]:
    if _is_image(text):
        return
    if len(text) > _LONG:
        yield f"has {len(text):,} characters, more than anybody reads; the first {_LONG:,} were looked at"
        text = text[:_LONG]
    if mixed := _mixed_script(text):
        yield f"mixes alphabets in one word: {_quoted(mixed)}"
    yield from _encoded(text)
    for what, pattern in _OUT_OF_SIGHT:
        if found := pattern.search(text):
            yield f"{what}: {_quoted(found[0].strip())}"
    plain = _plain(text)
    readings = dict.fromkeys((plain, _without_accents(plain)))
    for what, pattern in _SECRETS:
        yield from (f"{what}: {found}" for found in _first(pattern, readings))
    spoken = [reading.replace("_", " ") for reading in readings]
    for what, pattern in _SPOKEN:
        yield from (f"{what}: {found}" for found in _first(pattern, spoken))
    yield from (f"names what another server offers: {_quoted(name)}" for name in _mentions(plain, foreign))


def _first(pattern: re.Pattern[str], readings: Iterable[str]) -> list[str]:
    """Return the first passage of the first reading that has one, quoted, or nothing."""
    return [_quoted(found[0]) for reading in readings if (found := pattern.search(reading))][:1]


# --- words ---------------------------------------------------------------------------------------------------------------


def _phrase(text: str) -> re.Pattern[str]:
    """Compile a pattern in which `~3` stands for up to three words between, over lines too. Possessive, so that it takes
    linear time."""
    return re.compile(re.sub(r"~(\d)", lambda most: rf"(?:\W++\w++){{0,{most[1]}}}?\W++", text), re.MULTILINE)


_MODELS_OWN = r"(?:previous|prior|above|earlier|preceding|existing|system|your|safety|all (?:other|of your)|any other)"
_INSTRUCTIONS = r"(?:instructions?|prompts?|rules|guidelines?|guardrails|directives?|constraints|polic(?:y|ies)|training)"

_SPOKEN: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "tells the model to disregard its instructions",
        _phrase(
            r"\b(?:ignore|disregard|forget|override|bypass|neglect|(?:do not|don't|stop|no longer) (?:follow|obey)(?:ing)?)\b"
            rf"~2{_MODELS_OWN}\b~2{_INSTRUCTIONS}\b"
        ),
    ),
    (
        "tells the model to disregard its instructions",
        re.compile(
            r"\b(?:ignorier\w*|vergiss|missachte\w*)\b.{0,40}\b(?:anweisung\w*|vorgaben|regeln)\b"
            r"|\bignor(?:e|ez|er|a|ar|are|á)\b.{0,40}\b(?:instructions pr\w+|consignes|instrucciones|instruções|istruzioni)\b"
            r"|\b(?:игнорируй\w*|забудь\w*)\b.{0,40}\b(?:инструкци\w*|указани\w*)\b"
            r"|(?:忽略|无视|無視).{0,12}(?:指令|指示|提示)|(?:指示|命令).{0,6}無視"
        ),
    ),
    (
        "gives the model a part to play",
        _phrase(
            r"\byou are now (?:an?|the|in|my)\b|\bfrom now on,? (?:you|always|never|every|all)\b"
            r"|\bpretend (?:to be|that you|you are)\b"
            r"|\b(?:developer|debug|god|dan|unrestricted) mode (?:is )?(?:on|enabled|activated)\b|\bjailbreak\b"
        ),
    ),
    (
        "poses as the system or as a person",
        re.compile(
            r"<\s*+(?:/\s*+)?(?:important|system|instructions?|secret|hidden|assistant|critical|admin|override)\s*>"
            r"|<\|[a-z ]{2,20}\|>|\[/?inst\]|^ *+(?:#++ *+)?(?:system|assistant|developer)\s*:\s*\S"
            r"|\b(?:system|security|admin\w*) override\b|\bnew instructions?\s*:"
            r"|\b(?:end of|begin) system (?:prompt|message)\b",
            re.MULTILINE,
        ),
    ),
    (
        "wants something kept from the user",
        _phrase(
            r"\b(?:do not|don't|never|without|must not|should not|mustn't|avoid)~3"
            r"(?:tell|inform|mention|reveal|show|notify|alert|disclose|warn|ask|report|telling|informing|mentioning|revealing"
            r"|showing|notifying|alerting|disclosing|warning|asking|reporting)\b~4(?:users?|humans?|customers?|operators?)\b"
            r"|\bwithout (?:the )?(?:user|human|customer)(?:'s|s)? (?:knowledge|knowing|consent|permission|approval|noticing)\b"
            r"|\b(?:hide|conceal|keep)~3(?:secret|hidden|from)~1(?:users?|humans?)\b"
            r"|\b(?:user|human)s? (?:must|should|need|shall|will) (?:not|never) (?:know|see|notice|learn|find out|be told)\b"
        ),
    ),
    (
        "puts itself before or in place of other tools",
        _phrase(
            r"\b(?:before|after|whenever|when|each time|every time|prior to|instead of|rather than)\b~3"
            r"(?:any|every|each|all|another|the) (?:other )?(?:tools?|servers?|functions?|mcps?)\b"
            r"(?! (?:version|name|result|id)s?\b)"
            r"|\b(?:do not|don't|never|avoid|stop) (?:use|call|using|calling|invoke|invoking)~1(?:other|another)\b"
            r"|\b(?:other|another|every other|all other)~2(?:tools?|servers?) (?:is|are) "
            r"(?:broken|deprecated|unsafe|disabled|outdated)\b"
        ),
    ),
    (
        "asks for what the model was told",
        _phrase(
            r"\b(?:include|pass|append|forward|attach|put|copy|embed|provide|send|leak|upload|exfiltrate|paste|insert|repeat|fill)\b"
            r"~5(?:system prompt|(?:conversation|chat|message) (?:history|transcript|log)|(?:whole|entire|full) conversation"
            r"|(?:previous|earlier|prior|preceding) (?:messages|conversation|tool (?:results?|outputs?))"
            r"|context window|your instructions)\b"
        ),
    ),
    (
        "asks for secrets",
        _phrase(
            r"\b(?:include|pass|append|forward|attach|put|copy|embed|provide|send|leak|upload|exfiltrate|paste|insert|read|fetch)\b"
            r"~3(?:user(?:'s|s)?|any|all|your|their|every)~2(?:api keys?|private keys?|ssh keys?|passwords?|credentials|secrets"
            r"|access tokens?|environment variables|seed phrases?|cookies)\b"
        ),
    ),
)
"""What is said in words, lower case, underscores as spaces: what it does, and how it is known."""

_SECRETS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "names a place where secrets are kept",
        re.compile(
            r"\.ssh\b|\bid_(?:rsa|ed25519|ecdsa|dsa)\b|/etc/(?:passwd|shadow)\b|\.aws/credentials|\.kube/config|\.git-credentials"
            r"|\.netrc\b|\.npmrc\b|\.pypirc\b|\.bash_history|/proc/(?:self|\d+)/environ|\bwallet\.dat\b|\.pgpass\b"
            r"|\bclaude_desktop_config|(?:\.cursor|\.vscode|\.claude|\.codeium)/|\b\.?mcp\.json\b"
            r"|\b169\.254\.169\.254\b|\bmetadata\.google\.internal\b"
        ),
    ),
)

_OUT_OF_SIGHT: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "pushes text out of sight",
        re.compile(r"(?<![ \t\u00a0\u3000])[ \t\u00a0\u3000]{64,}+\S{1,80}|(?<![\n \t])(?:\n[ \t]*+){16,}+\S{1,80}"),
    ),
    ("hides text in a comment", re.compile(r"<!--.{0,80}", re.DOTALL)),
    ("holds an image that would be fetched", re.compile(r"!\[[^\]\n]{0,200}\]\(\s*https?:[^\s)]{0,80}", re.IGNORECASE)),
)

_LOOKS_LATIN = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0455\u0458\u04bb\u0501\u051b\u051d\u0432\u043a\u043c\u043d"
    "\u0442"  # so far Cyrillic
    "\u03b1\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u0131\u0261"  # Greek, dotless i, script g
    "\u0566\u0570\u0575\u0578\u057d\u0581\u0585\uab75"  # Armenian, Cherokee i
    "\u1d00\u0299\u1d04\u1d05\u1d07\ua730\u0262\u029c\u026a\u1d0a\u1d0b\u029f\u1d0d\u0274\u1d0f\u1d18\u0280\ua731"
    "\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22",  # small capitals
    "aeopcyxisjhdqwbkmhtaeiknoptuxigqhjnugoiabcdefghijklmnoprstuvwyz",
)
"""Lower-case letters that pass for Latin ones (Unicode's UTS 39 lists more; these are on keyboards)."""


def _plain(text: str) -> str:
    """Return the text as a model reads it: compatible forms and look-alikes as plain letters, what hides or marks up gone."""
    if not text.isascii():  # one by one: normalising a long run of combining marks takes quadratic time
        text = "".join(unicodedata.normalize("NFKC", char) for char in text if char in "\n\t" or not is_hidden(char))
    return re.sub(r"[ \t\r]+", " ", re.sub(r"[*`~]+", "", text.lower())).translate(_LOOKS_LATIN)


def _without_accents(plain: str) -> str:
    """Return the text without marks on letters, which no model stumbles over: `ïgnore`. One by one, as above."""
    if plain.isascii():
        return plain
    letters = (letter for char in plain for letter in unicodedata.normalize("NFD", char))
    return "".join(letter for letter in letters if unicodedata.category(letter) != "Mn").translate(_LOOKS_LATIN)


_WORD = re.compile(r"[^\W\d_]+")


def _mixed_script(text: str) -> str:
    """Return the first word that mixes Latin letters with look-alikes of another alphabet, or an empty string."""
    if text.isascii():
        return ""
    for word in _WORD.finditer(text):
        letters = word[0].lower()
        if any("a" <= letter <= "z" for letter in letters) and any(ord(letter) in _LOOKS_LATIN for letter in letters):
            return word[0]
    return ""


# --- other servers -------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[a-z0-9]+(?:[_-]+[a-z0-9]+)*")


def _is_distinctive(name: str) -> bool:
    """Tell whether a name is more than an English word: `read_file`, not `fetch`."""
    return len(name) >= _DISTINCTIVE and bool(re.search(r"[_-]|[a-z][A-Z]|[a-z]\d", name))


def _mentions(plain: str, foreign: Collection[str]) -> list[str]:
    if not foreign:
        return []
    return list(dict.fromkeys(found[0] for found in _NAME.finditer(plain) if found[0] in foreign))


# --- encoded text --------------------------------------------------------------------------------------------------------

_BASE64 = re.compile(rf"[A-Za-z0-9+/]{{{_ENCODED},}}+={{0,2}}")
_ESCAPES = re.compile(
    r"(?:\\x[0-9a-f]{2}){6}|(?:\\u\{?[0-9a-f]{4,6}\}?){6}|(?:&#x?[0-9a-f]{1,6};){6}|(?:%[0-9a-f]{2}){12}|\b[0-9a-f]{130,}"
    r"|(?:\b[01]{8}\b[ ,]*){8}",
    re.IGNORECASE,
)


def _encoded(text: str) -> Iterator[str]:
    for run in _BASE64.finditer(text):
        if _looks_random(run[0]):
            decoded = _decoded(run[0])
            yield f"holds encoded text: {_quoted(run[0])}" + (f", which reads {_quoted(decoded)}" if decoded else "")
            break
    if escaped := _ESCAPES.search(text):
        yield f"holds encoded text: {_quoted(escaped[0])}"


def _looks_random(run: str) -> bool:
    """Tell Base64 from a long path, a long word and a hexadecimal hash."""
    longest = max(run.rstrip("=").split("/"), key=len)
    is_mixed = not (longest.isalpha() or longest.islower() or longest.isupper())
    return len(longest) >= _ENCODED // 2 and is_mixed


def _decoded(run: str) -> str:
    try:
        text = base64.b64decode(run[: len(run) // 4 * 4]).decode("utf-8")
    except ValueError:
        return ""
    return text if text.isprintable() else ""


def _is_image(text: str) -> bool:
    """Tell whether it is an icon that is written out."""
    return text.startswith("data:image/")


def _quoted(text: str) -> str:
    shown = visible(text).replace("\n", " ")
    return f'"{shown[:_SHOWN]}{"…" if len(shown) > _SHOWN else ""}"'
