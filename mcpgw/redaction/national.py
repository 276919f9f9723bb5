"""Check digits of European and British identifiers, by the name that recognizers call them. Each takes a text as written."""

import re
from collections.abc import Callable, Mapping

from mcpgw.redaction import checksums

_SIGNS = re.compile(r"[^0-9A-Z]")


def _compact(text: str) -> str:
    return _SIGNS.sub("", text.upper())


def _weighed(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def iso7064_mod_11_10(text: str) -> bool:
    """ISO 7064 MOD 11,10: German tax and VAT numbers, Croatian OIB."""
    digits = _compact(text)
    if not digits.isdigit():
        return False
    product = 10
    for digit in digits[:-1]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def steuer_id(text: str) -> bool:
    """German Steuer-ID: 11 digits, one digit of the first ten twice or three times and the others at most once; MOD 11,10."""
    digits = _compact(text)
    if len(digits) != 11 or not digits.isdigit() or digits[0] == "0":
        return False
    repeats = sorted(digits.count(digit) for digit in set(digits[:10]))
    first = sorted(digits[:10].count(digit) for digit in set(digits[:10]))
    once_more = first[-1] in (2, 3) and first[:-1] == [1] * (len(first) - 1)
    return bool(repeats) and once_more and iso7064_mod_11_10(digits)


def nir(text: str) -> bool:
    """French NIR (INSEE): 13 signs and a key, 97 minus the number modulo 97; Corsica's 2A and 2B count as 19 and 18."""
    number = _compact(text)
    if len(number) != 15:
        return False
    body = number[:13].replace("2A", "19", 1) if number[5:7] == "2A" else number[:13].replace("2B", "18", 1)
    return body.isdigit() and number[13:].isdigit() and 97 - int(body) % 97 == int(number[13:])


def dni_nie(text: str) -> bool:
    """Spanish DNI and NIE: the letter is the number modulo 23; X, Y, Z at the start of a NIE count as 0, 1, 2."""
    number = _compact(text)
    if len(number) != 9:
        return False
    body = {"X": "0", "Y": "1", "Z": "2"}.get(number[0], number[0]) + number[1:8]
    return body.isdigit() and "TRWAGMYFPDXBNJZSQVHLCKE"[int(body) % 23] == number[8]


_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            2,
            4,
            18,
            20,
            11,
            3,
            6,
            8,
            12,
            14,
            16,
            10,
            22,
            25,
            24,
            23,
        ),
        strict=True,
    )
)
"""What a sign at an odd place of a codice fiscale counts (Decreto ministeriale 23 December 1976)."""


def codice_fiscale(text: str) -> bool:
    """Italian codice fiscale of a person: 16 signs, the last one a check letter."""
    number = _compact(text)
    if len(number) != 16:
        return False
    total = sum(
        _ODD[sign] if place % 2 == 0 else (int(sign) if sign.isdigit() else ord(sign) - 65)
        for place, sign in enumerate(number[:15])
    )
    return chr(65 + total % 26) == number[15]


def bsn(text: str) -> bool:
    """Dutch BSN: the eleven test with weights 9 to 2 and -1."""
    digits = _compact(text).zfill(9)
    return (
        digits.isdigit() and len(digits) == 9 and int(digits) > 0 and _weighed(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0
    )


def pesel(text: str) -> bool:
    """Polish PESEL: a month of one of five centuries, a day, and a check digit with weights 1, 3, 7, 9."""
    digits = _compact(text)
    if len(digits) != 11 or not digits.isdigit():
        return False
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    return 1 <= month <= 12 and 1 <= day <= 31 and _weighed(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def nhs(text: str) -> bool:
    """British NHS number: weights 10 to 2, modulus 11; a check of 10 is never issued."""
    digits = _compact(text)
    if len(digits) != 10 or not digits.isdigit():
        return False
    check = 11 - _weighed(digits[:9], (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return check != 10 and check % 11 == int(digits[9])


def utr(text: str) -> bool:
    """British UTR: the first digit checks the other nine (weights 6 7 8 9 10 5 4 3 2, modulus 11)."""
    digits = _compact(text).removesuffix("K")
    if len(digits) != 10 or not digits.isdigit():
        return False
    return "21987654321"[_weighed(digits[1:], (6, 7, 8, 9, 10, 5, 4, 3, 2)) % 11] == digits[0]


def nino(text: str) -> bool:
    """British National Insurance number: prefixes that HMRC never allocates are refused."""
    number = _compact(text)
    return len(number) in (8, 9) and number[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


def vat(text: str) -> bool:
    """VAT number of an EU state: the check digits of Germany, Italy, Spain's persons and Poland; elsewhere the form alone."""
    number = _compact(text)
    country, body = number[:2], number[2:]
    match country:
        case "DE":
            return len(body) == 9 and iso7064_mod_11_10(body)
        case "IT":
            return len(body) == 11 and body.isdigit() and checksums.luhn(body)
        case "PL":
            return len(body) == 10 and body.isdigit() and _weighed(body[:9], (6, 5, 7, 2, 3, 4, 5, 6, 7)) % 11 == int(body[9])
    return any(map(str.isdigit, body))


def luhn(text: str) -> bool:
    """ISO/IEC 7812-1, annex B, over the digits of the text."""
    digits = "".join(filter(str.isdigit, text))
    return len(digits) > 1 and checksums.luhn(digits)


def iban(text: str) -> bool:
    """IBAN: its country's length, and MOD 97-10."""
    number = _compact(text)
    return len(number) == checksums.iban_length(number) and checksums.iban(number)


VALIDATORS: Mapping[str, Callable[[str], bool]] = {
    "luhn": luhn,
    "iban": iban,
    "aba": lambda text: checksums.aba(_compact(text)),
    "ssn": lambda text: checksums.ssn(_compact(text)),
    "iso7064_mod_11_10": iso7064_mod_11_10,
    "steuer_id": steuer_id,
    "nir": nir,
    "dni_nie": dni_nie,
    "codice_fiscale": codice_fiscale,
    "bsn": bsn,
    "pesel": pesel,
    "nhs": nhs,
    "utr": utr,
    "nino": nino,
    "vat": vat,
}
