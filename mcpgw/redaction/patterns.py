"""Patterns in one pass: a linear-time engine (RE2) proposes candidates, arithmetic and context dispose of them."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator

from mcpgw.redaction import checksums, context
from mcpgw.redaction.findings import Finding
from mcpgw.redaction.linear import Alternatives, Linear

DETECTOR = "patterns@1"

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_SUFFIX = (
    "Al(?:y|ley)|Anx|Annex|Arc(?:ade)?|Av(?:e|enue)?|Bayou|Beach|Bend|Blf|Bluffs?|Bottom|Blvd"
    "|Boulevard|Br(?:anch)?|Bri?dge|Brooks?|Burgs?|Byp(?:ass)?|Camp"
    "|Canyon|Cape|Causeway|Cent(?:er|re)s?|Ctr|Circles?|Cir|Cliffs?|Club|Common|Corners?|Course"
    "|Court|Courts|Ct|Coves?|Creek|Crescent|Cres|Crest|Crossing"
    "|Crossroad|Curve|Dale|Dam|Divide|Drives?|Dr|Estates?|Expressway|Expy|Extensions?|Fall|Falls"
    "|Ferry|Fields?|Flats?|Fords?|Forest|Forges?|Forks?|Fort"
    "|Freeway|Fwy|Gardens?|Gateway|Glens?|Greens?|Groves?|Harbors?|Haven|Heights|Hts|Highway"
    "|Hwy|Hills?|Hollow|Inlet|Islands?|Isle|Junctions?|Jct|Keys?|Knolls?"
    "|Lakes?|Land|Landing|Lane|Ln|Lights?|Loaf|Locks?|Lodge|Loop|Mall|Manors?|Meadows?|Mews"
    "|Mills?|Mission|Motorway|Mount|Mountains?|Mtn|Neck|Orchard|Oval"
    "|Overpass|Parks?|Parkways?|Pkwy|Pass|Passage|Path|Pike|Pines?|Place|Pl|Plains?|Plaza|Plz"
    "|Points?|Pt|Ports?|Prairie|Radial|Ramp|Ranch|Rapids?|Rest|Ridges?"
    "|River|Roads?|Rd|Route|Rte|Row|Rue|Run|Shoals?|Shores?|Skyway|Springs?|Spurs?|Squares?"
    "|Sq|Stations?|Sta|Stravenue|Stream|Streets?|St|Summit|Terrace|Ter"
    "|Throughway|Trace|Track|Trafficway|Trail|Trl|Trailer|Tunnel|Turnpike|Tpke|Underpass|Unions?"
    "|Valleys?|Via|Viaduct|Views?|Villages?|Ville|Vista|Walks?|Wall"
    "|Ways?|Wells?|Close|Gate|Mead|Quay|Wharf"
)
"""Street suffixes of USPS Publication 28, appendix C1, and a few British ones."""
_STATE = (
    "A[AEKLPRSZ]|C[AOT]|D[CE]|F[LM]|G[AU]|HI|I[ADLN]|K[SY]|LA|M[ADEHINOPST]|N[CDEHJMVY]|O[HKR]"
    "|P[ARW]|RI|S[CD]|T[NX]|UT|V[AIT]|W[AIVY]"
    "|Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia"
    "|Hawaii|Idaho|Illinois|Indiana|Iowa|Kansas|Kentucky|Louisiana"
    "|Maine|Maryland|Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska"
    "|Nevada|New (?:Hampshire|Jersey|Mexico|York)|North (?:Carolina|Dakota)"
    "|Ohio|Oklahoma|Oregon|Pennsylvania|Rhode Island|South (?:Carolina|Dakota)|Tennessee|Texas"
    "|Utah|Vermont|Virginia|Washington|West Virginia|Wisconsin|Wyoming"
)
_UPPER = r"[A-Z\x{C0}-\x{DE}\x{100}-\x{17F}]"
_LETTER = r"A-Za-z\x{C0}-\x{24F}\x{1E00}-\x{1EFF}"
"""Latin letters with every diacritic: as ranges, for a pattern with Unicode's classes is a hundred times larger in RE2."""
_CAP = rf"(?:{_UPPER}[{_LETTER}'\x{{2019}}.-]*|[0-9]{{1,3}}(?:st|nd|rd|th))"
_UNIT = (
    r"(?:,?[ \n]{1,2}(?:Apartment|Apt|Suite|Ste|Unit|Floor|Fl|Room|Rm|Building|Bldg|Lot|PMB|No)\b\.?[ ]?#?[ ]?[0-9A-Za-z-]"
    r"{1,8}|,?[ ]#[ ]?[0-9A-Za-z-]{1,8})?"
)
_CITY = rf"(?:,?[ \n]{{1,2}}(?:{_CAP}[ ]?){{1,4}},?[ ](?:{_STATE})\b(?:,?[ ][0-9]{{5}}(?:-[0-9]{{4}})?)?)"

