"""What a key, a column header or the words before a number say about the value: `acctNo`, `Date of Birth`, `routing #`.

Banks name the same thing in many ways, so names are split into words (camel case, snake case, words run together), shortened
words are spelled out, and rules ask which words are there. One vocabulary serves JSON keys, table headers, log keys and prose.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from mcpgw.redaction.lists import listed, synonyms


class Certainty(Enum):
    """How far a name decides by itself."""

    SURE = "sure"
    """The name tells what the value is: it is masked if it could be that at all."""
    MAYBE = "maybe"
    """The name fits, and other things too: the value itself or its neighbours have to agree."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """`entity` is empty for a name that is known to hold nothing personal."""

    entity: str
    certainty: Certainty = Certainty.SURE
    tells: bool = field(init=False, compare=False)
    """Whether it names an entity. Asked of every value, so it is worked out once."""
    sure: bool = field(init=False, compare=False)
    """Whether it names one without doubt."""

    def __post_init__(self) -> None:
        tells = self.entity not in ("", "?", "*")
        object.__setattr__(self, "tells", tells)
        object.__setattr__(self, "sure", tells and self.certainty is Certainty.SURE)


HARMLESS = Meaning("")
"""A known name of something impersonal: patterns still run on its value, guesses do not."""
UNKNOWN = Meaning("?")
"""A name with words, none of which says what the value is."""
BARE = Meaning("*")
"""A name without meaning (`col3`, `f1`, `value`), or none: the value speaks for itself."""

_SPELLED = synonyms("""
    account: acct acc accnt accts accounts ac konto
    number: no num nbr nr nmbr numb numbers
    phone: tel telephone ph phones mobile cell cellphone cellular fax msisdn landline callback handphone mob whatsapp
        phn fone
    address: addr adr addrs addresses addressline domicile residence
    license: licence lic licenses lics
    driverlicense: dl dln driverslicense
    driver: drv drivers driving
    birthdate: dob birthday bday born bdate birthdt dateofbirth geburtsdatum dobirth
    email: mail emails eml
    firstname: fname forename forenames given givenname firstnm
    lastname: lname surname surnames familyname lastnm
    middlename: mname middlenm
    fullname: fullnm
    name: nm names
    customer: cust customers custs client clients cif
    card: cardnum cc ccn ccnum creditcard debitcard cards
    ssn: socsec ssnum ssns ssno sin nino
    social: soc
    security: sec
    tin: tins taxid
    itin: itins
    ein: eins fein
    tax: taxpayer
    routing: rtn aba abas rtg routingno transit
    swift: bic swiftcode
    iban: ibans
    passport: ppt passports
    password: pwd passwd pass passphrase
    secret: secrets
    token: tokens
    credential: creds credentials cred
    cvv: cvc cvv2 csc
    street: str strt
    beneficiary: bene benef bnf beneficiaries
    originator: orig
    recipient: rcpt
    employee: emp
    manager: mgr
    relationship: rel
    id: ident identifier identification ids idnum
    country: cntry ctry
    date: dt dte
    timestamp: ts
    description: desc
    amount: amt
    quantity: qty
    count: cnt
    currency: curr ccy
    balance: bal
    status: stat
    flag: flg
    code: cd
    type: typ
    product: prod
    organization: org
""")
"""Shortened and foreign spellings by what they stand for."""

_PERSON_ROLES = listed("""
    customer holder cardholder accountholder payee payer payor beneficiary borrower coborrower counterparty creditor
    debtor employee contact owner coowner spouse guarantor applicant coapplicant signatory signer cosigner remitter
    originator recipient sender nominee trustee executor guardian member insured patient subscriber passenger guest
    tenant landlord buyer seller director shareholder beneficialowner ubo heir representative advisor adviser attorney
    agent officer manager banker teller analyst author depositor donor grantor grantee investor claimant dependent
    dependant mother father parent child husband wife partner person individual party principal user reviewer approver
    assignee reporter requester requestor complainant witness caller victim suspect subject relative kin mortgagor
    mortgagee lender
