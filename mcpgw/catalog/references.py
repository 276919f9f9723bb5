"""Secrets by reference: `${env:NAME}` and `${file:path}`. The catalog holds the reference; the value is read when it is used.

Text may stand around a reference (`"Basic ${env:LOGIN}"`). A `${` that begins neither form is an error, so that a typo never
travels to an upstream as if it were the secret.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_SECRET_BYTES = 65_536
"""Longest file that a reference may name: keys and tokens are short, and a wrong path should not fill an environment."""

_REFERENCE = re.compile(r"\$\{(?P<kind>env|file):(?P<name>[^{}]+)\}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ReferenceUnresolved(ValueError):
    """A reference names something that is not there. The message never holds a value."""


def has_reference(text: str) -> bool:
    return _REFERENCE.search(text) is not None


def malformed(text: str) -> str:
    """Return what is wrong with the references in the text, without quoting it; empty where nothing is."""
    for match in _REFERENCE.finditer(text):
        if match["kind"] == "env" and not _ENV_NAME.fullmatch(match["name"]):
            return "${env:…} needs the name of an environment variable: letters, digits and underscores"
    if "${" in _REFERENCE.sub("", text):
        return "only ${env:NAME} and ${file:path} are understood after ${"
    return ""


def substitute(text: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Return the text with every reference replaced by its value; `${file:…}` is relative to the folder.

    A file's value ends before its last line break, because editors and `echo` add one.

    Raises:
        ReferenceUnresolved: a variable is not set or empty, or a file is missing, unreadable, empty, too long or no text.
    """

    def value_of(match: re.Match[str]) -> str:
        if match["kind"] == "env":
            return _from_environment(match["name"], environ)
        return _from_file(match["name"], folder)

    return _REFERENCE.sub(value_of, text)


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if not value:
        state = "empty" if name in environ else "not set"
        raise ReferenceUnresolved(f"the environment variable {name} is {state}")
    return value


