"""A grant: calls within bounds that people looked at, instead of one exact call. Pure, and closed by default.

A grant is written as an example call and what may differ from it. A call is covered only if it has the example's arguments, no
more and no fewer, each equal to the example's to the letter (canonical JSON), but for those that `vary`. Numbers are compared
and summed in decimal, exactly as they are written in JSON.

How it may change: `as_data` is what an approval binds, so a new member needs a default under which a grant that stands already
covers what it covered before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from mcpgw.core.allowance import DIGITS, MAX_CALLS, Allowance, GrantLimits, digits
from mcpgw.core.canonical import canonical
from mcpgw.core.model import (
    CleanJson,
    Json,
    JsonObject,
)

MAX_ALTERNATIVES = 50
"""Values of one `one_of`: more than that nobody reads."""
MAX_REASON = 500
"""Characters of the requester's own words."""
MAX_NAME = 64
"""Characters of an argument's name that a record repeats."""
_LONG = 120
"""Characters of a fixed value; a longer one is looked at in the example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """A number in these bounds, which belong to it. At least one of them is given."""

    at_least: tuple[Json, ...] = ()
    """One JSON number, or nothing."""
    at_most: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class OneOf:
    values: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class Anything:
    pass


Variation: TypeAlias = Between | OneOf | Anything


@dataclass(frozen=True, slots=True)
class Total:
    """A sum over all uses."""

    argument: str
    at_most: Json
    """A JSON number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a requester asks for, beside the example call. Made by `access_of`."""

    max_calls: int
    lasts_ns: int
    """From the request on; nanoseconds."""
    vary: Mapping[str, Variation] = field(default_factory=dict)
    totals: tuple[Total, ...] = ()
    """One, or nothing."""
    reason: str = ""
    """The requester's own words."""


def access_of(data: Json) -> Access:
    """Return what `as_data` wrote, or a person did: `{"max_calls", "lasts_ns", "vary", "total", "reason"}`.

    Raises:
        ValueError: it is none; in words for whoever wrote it.
    """
    _only(data, "access", {"max_calls", "lasts_ns", "vary", "total", "reason"})
    calls, lasts_ns, reason = data.get("max_calls"), data.get("lasts_ns"), data.get("reason", "")
    if not _is_whole(calls) or not 0 < calls <= MAX_CALLS:
        raise ValueError(f"the number of calls must be between 1 and {MAX_CALLS}")
    if not _is_whole(lasts_ns) or not 0 < lasts_ns < 2**53:
        raise ValueError("the time must be more than nothing")
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        raise ValueError(f"the reason must be a text of at most {MAX_REASON} characters")
    vary = data.get("vary", {})
    _only(vary, "vary", vary)
    total = data.get("total", {})
    return Access(
        max_calls=calls,
        lasts_ns=lasts_ns,
        vary={name: _variation(name, one) for name, one in vary.items()},
        totals=(_total(total),) if total else (),
        reason=reason,
    )


def as_data(access: Access) -> dict[str, Json]:
    """Return it as JSON data, the same for equal ones."""
    return {
        "max_calls": access.max_calls,
        "lasts_ns": access.lasts_ns,
        "vary": {name: _variation_data(one) for name, one in access.vary.items()},
        "total": {"argument": one.argument, "at_most": one.at_most} if (one := next(iter(access.totals), None)) else {},
        "reason": access.reason,
    }


def clean_data(access: Access, example: JsonObject, clean: CleanJson) -> dict[str, Json]:
    """Return it as it may be recorded, beside the clean example: what says something of a masked argument is left out.

    Alternatives are counted and not named, and the reason is missing: it has to be redacted by itself.
    """
    vary: dict[str, Json] = {}
    for name, one in access.vary.items():
        if not _is_clear(name, example, clean) and isinstance(one, Between):
            vary[name if name in clean else "(masked)"] = {"between": "(masked)"}
        elif isinstance(one, OneOf):
            vary[name if name in clean else "(masked)"] = {"one_of": len(one.values)}
        else:
            vary[name if name in clean else "(masked)"] = _variation_data(one)
    return {**as_data(access), "vary": vary, "reason": ""}


