"""Whom `user:NAME`, `group:NAME` and `claim:NAME=VALUE` mean: one answer for policy and for the desk."""

import math

from mcpgw.core.model import Identity, Json

FORMS = ("user", "group", "claim")


def malformed(entry: str) -> bool:
    """Tell whether an entry is none of `user:NAME`, `group:NAME` and `claim:NAME=VALUE`."""
    form, _, name = entry.partition(":")
    if form == "claim":
        return not 0 < name.rfind("=") < len(name) - 1
    return form not in FORMS or not name


def is_one_of(identity: Identity, entry: str) -> bool:
    """Tell whether the entry means this identity, to the letter (`Identity.names`); what is malformed means nobody."""
    form, _, rest = entry.partition(":")
    if form != "claim":
        return entry in identity.names
    name, equals, value = rest.rpartition("=")  # a claim's name may be a URL with a query, its value rarely holds one
    return bool(equals) and has_claim(identity, name, value)


def has_claim(identity: Identity, name: str, value: str) -> bool:
    """Tell whether a verified claim is this text, or a list with this text in it."""
    held = identity.claims.get(name)
    values = held if isinstance(held, (list, tuple)) else (held,)
    return any(_text(one) == value for one in values)


def _text(value: Json) -> str | None:
    """The text of a claim's scalar as JSON writes it; None, which equals no configured text, for everything else."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() if abs(value) < 2**63:  # a longer one is nobody's department, and slow to print
            return str(value)
        case float() if math.isfinite(value):
            return str(value)
        case _:
            return None
