"""What the words before a number say it is: `SSN on file: 123…`, `called from 415…`, `bene acct 00…`."""

import re

from mcpgw.redaction.findings import PLACEHOLDER
from mcpgw.redaction.lists import listed
from mcpgw.redaction.vocabulary import NAMING, identifier, is_stop, words

REACH = 60
"""Characters before a value in which a telling word must stand."""

_BOUNDARY = re.compile(
    r"[\n;|]|(?<!\bno)(?<!\bnr)(?<!\bnum)(?<!\bnbr)(?<!\bacct)(?<!\blic)(?<!\btel)[.!?]\s|\d,\s", re.IGNORECASE
)
_FILLER = listed("""
    on file is was are the number no of in with my his her their our your ending as a an and or to for from at by new
    old current full provided given reads id tax called following new listed using has have had be it this that please
    via under own customer
""")
_PHONE = listed("""
    call called calls calling caller phoned telephoned sms text texted texts dial dialed dialled reach reached contact
    contacted voicemail ring rang phone
""")
_TELLING = NAMING | _PHONE
"""Words without one of which nothing is told."""


def before(text: str, start: int) -> str:
    """Return the entity that the nearest telling word before `start` names, or the empty string."""
    window = text[max(0, start - REACH) : start]
    if not window or window.isspace():
        return ""
    if "<" in window:
        window = PLACEHOLDER.sub("0", window)  # what was masked says no more than the number that stood there
    cut = 0
    for boundary in _BOUNDARY.finditer(window):
        cut = boundary.end()
    said = words(window[cut:])
    if _TELLING.isdisjoint(said):
        return ""
    for index in range(len(said) - 1, max(-1, len(said) - 7), -1):
        for size in (1, 2, 3):
            found = identifier(said[max(0, index + 1 - size) : index + 1])
            if found is not None:
                return found.entity
        if said[index] in _PHONE:
            return "PHONE"
        if is_stop(said[index]) and said[index] not in _FILLER:
            return ""
    return ""
