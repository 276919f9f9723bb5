"""Arithmetic that tells an identifier from a number that only looks like one."""

IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18,
    "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23,
    "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28,
    "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
"""Letters and digits of an IBAN by country, from the IBAN registry (ISO 13616)."""


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    total = 0
    for index, char in enumerate(reversed(digits)):
        value = int(char)
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def card(digits: str) -> bool:
    """Tell whether the digits can be a payment card: a length and prefix that networks issue, and the check digit."""
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456" or len(set(digits)) < 3:
        return False
    return luhn(digits)


def aba(digits: str) -> bool:
    """Tell whether nine digits are an ABA routing number: a Federal Reserve district and the 3-7-1 checksum."""
    if len(digits) != 9 or not digits.isdigit() or digits == "000000000":
        return False
    district = int(digits[:2])
    if not (district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80):
        return False
    return sum(int(char) * weight for char, weight in zip(digits, (3, 7, 1) * 3, strict=True)) % 10 == 0


def iban_length(compact: str) -> int:
    """Return how many letters and digits the IBAN at the start of `compact` has, or 0 where its country has none."""
    return IBAN_LENGTHS.get(compact[:2].upper(), 0)


def iban(compact: str) -> bool:
    """ISO 7064 MOD 97-10 over the rearranged IBAN."""
    moved = compact[4:] + compact[:4]
    return moved.isascii() and moved.isalnum() and int("".join(str(int(char, 36)) for char in moved)) % 97 == 1


def ssn(digits: str) -> bool:
    """Tell whether nine digits can be a Social Security number: no part is zero, no area 666 or 9xx (SSA, since 2011)."""
    return (
        len(digits) == 9
        and digits[:3] not in ("000", "666")
        and digits[0] != "9"
        and digits[3:5] != "00"
        and digits[5:] != "0000"
    )


def itin(digits: str) -> bool:
    """Tell whether nine digits can be an ITIN: 9xx, with a group that the IRS assigns."""
    group = int(digits[3:5])
    return digits[0] == "9" and (50 <= group <= 65 or 70 <= group <= 88 or 90 <= group <= 92 or 94 <= group <= 99)


def nanp(digits: str) -> bool:
    """Tell whether the digits are a number of the North American plan: area and exchange start with 2-9, neither is N11."""
    if len(digits) == 11 and digits[0] == "1":
        digits = digits[1:]
    if len(digits) != 10:
        return False
    area, exchange = digits[:3], digits[3:6]
    return area[0] in "23456789" and exchange[0] in "23456789" and area[1:] != "11" and exchange[1:] != "11" and area[1] != "9"