""")
_THINGS = listed("""
    file host domain product company bank branch merchant business organization institution city country county state
    province region street event service table column field project class role group plan server tool brand vendor
    supplier store shop firm employer school app application package module function method schema database db index
    job queue topic cluster node device model currency campaign category fund issuer security scheme network plan
    portfolio index report template status type display login account legal trading dba device process program step
    stage rule policy feature key variable parameter attribute environment env workflow pipeline task metric label tag
    provider system component repository repo image container bucket stream partition desk team department dept
    division office unit
""")
_STOP = listed("""
    q quarter status type kind flag count verified valid validated at created updated modified version level score rating tier
    amount balance currency country format length hash sha sha1 sha256 md5 digest checksum uuid guid source method
    provider brand network scheme expiry expiration expires exp issued issuer opened closed closing limit fee rate
    total sum avg min max percent pct ratio category class confirmed consent preference preferred enabled disabled
    required optional present exists missing masked redacted prefix suffix title language locale timezone city town
    county state province region zip zipcode postal postcode date time timestamp year month day age gender sex
    description desc note notes memo comment reason message msg url uri link path file mime size width height offset
    page cursor quantity price cost apr apy term terms product sku branch mcc merchant trace auth session request
    correlation batch sequence seq index order invoice ref reference code latency duration ms seconds count records
    rows bytes partition port host hostname domain server service env environment region zone revenue deposits income
    loans expense quarter volume weight height latitude longitude lat lon lng build revision commit branchcode
""")
_BARE_WORDS = listed("""
    col column field fld attr attribute value val var variable data datum item text txt key info misc arg param prop
    property entry element cell content payload body string str obj object record rec row result output out input x y
    z a b c d e f g h k m n p r s t u v w i j l o
""")
_PARTS = listed("""
    part segment piece first last prefix suffix area group serial bin head tail middle mid start end
""")

_VOCABULARY = frozenset(
    {*_SPELLED, *_SPELLED.values(), *_PERSON_ROLES, *_THINGS, *_STOP, *_PARTS}
    | listed("""
    first last middle maiden full nick preferred name family sur number id card credit debit social security tax ssn
    itin ein tin pan iban swift routing passport driver license birth birthdate date phone email address street line
    mailing home work billing shipping legal residential permanent primary secondary alternate emergency account bank
    checking savings deposit from to source destination dest debit holder national identity government password secret
    token access refresh client private api bearer authorization connection dsn credential ip of on the for and co box
    po apt suite unit customer user owner bearer sort work office personal emergency place issuing signing encryption
""")
)
_SPLIT = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+|#")
_APOSTROPHE = re.compile(r"['\u2019]s\b")


def words(name: str) -> tuple[str, ...]:
    """Return a name's words: lower case, spelled out, numbers left out."""
    found: list[str] = []
    for piece in _SPLIT.findall(_APOSTROPHE.sub("", name[:200])):
        found.extend(_spelled(piece))
    return tuple(found)


@lru_cache(maxsize=16384)
def _spelled(piece: str) -> tuple[str, ...]:
    if piece.isdigit():
        return ()
    word = "number" if piece == "#" else piece.lower()
    if len(word) > 5 and word not in _VOCABULARY:
        return tuple(_SPELLED.get(part, part) for part in _unglue(word))
    return (_SPELLED.get(word, word),)


def _unglue(word: str) -> tuple[str, ...]:
    """Split `accountnumber` into words of the vocabulary, the fewest that cover it; else leave it."""
    best: list[tuple[str, ...] | None] = [()] + [None] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - 14), end - 1):
            head, part = best[start], word[start:end]
            if head is None or part not in _VOCABULARY or (len(part) == 2 and part not in ("no", "id", "of", "dl")):
                continue
            here = best[end]
            if here is None or len(head) + 1 < len(here):
                best[end] = (*head, part)
    return best[-1] or (word,)


@lru_cache(maxsize=16384)
def meaning(name: str) -> Meaning:
    """Return what a key or header says about its values."""
    parts = words(name)
    if not parts or all(word in _BARE_WORDS for word in parts):
        return BARE
    return _meaning(frozenset(parts), parts)