def _from_file(name: str, folder: Path) -> str:
    path = folder / name
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ReferenceUnresolved(f"the file {name} cannot be read: {error.strerror}") from None
    if len(data) > MAX_SECRET_BYTES:
        raise ReferenceUnresolved(f"the file {name} is longer than {MAX_SECRET_BYTES} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ReferenceUnresolved(f"the file {name} is not UTF-8 text") from None
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise ReferenceUnresolved(f"the file {name} is empty")
    return value


# --- literal secrets -----------------------------------------------------------------------------------------------------

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_TELLING = frozenset(
    {"token", "secret", "password", "passwd", "passphrase", "pass", "pwd", "key", "apikey", "pat", "bearer"}
    | {"credential", "credentials", "authorization", "auth", "cookie"}
)
_HARMLESS_KEYS = frozenset({"public", "primary", "foreign", "sort", "partition"})
_KNOWN = re.compile(
    r"""
    \b(?: sk-[A-Za-z0-9_-]{16,} | [sr]k_(?:live|test)_[A-Za-z0-9]{10,} | gh[pousr]_[A-Za-z0-9]{20,}
      | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,} | xox[abeprs]-[A-Za-z0-9-]{10,}
      | (?:AKIA|ASIA)[A-Z0-9]{16} | AIza[A-Za-z0-9_-]{30,}
      | hf_[A-Za-z0-9]{20,} | npm_[A-Za-z0-9]{30,} | pypi-[A-Za-z0-9_-]{30,} | SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}
      | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\. )
    """,
    re.VERBOSE,
)
_LOGIN_SCHEME = re.compile(r"\s*(?i:bearer|basic|token)\s+(\S{6,})\s*")
_ASSIGNED = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:=|:\s*)(?:(?i:bearer|basic|token)\s+)?(\S+)")
"""`API_KEY=…` behind `docker run -e`, `Authorization: Bearer …` behind `--header`."""
_URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:([^/\s@]+)@", re.IGNORECASE)
_URL_QUERY = re.compile(r"[?&]([A-Za-z0-9_.-]+)=([^&#\s]+)")
_URL_SEGMENT = re.compile(r"(?<=/)[^/?#\s]+")
_FLAG = re.compile(r"--?[A-Za-z-]*(?:token|secret|password|api-?key)(?:=(?P<given>.*))?", re.IGNORECASE)
_RANDOM = re.compile(r"(?!/)[A-Za-z0-9+/_=-]{24,}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CHANGES = re.compile(r"(?<=[0-9])(?=[A-Za-z])|(?<=[A-Za-z])(?=[0-9])")
_RANDOM_CHANGES = 4
"""Changes between letter and digit from which a long word is taken for a key: 24 random characters have about seven."""


def telling_name(name: str) -> bool:
    """Tell whether a variable or header is by its name a secret: its last word says so (`BANK_TOKEN`, `X-Api-Key`)."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words:
        return False
    last = words[-1]
    if last == "key" and len(words) > 1 and words[-2] in _HARMLESS_KEYS:
        return False
    return last in _TELLING or last.endswith(("password", "passwd", "apikey", "secret", "token"))


@dataclass(frozen=True, slots=True)
class Written:
    """A secret written out in a text: from where to where, and how it was recognised."""

    start: int
    end: int
    why: str


def literal_secret(name: str, value: str) -> tuple[Written, ...]:
    """Return the secrets written out in a value that is given under this name (of a variable or header).

    What stands around a reference is judged, never the reference. Recognised by shape, else the whole value by its name.
    """
    if shaped := secret_shape(value):
        return shaped
    rest = _without_references(value)
    if telling_name(name) and rest == value and value.strip():
        return (Written(0, len(value), "its name says it is a secret"),)
    if _is_random(rest):
        return (Written(0, len(value), "it looks random, like a key"),)
    return ()


def secret_shape(value: str, *, is_address: bool = False) -> tuple[Written, ...]:
    """Return what surely is a secret whatever its name is: a known kind of key, a password or key in an address.

    In an address that a server is called by, a random part of the path counts too: whoever knows it may call.
    """
    rest = _without_references(value)
    found = [Written(*match.span(), "it has the form of a known kind of key") for match in _KNOWN.finditer(rest)]
    if "PRIVATE KEY-----" in rest:
        return (Written(0, len(value), "it is a private key"),)
    found += [Written(*match.span(1), "it is an address with a password in it") for match in _URL_PASSWORD.finditer(rest)]
    found += [
        Written(*match.span(2), "it is an address with a key in it")
        for match in _URL_QUERY.finditer(rest)
        if telling_name(match[1])
    ]
    if login := _LOGIN_SCHEME.fullmatch(rest):
        found.append(Written(*login.span(1), "it is a login header written out"))
    if (assigned := _ASSIGNED.fullmatch(rest)) and telling_name(assigned[1]):
        found.append(Written(*assigned.span(2), "it gives a secret its value"))
    if is_address:
        segments = (match for match in _URL_SEGMENT.finditer(rest) if _is_random(match[0]))
        found += [Written(*match.span(), "it is an address with a key in it") for match in segments]
    return _apart(found)


def flagged_secret(args: Sequence[str], position: int) -> tuple[Written, ...]:
    """Return the secret that an argument is by the option before it: `--api-key VALUE`, or `--api-key=VALUE` itself."""
    arg, why = args[position], "it follows the option for one"
    if has_reference(arg):
        return ()
    if flag := _FLAG.fullmatch(arg):
        return (Written(flag.start("given"), len(arg), why),) if flag["given"] else ()
    before = _FLAG.fullmatch(args[position - 1]) if position else None
    if before is None or before["given"] is not None or arg.startswith("-") or not arg:
        return ()
    return (Written(0, len(arg), why),)


def _without_references(value: str) -> str:
    """Blanks in place of references, so that positions stay."""
    return _REFERENCE.sub(lambda match: " " * len(match[0]), value)


def _apart(found: list[Written]) -> tuple[Written, ...]:
    """Drop what overlaps an earlier find."""
    kept: list[Written] = []
    for one in sorted(found, key=lambda one: (one.start, -one.end)):
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return tuple(kept)


def _is_random(value: str) -> bool:
    """A UUID alone is not taken for a key: tenants and projects are named by them."""
    if not _RANDOM.fullmatch(value) or _UUID.fullmatch(value):
        return False
    return len(_CHANGES.findall(value)) >= _RANDOM_CHANGES