_GROUPS = {
    "placeholder": r"<[A-Z][A-Z0-9_]{1,40}(?::[0-9A-Za-z]{1,32}|_[0-9a-z]{12})?>",
    "private_key": r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[^-]*(?:-----END [A-Z0-9 ]{0,40}-----)?",
    "jwt": r"\beyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}",
    "cloud_key": (
        r"\b(?:(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}"
        r"|glpat-[A-Za-z0-9_-]{18,}"
        r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|[sprw]k_(?:live|test)_[A-Za-z0-9]{10,}|sk-(?:[a-z]+-)?[A-Za-z0-9_-]{20,}"
        r"|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}"
        r"|npm_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
        r"|dop_v1_[a-f0-9]{40,}|AGE-SECRET-KEY-1[A-Z0-9]{20,}"
        r"|shp(?:at|ss|ca)_[a-fA-F0-9]{32}|whsec_[A-Za-z0-9+/=]{20,}|hooks\.slack\.com/services/[A-Za-z0-9/]{20,}"
        r"|SK[0-9a-f]{32}|AC[0-9a-f]{32})"
    ),
    "login_url": r"\b[a-zA-Z][a-zA-Z0-9+.-]+://[^\s:/@\"'<>]*:[^\s@\"'<>]+@[^\s\"'<>,;]+",
    "bearer": r"(?i:\b(?:bearer|basic|token)[ ]+)(?P<bearer_value>[A-Za-z0-9._~+/-]{16,}=*)",
    "email": (
        rf"[0-9{_LETTER}][0-9{_LETTER}._%+'-]*(?:[ ]?@[ ]?|[ ]?[\[(][ ]?(?i:at)[ ]?[\])][ ]?)(?:[0-9{_LETTER}][0-9{_LETTER}-]"
        rf"*(?:\.|[ ]?[\[(][ ]?(?i:dot)[ ]?[\])][ ]?))+[{_LETTER}][0-9{_LETTER}-]+"
    ),
    "uuid": r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b",
    "timestamp": (
        r"\b(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:Z"
        r"|[+-][0-9]{2}:?[0-9]{2})?"
    ),
    "spaced": r"\b[0-9](?:[ ._/-]{1,3}[0-9]){7,18}\b",
    "mac": r"\b(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\b",
    "ipv6": (
        r"\b(?:[0-9A-Fa-f]{1,4}:){3,7}(?::?[0-9A-Fa-f]{1,4}){1,4}\b|\b(?:[0-9A-Fa-f]{1,4}:){1,6}:(?:[0-9A-Fa-f]{1,4}(?:"
        r":[0-9A-Fa-f]{1,4}){0,5})\b"
    ),
    "ipv4": r"\b[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\b",
    "iban": r"\b[A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,32}",
    "postal": (
        rf"\b[0-9]{{1,6}}[A-Z]?[ ](?:{_CAP}[ ]){{1,5}}(?:{_SUFFIX})\b\.?(?:[ ](?:N|S|E|W|NE|NW|SE"
        rf"|SW|North|South|East|West)\b\.?)?{_UNIT}{_CITY}?"
        rf"|\b[0-9]{{1,6}}[A-Z]?[ ](?:{_CAP}[ ]?){{1,5}}{_UNIT}{_CITY}"
        rf"|(?i:\bp\.?[ ]?o\.?[ ]?box)[ ][0-9]{{1,8}}{_CITY}?"
        rf"|\b(?:PSC|Unit|CMR)[ ][0-9]{{1,5}},?[ ]Box[ ][0-9]{{1,5}},?[ \n](?:APO|FPO|DPO),?[ ]A[AEP](?:[ ][0-9]{{5}})?"
        rf"|\bUSN?[SNV]V?[ ]{_UPPER}[{_LETTER}'-]*,?[ \n](?:APO|FPO|DPO),?[ ]A[AEP](?:[ ][0-9]{{5}})?"
        rf"|\b(?:Rue|Via|Calle|Avenida|Viale|Piazza|Rua|Boulevard|Carrer|Paseo)"
        rf"[ ](?:[{_LETTER}'\x{{2019}}.-]+[ ]){{0,3}}[{_LETTER}'\x{{2019}}-]"
        rf"+,?[ ][0-9]{{1,4}}\b(?:,?[ ][0-9]{{4,5}}[ ]{_UPPER}[{_LETTER}'-]*)?"
        rf"|\b{_UPPER}[{_LETTER}-]*(?:straße|strasse|str\.|weg|platz|gasse|allee|straat|laan|gracht)[ ][0-9]{{1,4}}[a-z]"
        rf"?\b(?:,?[ ][0-9]{{4,5}}(?:[ ][A-Z]{{2}})?[ ]{_UPPER}[{_LETTER}'-]*)?"
    ),
    "written_date": (
        rf"(?i:\b[0-9]{{1,2}}(?:st|nd|rd|th)?[ .-]{{1,2}}{_MONTH}[ .,-]{{1,2}}(?:19|20)?[0-9]{{2}}\b"
        rf"|\b{_MONTH}\.?[ ][0-9]{{1,2}}(?:st|nd|rd|th)?,?[ ](?:19|20)[0-9]{{2}}\b)"
    ),
    "date": (
        r"\b(?:19|20)[0-9]{2}[-/.][0-9]{1,2}[-/.][0-9]{1,2}\b|\b[0-9]{1,2}[-/.][0-9]{1,2}[-/.](?:(?:19"
        r"|20)[0-9]{2}|[0-9]{2})\b"
    ),
    "ssn": r"\b[0-9]{3}(?:[ ]?-[ ]?|[ ./_])[0-9]{2}(?:[ ]?-[ ]?|[ ./_])[0-9]{4}\b",
    "card": r"\b(?:[0-9]{4}[ ./_-]?){3}[0-9]{1,7}\b|\b3[0-9]{3}[ ./_-]?[0-9]{6}[ ./_-]?[0-9]{5}\b",
    "phone": (
        r"(?:\b00|\+)[0-9]{1,3}(?:[ .-]?\(?[0-9]{1,5}\)?){2,6}(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{1,6})?\b"
        r"|(?:\b1[ .-]?)?(?:\([0-9]{3}\)[ .-]?|\b[0-9]{3}[ .-])[0-9]{3}[ .-][0-9]{4}(?:[ ]?(?:x|ext\.?)[ ]?[0-9]{1,6})?"
        r"\b"
    ),
    "ein": r"\b[0-9]{2}-[0-9]{7}\b",
    "digits": r"\b[0-9]{4,34}\b",
    "dashed": r"\b[0-9]{2,10}(?:[ -][0-9]{2,10}){1,5}\b",
    "lettered": (
        r"\b(?:[A-Z]{1,3}[0-9]{4,14}[A-Z]?|[A-Z0-9]{4,20}(?:-[A-Z0-9]{2,14}){1,3}|[A-Z]{6}[A-Z0-9]{2}(?:[A-Z0-9]{3})?)\b"
    ),
}
_SCANNER = Linear("|".join(_GROUPS.values()))
_BEARER = Linear(_GROUPS["bearer"])
_KINDS = tuple(_GROUPS)
_WHICH = Alternatives(_GROUPS.values())
_WORTH = re.compile(r"[0-9@\[(]")
_WORTH_WORDS = re.compile(r"-----BEGIN|(?i:bearer|basic|token) ")
"""Every pattern needs a sign of the first or a word of the second; most words of most results have neither."""
_DIGITS = re.compile(r"\d")
_FIGURE = re.compile(r"-?(?!00)\d{1,9}\.\d{1,3}|(?:19|20)\d\d-\d\d-\d\d|\d{1,2}:\d\d(?::\d\d)?", re.ASCII)
"""Amounts, rates, dates and times that are all there is: without words before them, they are nobody's."""
_NEXT_DIGIT = re.compile(r"[.,]\d")