def allowance_of(access: Access, until_ns: int) -> Allowance:
    """Return what is counted of it."""
    for total in access.totals:
        (at_most,) = number(total.at_most)
        return Allowance(max_calls=access.max_calls, until_ns=until_ns, total_of=total.argument, max_total=digits(at_most))
    return Allowance(max_calls=access.max_calls, until_ns=until_ns)


def amount_of(access: Access, example: JsonObject, arguments: JsonObject, clean: CleanJson) -> tuple[str, ...]:
    """Return what a call with these arguments adds to the total, in decimal digits; nothing if the grant does not cover it.

    Without a total a covered call adds `0`. An amount that the record would mask is not covered: the record could not say
    what was used.

    Raises:
        ValueError: the arguments have no canonical form.
    """
    if arguments.keys() != example.keys():
        return ()
    if not all(_fits(access.vary.get(name), example[name], value) for name, value in arguments.items()):
        return ()
    for total in access.totals:
        amounts = number(arguments[total.argument]) if _is_clear(total.argument, arguments, clean) else ()
        return tuple(digits(amount) for amount in amounts if amount >= 0)
    return ("0",)


def objection(access: Access, limits: GrantLimits, example: JsonObject, clean: CleanJson) -> str:
    """Return why this may not be asked for, in a sentence for the requester; empty if it may.

    Raises:
        ValueError: the example has no canonical form.
    """
    if not limits.max_calls:
        return "What holds this call permits no grants: it is approved call by call."
    if access.max_calls > limits.max_calls:
        return f"At most {limits.max_calls} calls may be granted here, and {access.max_calls} were asked for."
    if access.lasts_ns > limits.lasts_ns:
        return f"A grant may last for at most {_time(limits.lasts_ns)} here, and {_time(access.lasts_ns)} were asked for."
    if access.vary.keys() - example.keys():
        return "An argument that is to vary is not in the example, which must have every argument of the calls."
    return _objection_to_total(access, limits, example, clean) or _objection_to_example(access, example, clean)


def sentences(access: Access, example: JsonObject) -> tuple[str, ...]:
    """Return what is granted for each argument, one line each, names and values as JSON: to be shown, so to be made visible."""
    varied = [f"{_text(name)}: {_varied(one)}" for name, one in access.vary.items()]
    fixed = [f"{_text(name)}: {_fixed(_text(value))}" for name, value in example.items() if name not in access.vary]
    return (*varied, *fixed, "No other argument, and none of these left out.")


def clean_sentences(data: JsonObject) -> tuple[str, ...]:
    """Return the same of what `clean_data` wrote, as far as that goes."""
    said = []
    for name, one in data["vary"].items():
        match dict(one):
            case {"one_of": int(count)}:
                what = f"one of {count} values, which are on the approval's own page"
            case {"between": _}:
                what = "any number in bounds, which are on the approval's own page"
            case bounds:
                what = _varied(_variation(name, bounds))
        said.append(f"{_text(name)}: {what}")
    return (*said, "Every other argument exactly as in the example, and no other.")


