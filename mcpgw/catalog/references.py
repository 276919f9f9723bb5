"""Secrets by reference: `${env:NAME}` and `${file:path}`. The catalog holds the reference; the value is read when it is used.

Text may stand around a reference (`"Basic ${env:LOGIN}"`). A `${` that begins neither form is an error, so that a typo never
travels to an upstream as if it were the secret.
"""

import re
from collections.abc import Mapping
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
  | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----
    """,
    re.VERBOSE,
)
_LOGIN_SCHEME = re.compile(r"(?i:bearer|basic|token)\s+\S{6,}")
_URL_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@", re.IGNORECASE)
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


def literal_secret(name: str, value: str) -> str:
    """Return why this value, given under this name, looks like a secret written out; empty where it does not.

    A value with a reference in it is judged by what stands around the reference.
    """
    rest = _REFERENCE.sub("", value)
    if telling_name(name) and rest.strip() and rest == value:
        return "its name says it is a secret"
    return secret_shape(rest) or ("it looks random, like a key" if _is_random(rest) else "")


def secret_shape(value: str) -> str:
    """Return why a value is surely a secret whatever its name is (a known kind of key, a password in a URL), or nothing."""
    value = _REFERENCE.sub("", value)
    if _KNOWN.search(value):
        return "it has the form of a known kind of key"
    if _URL_PASSWORD.search(value):
        return "it is an address with a password in it"
    if _LOGIN_SCHEME.fullmatch(value.strip()):
        return "it is a login header written out"
    return ""


def _is_random(value: str) -> bool:
    """A UUID alone is not taken for a key: tenants and projects are named by them."""
    if not _RANDOM.fullmatch(value) or _UUID.fullmatch(value):
        return False
    return len(_CHANGES.findall(value)) >= _RANDOM_CHANGES