Rule = Callable[[str, str, int, int, bool], Finding | None]
"""Takes the candidate, the text, its span, and whether the candidate is the whole of a value without a telling key."""


def scan(text: str, bare: bool = False) -> Iterator[Finding]:
    """Yield what patterns find in a plain text. `bare`: the text is a whole value whose key says nothing."""
    if _WORTH.search(text) is None:
        if len(text) < 21 or _WORTH_WORDS.search(text) is None:
            return
    elif len(text) < 4 or _FIGURE.fullmatch(text):
        return
    for start, end in _SCANNER.spans(text):
        group = _kind(text[start:end])
        rule = _RULES.get(group)
        if rule is None:
            continue
        if group == "bearer":
            start += _BEARER.groups(text[start:end])["bearer_value"][0]
        finding = rule(text[start:end], text, start, end, bare)
        if finding is not None:
            yield finding
            if finding.end + 4 < end:
                # The candidate swallowed more than the value: look at the rest by itself.
                for rest in scan(text[finding.end : end], False):
                    yield rest.shifted(finding.end)
        elif group in _BREAKABLE and " " in text[start:end]:
            head = text.find(" ", start, end)
            for rest in scan(text[head:end], False):
                yield rest.shifted(head)


def _kind(candidate: str) -> str:
    """Return which alternative the candidate is: the first that matches it, as in the scanner."""
    if candidate.isdigit() and len(candidate) < 13 and candidate[:2] != "00":
        return "digits"  # most candidates are, and no earlier alternative takes so few without a sign
    index = _WHICH.first(candidate)
    return _KINDS[index] if index >= 0 else ""


