"""Names of people by shape and by the words around them: what can be told without a language model."""

import re
from collections.abc import Iterator

from mcpgw.redaction.findings import Finding
from mcpgw.redaction.linear import Linear
from mcpgw.redaction.lists import listed
from mcpgw.redaction.vocabulary import covers

DETECTOR = "names@1"

_UPPER = r"[A-Z\x{C0}-\x{DE}\x{100}-\x{17F}\x{370}-\x{42F}\x{1E00}-\x{1EFF}]"
_LETTER = r"A-Za-z\x{C0}-\x{24F}\x{300}-\x{52F}\x{1E00}-\x{1EFF}"
"""Latin, Greek and Cyrillic letters as ranges: a pattern with Unicode's classes is a hundred times larger in RE2."""
_WORD = rf"(?:{_UPPER}\.|{_UPPER}[{_LETTER}]*(?:['\x{{2019}}.-][{_LETTER}]+)*)"
_PARTICLE = r"(?:de|da|do|dos|das|del|della|di|du|van|von|der|den|ter|ten|bin|ibn|al|el|la|le|y|e|zu|zur|af|av)"
_NAME = rf"{_WORD}(?:[ \t]+(?:{_PARTICLE}[ \t]+){{0,2}}{_WORD}){{0,4}}"
_FULL = rf"{_WORD}(?:,?[ \t]+(?:{_PARTICLE}[ \t]+){{0,2}}{_WORD}){{1,4}}"

_SHAPE = Linear(rf"(?:{_PARTICLE} ){{0,2}}{_FULL}")
_SINGLE = Linear(rf"[{_LETTER}'\x{{2019}}.\- ]+")

_CUES = Linear(
    r"(?i:\b(?:mr|mrs|ms|miss|mx|dr|prof|sir|dame|rev|hon|herr|frau|mister|madam|señora?|monsieur|madame)\b\.?[ \t]+)"
    rf"(?P<titled>{_NAME})"
    r"|(?i:\b(?:hi|hello|dear|hey|attn:?|attention:?|good (?:morning|afternoon|evening)),?[ \t]+(?:(?:mr"
    r"|mrs|ms|miss|mx|dr|prof)\b\.?[ \t]+)?)"
    rf"(?P<greeted>{_NAME})[ \t]*(?:[,:;.!]|$|\n)"
    r"|(?i:(?:thanks|thank you|regards|sincerely|cheers|best|yours truly|yours|respectfully|best wishes)[,.!]*[ \t]"
    r"*\r?\n[ \t\r\n]*)"
    rf"(?P<signed>{_NAME})[ \t]*(?:\r?\n|$)"
    r"|(?i:\b(?:customer|client|borrower|co-borrower|coborrower|applicant|co-applicant|cardholder"
    r"|card holder|account ?holder|holder|payee|payer|beneficiary"
    r"|remitter|guarantor|spouse|husband|wife|trustee|executor|signatory|signer|tenant|landlord"
    r"|depositor|payable to|on behalf of|in the name of|name is"
    r"|named|spoke (?:with|to)|speaking with|met with|call from|called by|signed by|attn|c/o"
    r"|i am|this is|contacted|emailed|employee|teller|caller|resident"
    r"|patient|claimant|insured|mother|father|son|daughter|brother|sister|attorney|agent|relationship manager"
    r"|loan officer|identity of|kyc for"
    r"|ssn of|account of|favou?r of|sent by|sent to|paid to|transfer to|transferred to|wire to"
    r"|(?:approved|countersigned|checked|reviewed|authori[sz]ed|verified|requested|submitted"
    r"|prepared|witnessed|held|owned|made) by"
    r"|(?:escalated|assigned|addressed) to|complaint from|records for|payment to|payment from"
    r"|transfer from|received from|owed to"
    r")\b:?[ \t]+(?:is[ \t]+)?)"
    rf"(?P<cued>{_FULL})",
)