def number(value: Json) -> tuple[Decimal, ...]:
    """Return a JSON number exactly as it is written, or nothing.

    Nothing are booleans, texts, what is not finite, and numbers of more than `DIGITS` digits before or after the point.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 10**DIGITS:
        return ()
    exact = Decimal(repr(value))  # of a float: the shortest digits, which are those that are sent on
    exponent = exact.as_tuple().exponent
    return (exact,) if isinstance(exponent, int) and exponent >= -DIGITS else ()


def _objection_to_total(access: Access, limits: GrantLimits, example: JsonObject, clean: CleanJson) -> str:
    argument = access.totals[0].argument if access.totals else ""
    if limits.total_of and argument != limits.total_of:
        return f"A grant needs a total of {limits.total_of} here, of at most {limits.max_total}."
    for total in access.totals:
        (at_most,) = number(total.at_most)
        if limits.total_of and at_most > Decimal(limits.max_total):
            return f"The total of {limits.total_of} may be at most {limits.max_total} here."
        if not _is_clear(argument, example, clean):
            return "The argument to sum up is not in the example, or is masked in the record, so no total of it can be kept."
    return ""


def _objection_to_example(access: Access, example: JsonObject, clean: CleanJson) -> str:
    amounts = amount_of(access, example, example, clean)
    if not amounts:
        return "The example itself is not within what is asked for."
    if not allowance_of(access, 0).has_room(0, "0", amounts[0]):
        return "Not even the example fits into the total that is asked for."
    return ""


def _fits(variation: Variation | None, example: Json, value: Json) -> bool:
    match variation:
        case Anything():
            return True
        case OneOf(values):
            return any(canonical(value) == canonical(one) for one in values)
        case Between():
            return any(
                all(exact >= bound for one in variation.at_least for bound in number(one))
                and all(exact <= bound for one in variation.at_most for bound in number(one))
                for exact in number(value)
            )
    return canonical(value) == canonical(example)


def _is_clear(name: str, arguments: JsonObject, clean: CleanJson) -> bool:
    """Tell whether an argument is there, and stands in the record as it is."""
    return name in arguments and name in clean and canonical(arguments[name]) == canonical(clean[name])


def _variation(name: str, data: Json) -> Variation:
    _only(data, f"vary.{name}", {"at_least", "at_most", "one_of", "any"})
    match dict(data):
        case {"any": True, **rest} if not rest:
            return Anything()
        case {"one_of": list(values), **rest} if not rest and 0 < len(values) <= MAX_ALTERNATIVES:
            canonical(values)
            return OneOf(tuple(values))
        case {**bounds} if bounds and bounds.keys() <= {"at_least", "at_most"} and all(map(number, bounds.values())):
            return Between(**{which: (bound,) for which, bound in bounds.items()})
    raise ValueError(
        f'vary.{name} must be one of {{"at_least": NUMBER, "at_most": NUMBER}} (or one of the two), '
        f'{{"one_of": [VALUE, ...]}} with at most {MAX_ALTERNATIVES} values, and {{"any": true}}'
    )


def _variation_data(variation: Variation) -> dict[str, Json]:
    match variation:
        case Anything():
            return {"any": True}
        case OneOf(values):
            return {"one_of": list(values)}
    bounds = {"at_least": variation.at_least, "at_most": variation.at_most}
    return {which: bound for which, given in bounds.items() for bound in given}


def _total(data: Json) -> Total:
    _only(data, "total", {"argument", "at_most"})
    argument, at_most = data.get("argument"), data.get("at_most")
    if not isinstance(argument, str) or not 0 < len(argument) <= MAX_NAME:
        raise ValueError(f"the total's argument must be a name of at most {MAX_NAME} characters")
    if not any(exact > 0 for exact in number(at_most)):
        raise ValueError("the total must be a number above 0")
    return Total(argument, at_most)


def _only(data: Json, what: str, known: Mapping[str, Json] | set[str]) -> None:
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} must be a JSON object")
    if unknown := [name for name in data if name not in known]:
        raise ValueError(f"{what} has {unknown[0]!r}, which is none of {', '.join(sorted(known))}")


def _is_whole(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _varied(variation: Variation) -> str:
    match variation:
        case Anything():
            return "ANY VALUE AT ALL"
        case OneOf(values):
            return f"one of {', '.join(map(_text, values))}"
    parts = [f"from {_text(bound)}" for bound in variation.at_least]
    parts += [f"up to {_text(bound)}" for bound in variation.at_most]
    return f"any number {' '.join(parts)}"


def _fixed(text: str) -> str:
    return f"exactly {text}" if len(text) <= _LONG else "exactly as in the example"


def _text(value: Json) -> str:
    return canonical(value).decode()


def _time(nanoseconds: int) -> str:
    return f"{nanoseconds / 3600e9:g} h"