_BREAKABLE = frozenset({"iban", "card", "phone", "dashed", "spaced", "postal"})


def _found(entity: str, start: int, end: int, score: float) -> Finding:
    return Finding(start, end, entity, DETECTOR, score)


def _digits(candidate: str) -> str:
    return "".join(_DIGITS.findall(candidate))


def _embedded(text: str, start: int, end: int) -> bool:
    """Tell whether a number is part of something longer: a decimal, an amount, a path, a version, a word.

    One that is written in groups, or is longer than any amount, is no part of a decimal with a comma: what follows is the next
    number of a list or row.
    """
    grouped = not text[start:end].isdigit()
    if start and (text[start - 1] in ".$€£_@" or (text[start - 1] in "-/:#" and start > 1 and text[start - 2].isalnum())):
        return True
    if end == len(text):
        return False
    if text[end] == "," and (grouped or end - start > _LONGEST_AMOUNT):
        return False
    return text[end] in "_%@" or _NEXT_DIGIT.match(text, end) is not None


_LONGEST_AMOUNT = 12
"""Digits of an amount before its decimals: a trillion."""


def _secret(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding:
    return _found("SECRET", start, end, 1.0)


def _bearer(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    return _found("SECRET", start, end, 0.95) if any(map(str.isdigit, candidate)) or entropy(candidate) > 3.5 else None


def _email(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding:
    return _found("EMAIL", start, end, 1.0)


def _ipv4(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    parts = [int(part) for part in candidate.split(".")]
    if max(parts) > 255 or parts[0] in (0, 127, 255) or _embedded(text, start, end):
        return None
    return _found("IP_ADDRESS", start, end, 0.7)


def _ipv6(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    return _found("IP_ADDRESS", start, end, 0.7) if candidate.count(":") >= 3 else None


def _iban(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    wanted = checksums.iban_length(candidate)
    if not wanted:
        return None
    taken = []
    for offset, char in enumerate(candidate):
        if char not in " -":
            taken.append(char)
            if len(taken) == wanted:
                stop = start + offset + 1
                if stop < len(text) and text[stop].isalnum():
                    return None
                compact = "".join(taken).upper()
                if checksums.iban(compact) or (candidate[:2].isupper() and sum(map(str.isdigit, compact)) > wanted // 2):
                    return _found("IBAN", start, stop, 0.95)
                return None
    return None


def _postal(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    if start and text[start - 1] in "-/.:#$":
        return None
    return _found("ADDRESS", start, end, 0.8)


def _date(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    return _found("DATE_OF_BIRTH", start, end, 0.9) if context.before(text, start) == "DATE_OF_BIRTH" else None


def _ssn(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    if _embedded(text, start, end):
        return None
    told = context.before(text, start)
    if told in ("", "PHONE", "US_SSN", "NATIONAL_ID", "US_EIN"):
        return _found("US_ITIN" if checksums.itin(_digits(candidate)) else "US_SSN", start, end, 0.95)
    return _found(told, start, end, 0.9)


def _card(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    digits = _digits(candidate)
    told = context.before(text, start)
    if told in _NUMBERED and (told != "BANK_ACCOUNT" or len(digits) <= 17):
        return _found(told, start, end, 0.9)
    if checksums.card(digits) and not _embedded(text, start, end):
        return _found("CREDIT_CARD", start, end, 0.95)
    return None


def _phone(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    if _embedded(text, start, end):
        return None
    digits = _digits(candidate)
    if not 7 <= len(digits) <= 21:
        return None
    told = context.before(text, start)
    if candidate.isdigit() and not told:
        return None
    return _found(told or "PHONE", start, end, 0.9)


def _ein(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    told = context.before(text, start)
    if told:
        return _found("US_EIN" if told in ("US_SSN", "NATIONAL_ID") else told, start, end, 0.9)
    return _found("US_EIN", start, end, 0.6) if bare and not _embedded(text, start, end) else None


def _spaced(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    """Digits set apart one by one: nobody writes an ordinary number like this."""
    digits = _digits(candidate)
    told = context.before(text, start)
    if told:
        return _found(told, start, end, 0.9)
    if checksums.card(digits):
        return _found("CREDIT_CARD", start, end, 0.9)
    if len(digits) == 9:
        return _found("US_SSN", start, end, 0.7)
    return _found("PHONE", start, end, 0.7) if checksums.nanp(digits) else None


_NUMBERED = frozenset(
    {
        "US_SSN",
        "US_ITIN",
        "US_EIN",
        "NATIONAL_ID",
        "BANK_ACCOUNT",
        "ABA_ROUTING",
        "CREDIT_CARD",
        "PASSPORT",
        "DRIVER_LICENSE",
        "CARD_SECURITY",
    }
)
_LENGTHS = {
    "US_SSN": (9, 9),
    "US_ITIN": (9, 9),
    "US_EIN": (9, 9),
    "NATIONAL_ID": (6, 14),
    "BANK_ACCOUNT": (5, 20),
    "ABA_ROUTING": (9, 9),
    "CREDIT_CARD": (12, 19),
    "PASSPORT": (6, 10),
    "DRIVER_LICENSE": (5, 14),
    "PHONE": (7, 15),
    "IBAN": (5, 34),
    "DATE_OF_BIRTH": (6, 8),
    "CARD_SECURITY": (4, 6),
}
"""Digits that a number has where the words before it name it."""


def _bare_digits(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    told = context.before(text, start)
    low, high = _LENGTHS.get(told, (0, 0))
    if low <= len(candidate) <= high and not (start and text[start - 1] in "$€£"):
        return _found(told, start, end, 0.9)
    if _embedded(text, start, end):
        return None
    alone = bare and start == 0 and end == len(text)
    return _alone(candidate, start, end) if alone or _own_line(text, start, end) else None


def _own_line(text: str, start: int, end: int) -> bool:
    return text[:start].rstrip(" \t")[-1:] in ("", "\n") and text[end:].lstrip(" \t")[:1] in ("", "\n", "\r") and "\n" in text


def _alone(digits: str, start: int, end: int) -> Finding | None:
    """Judge a number that is all there is: by its own arithmetic."""
    if checksums.nanp(digits):
        return _found("PHONE", start, end, 0.6)
    if checksums.aba(digits):
        return _found("ABA_ROUTING", start, end, 0.6)
    return _found("US_SSN", start, end, 0.5) if checksums.ssn(digits) else None


def _dashed(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    told = context.before(text, start)
    low, high = _LENGTHS.get(told, (0, 0))
    return _found(told, start, end, 0.8) if told != "DATE_OF_BIRTH" and low <= len(_digits(candidate)) <= high else None


def _lettered(candidate: str, text: str, start: int, end: int, bare: bool) -> Finding | None:
    told = context.before(text, start)
    if told in {"PASSPORT", "DRIVER_LICENSE", "NATIONAL_ID", "BANK_ACCOUNT", "US_SSN", "SWIFT"} and (
        told == "SWIFT" or any(map(str.isdigit, candidate))
    ):
        return _found(told, start, end, 0.9)
    return None


_RULES: dict[str, Rule] = {
    "private_key": _secret,
    "jwt": _secret,
    "cloud_key": _secret,
    "login_url": _secret,
    "bearer": _bearer,
    "email": _email,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "iban": _iban,
    "postal": _postal,
    "written_date": _date,
    "date": _date,
    "ssn": _ssn,
    "card": _card,
    "phone": _phone,
    "ein": _ein,
    "spaced": _spaced,
    "digits": _bare_digits,
    "dashed": _dashed,
    "lettered": _lettered,
}


def entropy(value: str) -> float:
    """Return Shannon entropy in bits per character."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