def _meaning(has: frozenset[str], parts: tuple[str, ...]) -> Meaning:
    last = parts[-1]
    found = _identifier(has, last) or _secret(has, last)
    if found is not None:
        return found
    if last in _STOP and not (last in _PARTS and has & {"ssn", "card", "pan"}):
        return HARMLESS
    found = _contact(has, last) or _person(has, last, parts)
    if found is not None:
        return found
    return HARMLESS if has & _STOP or last == "id" or (last in _THINGS and len(parts) == 1) else UNKNOWN


_BLOCKING = listed("""
    status type kind flag count verified valid validated at created updated modified version format hash sha sha256
    md5 digest checksum brand network scheme expiry expiration expires exp issued issuer opened closed limit fee
    confirmed consent enabled disabled required optional exists missing present url uri link country currency balance
    amount name product category class tier level score method provider year month fingerprint title policy length
    rotation age attempts ttl lifetime budget usage used limit endpoint path file column columns field index
""")
"""Last words that turn an identifier's name into a statement about it: `ssn_verified`, `card_type`, `passport_country`."""


def _identifier(has: frozenset[str], last: str) -> Meaning | None:
    if last in _BLOCKING or (last == "date" and "birth" not in has):
        return None
    if "itin" in has:
        return Meaning("US_ITIN")
    if "ein" in has or ({"employer", "id"} <= has and "number" in has):
        return Meaning("US_EIN")
    if (
        has & {"ssn", "tin"}
        or {"social", "security"} <= has
        or ("tax" in has and last in {"id", "number", "tax"} and has != {"tax"})
    ):
        return Meaning("US_SSN")
    if {"national", "id"} <= has or {"national", "insurance"} <= has or {"government", "id"} <= has:
        return Meaning("NATIONAL_ID")
    if "ss" in has and "number" in has:
        return Meaning("US_SSN")
    if "birthdate" in has or ({"date", "birth"} <= has):
        return Meaning("DATE_OF_BIRTH")
    if "iban" in has:
        return Meaning("IBAN")
    if "swift" in has:
        return Meaning("SWIFT", Certainty.MAYBE)
    if "routing" in has or ({"rt", "number"} <= has) or {"sort", "code"} <= has:
        return Meaning("ABA_ROUTING")
    if "passport" in has:
        return Meaning("PASSPORT")
    if (
        "driverlicense" in has
        or {"driver", "license"} <= has
        or (has >= {"license", "number"} and not has & {"software", "business", "nmls"})
    ):
        return Meaning("DRIVER_LICENSE")
    if "cvv" in has or ({"pin"} <= has and has <= {"pin", "number", "card", "atm", "code"}):
        return Meaning("CARD_SECURITY")
    if "pan" in has or ("card" in has and "name" not in has and _is_card(has, last)):
        return Meaning("CREDIT_CARD")
    if "account" in has and "name" not in has and last not in _PERSON_ROLES:
        return _account(has, last)
    return None


NAMING = listed("""
    itin ein employer ssn tin social tax national government ss birthdate birth iban swift routing rt sort passport
    driverlicense license cvv pin pan card account
""")
"""Words without one of which no words name an identifier."""


@lru_cache(maxsize=16384)
def identifier(window: tuple[str, ...]) -> Meaning | None:
    """Return what the last word of a few words of prose names, together with those before it."""
    return _identifier(frozenset(window), window[-1])


_FREE = listed("""
    memo note notes comment comments
    description details detail narrative remark remarks message reason text body subject
    summary     content title msg purpose explanation instruction instructions transcript log output error prompt
    question answer terms
    abstract feedback history line lines address snippet excerpt query sql command
""")


@lru_cache(maxsize=4096)
def free_text(name: str) -> bool:
    """Tell whether a key's values are written by people, and so may hold anything."""
    return any(word in _FREE for word in words(name))