_SPEAKERS = Linear(
    rf"(?m)^(?:\[[^\]\n]+\][ \t]*|[0-9][0-9:. /-]+(?:[AaPp][Mm])?[ \t]*(?:-[ \t]*)?)(?P<speaker>{_FULL})[ \t]*:[ \t]"
)
"""`[10:02] Jane Doe: …`, a line of a transcript."""

_PAIRS = Linear(rf"{_FULL}")

_NOT_NAMES = listed("""
    account accounts bank banking card cards checking savings saving credit debit loan loans mortgage equity home line
    rewards platinum gold silver visa mastercard amex discover express federal reserve national trust insurance
    company corp corporation inc llc ltd plc gmbh group holdings partners capital fund funds financial services
    service systems solutions technologies technology market markets foods airlines airways hotel hotels store stores
    shop restaurant coffee pharmacy university college school hospital church city county state states united kingdom
    republic north south east west lake street avenue road drive lane court boulevard suite apartment unit floor box
    department office branch team desk manager officer analyst engineer director president senior junior chief head
    assistant monday tuesday wednesday thursday friday saturday sunday january february march april may june july
    august september october november december eastern western central pacific mountain standard time date number name
    address phone email customer client please thanks thank regards dear hello subject from sent to cc re fwd case
    ticket order invoice payment transfer wire deposit withdrawal fee interest rate balance statement report review
    pending approved rejected declined active closed open dormant frozen new old total amount currency dollar euro
    premier student business personal auto automobile equal housing lender member fdic internal external error warning
    info debug transaction transactions fraud alert verified confirmed callback security social routing passport
    license driver date birth tax id the a an and or of for in on at with by all no yes not none data core system
    status type code risk score high low medium priority support help center centre international global american
    first second third data api http https get post put delete patch json csv html sql null true false unknown other
    various multiple joint primary secondary mr mrs ms dr your our their his her my this that these those direct power
    gas electric energy oil water wireless mobile cable internet insurance supply depot
""")
"""Words of banking, business and the calendar that are written with a capital and are no part of a name."""

_COMPANY = listed("""
    inc llc ltd plc gmbh corp corporation company co group holdings partners bank trust foundation association
    airlines services systems solutions technologies market markets foods stores store sa ag nv bv spa srl oy ab pty
    llp lp university college school hospital fund insurance capital financial credit union
""")


_CHAIN, _WINDOW = 5, 100
"""`Dr. Banks Ms. Hill`: where a name is read into the next cue, so many more are read, each in so many characters beyond it."""


def company(value: str) -> bool:
    """Tell whether a name carries a word that only organisations have."""
    return any(word.strip(".,").lower() in _COMPANY for word in value.split())


def person_shaped(value: str, *, strict: bool = True) -> bool:
    """Tell whether a whole value has the shape of a full name.

    `strict`: and none of the words that names don't have; else one word that is none of them is enough (`April Moore`).
    """
    if len(value) > 64 or " " not in value or not _SHAPE.matches(value):
        return False
    known = [word.strip(".,'\u2019").lower() in _NOT_NAMES for word in value.split()]
    return not any(known) if strict else not all(known)


def is_ordinary(word: str) -> bool:
    """Tell whether a capitalised word is one that names don't have."""
    return word.lower() in _NOT_NAMES


def name_possible(value: str) -> bool:
    """Tell whether a value under a key that holds names can be one: letters, few signs, no digits."""
    return 2 <= len(value) <= 60 and _SINGLE.matches(value.replace(",", " "))


def cued(text: str) -> Iterator[Finding]:
    """Yield names in prose that an honorific, greeting, signature or role word introduces."""
    for span in _CUES.spans(text):
        begin, stop = span
        for _ in range(_CHAIN):
            ((group, (left, right)),) = _CUES.groups(text[begin:stop]).items()
            start, end = trim(text, begin + left, begin + right)
            if start < end and (group != "cued" or person_shaped(text[start:end])):
                yield Finding(start, end, "PERSON", DETECTOR, 0.9 if group == "titled" else 0.8)
            following = _CUES.spans(text[end : stop + _WINDOW])[:1] if start < end < stop else []
            if not following or end + following[0][0] > stop:
                break
            begin, stop = end + following[0][0], end + following[0][1]


