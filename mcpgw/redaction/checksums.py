"""Arithmetic that tells an identifier from a number that only looks like one."""

from mcpgw.redaction.lists import listed

IBAN_LENGTHS = {
    country[:2]: int(country[2:])
    for country in listed("""
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29
    ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
    LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29
    PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
    YE30
""")
}
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
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456" or len(set(digits)) < 2:
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