def covers(name: str) -> bool:
    """Tell whether every word of a capitalised phrase is one of the vocabulary: `Acct Holder` is a label and nobody's name."""
    return all(word in _VOCABULARY for word in words(name))


def is_stop(word: str) -> bool:
    """Tell whether a word before a number says that the number is something impersonal."""
    return word in _STOP


def _is_card(has: frozenset[str], last: str) -> bool:
    return last in {"card", "number", *_PARTS, "credit", "debit", "primary", "secondary"} and not has & {
        "id",
        "status",
        "type",
        "count",
        "holder",
        "business",
    }


def _account(has: frozenset[str], last: str) -> Meaning | None:
    if last in {"number", "account", "from", "to"} or has <= {
        "account",
        "bank",
        "number",
        *_PARTS,
        *_PERSON_ROLES,
        "from",
        "to",
    }:
        sure = "number" in has or bool(
            has & {"from", "to", "beneficiary", "bank", "debit", "credit", "source", "dest", "destination", "deposit", "iban"}
        )
        if has & _PERSON_ROLES and last not in {"number", "account"}:
            return None
        return Meaning("BANK_ACCOUNT", Certainty.SURE if sure else Certainty.MAYBE)
    return None


def _secret(has: frozenset[str], last: str) -> Meaning | None:
    if last in _BLOCKING or last in {"id", "count", "type"}:
        return None
    if has & {"password", "apikey", "credential", "dsn"} or {"connection", "string"} <= has:
        return Meaning("SECRET")
    if "secret" in has and last in {"secret", "key", "value", "token", "access"}:
        return Meaning("SECRET")
    if last == "key" and has & {"api", "private", "access", "signing", "encryption", "client"}:
        return Meaning("SECRET")
    if last == "token" and not has & {"page", "next", "cursor", "sync", "continuation", "count"}:
        return Meaning("SECRET", Certainty.MAYBE)
    if has & {"authorization", "bearer"}:
        return Meaning("SECRET", Certainty.MAYBE)
    return None


def _contact(has: frozenset[str], last: str) -> Meaning | None:
    if "email" in has:
        return Meaning("EMAIL")
    if "phone" in has or (last == "number" and "contact" in has):
        return Meaning("PHONE")
    if "ip" in has and last in {"ip", "address"}:
        return Meaning("IP_ADDRESS")
    if has & {"mac", "wallet", "bitcoin", "memory", "hex", "contract", "web"} and "address" in has:
        return HARMLESS
    if "address" in has or "street" in has:
        return Meaning("ADDRESS")
    return None


def _person(has: frozenset[str], last: str, parts: tuple[str, ...]) -> Meaning | None:
    if has & {"firstname", "lastname", "middlename", "fullname"}:
        return Meaning("PERSON")
    if "name" in has:
        return _name(has)
    if last in _PERSON_ROLES and last not in {
        "subject",
        "party",
        "principal",
        "partner",
        "user",
        "agent",
        "source",
        "person",
        "individual",
        "customer",
        "network",
    }:
        return Meaning("PERSON", Certainty.SURE if last in _SURE_ROLES else Certainty.MAYBE)
    if last in _PERSON_ROLES or (last in {"by", "to", "from"} and len(parts) == 2):
        return Meaning("PERSON", Certainty.MAYBE)
    return None


_SURE_ROLES = listed("""
    payee payer payor beneficiary borrower coborrower counterparty cardholder accountholder holder spouse guarantor
    applicant coapplicant signatory signer cosigner remitter nominee trustee executor guardian insured
""")


def _name(has: frozenset[str]) -> Meaning:
    if has & {"first", "last", "middle", "maiden", "full", "family", "sur", "nick"}:
        return Meaning("PERSON")
    if has & _PERSON_ROLES - {"user", "agent", "party", "principal", "subject"}:
        return Meaning("PERSON")
    if has & _THINGS:
        return Meaning("PERSON", Certainty.MAYBE) if {"account"} == has & _THINGS or {"legal"} == has & _THINGS else HARMLESS
    return Meaning("PERSON", Certainty.MAYBE)