def speakers(text: str) -> Iterator[Finding]:
    """Yield the names of those who speak in a transcript."""
    for begin, stop in _SPEAKERS.spans(text):
        start, end = _SPEAKERS.groups(text[begin:stop])["speaker"]
        if person_shaped(text[begin + start : begin + end]):
            yield Finding(begin + start, begin + end, "PERSON", DETECTOR, 0.8)


def pairs(text: str) -> Iterator[tuple[int, int]]:
    """Yield runs of two and more capitalised words, without words that names don't have: candidates, not findings."""
    for begin, stop in _PAIRS.spans(text):
        start, end = trim(text, begin, stop)
        candidate = text[start:end]
        if " " not in candidate or candidate.isupper() or _CAMEL.search(candidate) or covers(candidate):
            continue
        if not is_label(text, start, end):
            yield start, end


def is_label(text: str, start: int, end: int) -> bool:
    """Tell whether a stretch is a line's label: `Mailing Addr: …`, and not someone."""
    return text[end : end + 1] == ":" and _LINE_HEAD.search(text, max(0, start - 40), start) is not None


_LINE_HEAD = re.compile(r"(?:\A|\n)[ \t*>-]*(?:[A-Z][\w.]*[ \t]+){0,4}\Z")
_TAKES_PERSON = re.compile(
    r"\b(?:by|from|to|with|for|and|that|whether|after|met|verified|add|call|dear|hi|cc|named?"
    r"|customer|client|Mr|Mrs|Ms|Dr)[:.]?\s+\Z",
    re.IGNORECASE,
)
_DONE_BY_PERSON = re.compile(
    r"(?:,? (?:who|born|presented|call(?:s|ed)|confirm(?:s|ed)|visit(?:s|ed)|sa(?:id|ys)|ask(?:s"
    r"|ed)|request(?:s|ed)|want(?:s|ed)|sign(?:s|ed)|open(?:s|ed)"
    r"|report(?:s|ed)|submit(?:s|ted)|appli(?:es|ed)|moved|lives|wrote|agreed|stated|paid|sent"
    r"|received|deposited|withdrew|disputes|disputed)\b|'s\b| ?\(|, \d\d,)"
)


def said_of_person(text: str, start: int, end: int) -> bool:
    """Tell whether the words beside a capitalised pair are those that stand beside people."""
    return _TAKES_PERSON.search(text[max(0, start - 16) : start]) is not None or _DONE_BY_PERSON.match(text, end) is not None


_CAMEL = re.compile(r"(?<!\bMc)(?<!\bMac)(?<!\bDe)(?<!\bLa)(?<!\bDi)(?<=[a-z])[A-Z]")
"""A capital inside a word: a name of software, if it is not a Scottish or French one."""


_TOKEN = re.compile(r"\S+")


def trim(text: str, start: int, end: int) -> tuple[int, int]:
    """Cut words that names don't have off both ends; at such a word in the middle, keep what stands before it."""
    newline = text.find("\n", start, end)
    end = end if newline < 0 else newline
    kept: list[tuple[int, int]] = []
    for token in _TOKEN.finditer(text, start, end):
        word = token.group().strip(".,'\u2019").lower()
        if word in _NOT_NAMES or (word.endswith(("'s", "\u2019s")) and word[:-2] in _NOT_NAMES):
            if kept:
                break
            continue
        kept.append(token.span())
        if token.group().endswith(",") and len(kept) > 1:
            break
    if not kept:
        return start, start
    last = kept[-1][1]
    while last > kept[0][0] and text[last - 1] in ".,'\u2019":
        last -= 1
    return kept[0][0], last
