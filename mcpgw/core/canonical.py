"""Canonical JSON bytes (RFC 8785) and salted commitments.

Two values have equal bytes exactly if they are the same JSON value. RFC 8785 maps every number to an IEEE 754 double, which
would make 2^53 and 2^53 + 1 equal; a digest that an approval binds to must tell them apart, so integers beyond 2^53 are
written with all their digits. For values inside I-JSON (RFC 7493) the bytes are those of RFC 8785.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence

SALT_BYTES = 32
"""Length of a commitment's salt: as long as the hash, so that a low-entropy payload cannot be guessed from it."""


def canonical(value: object) -> bytes:
    """Return the canonical UTF-8 bytes of a JSON value.

    Raises:
        ValueError: a number that is not finite, a lone surrogate, a key that is no string, or a type that is not JSON's.
    """
    out: list[str] = []
    _write(value, out)
    return "".join(out).encode("utf-8")  # a lone surrogate raises UnicodeEncodeError, which is a ValueError


def digest(value: object) -> str:
    """Return the lower-case hex SHA-256 of the value's canonical bytes."""
    return hashlib.sha256(canonical(value)).hexdigest()


def commitment(salt: bytes, payload: bytes) -> str:
    """Return hex `SHA-256(salt || payload)`: binds to the payload without telling it, and dies with its salt.

    Raises:
        ValueError: the salt is not `SALT_BYTES` long.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a commitment needs {SALT_BYTES} bytes of salt, not {len(salt)}")
    return hashlib.sha256(salt + payload).hexdigest()


def _write(value: object, out: list[str]) -> None:
    match value:
        case None:
            out.append("null")
        case bool():
            out.append("true" if value else "false")
        case str():
            out.append(json.dumps(value, ensure_ascii=False))
        case int():
            out.append(str(value))
        case float():
            out.append(_number(value))
        case Mapping():
            _write_object(value, out)
        case list() | tuple():
            _write_array(value, out)
        case _:
            raise ValueError(f"{type(value).__name__} is not a JSON type")


def _write_object(value: Mapping[object, object], out: list[str]) -> None:
    separator = "{"
    for key in sorted(value, key=_utf16):
        out.append(f"{separator}{json.dumps(key, ensure_ascii=False)}:")
        _write(value[key], out)
        separator = ","
    out.append("}" if value else "{}")


def _write_array(value: Sequence[object], out: list[str]) -> None:
    separator = "["
    for item in value:
        out.append(separator)
        _write(item, out)
        separator = ","
    out.append("]" if value else "[]")


def _utf16(key: object) -> bytes:
    """RFC 8785 section 3.2.3: keys are sorted by their UTF-16 code units."""
    if not isinstance(key, str):
        raise ValueError(f"an object's key is {type(key).__name__}, not a string")
    return key.encode("utf-16-be")


def _number(value: float) -> str:
    """ECMA-262 Number::toString, section 6.1.6.1.20, from Python's shortest round-trip digits."""
    if not math.isfinite(value):
        raise ValueError("NaN and infinities are not JSON numbers")
    if value == 0:
        return "0"
    sign, digits, exponent = _shortest(value)
    point = exponent + len(digits)  # the decimal point stands after this many digits
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    mantissa = digits if len(digits) == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e{point - 1:+d}"


def _shortest(value: float) -> tuple[str, str, int]:
    """Split into sign, digits without outer zeros, and the power of ten of the last digit."""
    mantissa, _, power = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) - len(fraction)
    stripped = digits.rstrip("0")
    return ("-" if value < 0 else "", stripped, exponent + len(digits) - len(stripped))
