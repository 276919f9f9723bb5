"""Countries and regions as packs of recognizers. `us` is built into the patterns and is on by default.

Identifiers whose check digit is weak (one number in 11 passes) are found only under a key or after a word that names them.
"""

from collections.abc import Mapping

from mcpgw.redaction.recognizers import Recognizer

US_ENTITIES = frozenset({"US_SSN", "US_ITIN", "US_EIN", "ABA_ROUTING"})
"""What patterns no longer look for where the `us` pack is off. A key that names one still decides."""

_EU = (
    Recognizer(
        origin="eu",
        name="vat",
        entity="EU_VAT",
        pattern=(
            r"\b(?:ATU[0-9]{8}|BE ?[01][0-9]{9}|BG[0-9]{9,10}|CY[0-9]{8}[A-Z]|CZ[0-9]{8,10}|DE ?[0-9]{9}|DK ?[0-9]{8}"
            r"|EE[0-9]{9}|EL[0-9]{9}|ES ?[A-Z0-9][0-9]{7}[A-Z0-9]|FI[0-9]{8}|FR ?[A-Z0-9]{2} ?[0-9]{9}|HR[0-9]{11}|HU[0-9]{8}"
            r"|IE[0-9][A-Z0-9][0-9]{5}[A-Z]{1,2}|IT ?[0-9]{11}|LT(?:[0-9]{9}|[0-9]{12})|LU[0-9]{8}|LV[0-9]{11}|MT[0-9]{8}"
            r"|NL ?[0-9]{9}B[0-9]{2}|PL ?[0-9]{10}|PT ?[0-9]{9}|RO[0-9]{2,10}|SE[0-9]{12}|SI[0-9]{8}|SK[0-9]{10})\b"
        ),
        context=("vat", "ust", "ustid", "idnr", "tva", "iva", "btw", "nip", "partita", "moms", "tax"),
        validator="vat",
        score=0.3,
    ),
    Recognizer(
        origin="eu",
        name="de-steuer-id",
        entity="DE_TAX_ID",
        pattern=r"\b[1-9][0-9](?: ?[0-9]{3}){3}\b",
        context=("steuer", "steuerid", "idnr", "tin", "tax", "identifikationsnummer", "steueridentifikationsnummer"),
        validator="steuer_id",
        score=0.5,
    ),
    Recognizer(
        origin="eu",
        name="fr-nir",
        entity="FR_NIR",
        pattern=r"\b[1-478] ?[0-9]{2} ?(?:0[1-9]|1[0-2]|[2-9][0-9]) ?(?:[0-9]{2}|2[AB]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b",
        validator="nir",
        score=0.8,
    ),
    Recognizer(
        origin="eu",
        name="es-dni-nie",
        entity="ES_DNI",
        pattern=r"\b(?:[0-9]{8}|[0-9]{2}\.[0-9]{3}\.[0-9]{3}|[XYZ]-?[0-9]{7})-?[A-HJ-NP-TV-Z]\b",
        context=("dni", "nie", "nif"),
        validator="dni_nie",
        score=0.5,
    ),
    Recognizer(
        origin="eu",
        name="it-codice-fiscale",
        entity="IT_FISCAL_CODE",
        pattern=r"(?i:\b[A-Z]{6}[0-9LMNPQRSTUV]{2}[ABCDEHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]\b)",
        validator="codice_fiscale",
        score=0.9,
    ),
    Recognizer(
        origin="eu",
        name="nl-bsn",
        entity="NL_BSN",
        pattern=r"\b(?:[0-9]{8,9}|[0-9]{4}\.[0-9]{2}\.[0-9]{3}|[0-9]{3} [0-9]{3} [0-9]{3})\b",
        context=("bsn", "burgerservicenummer", "sofinummer", "sofi"),
        validator="bsn",
        score=0.2,
    ),
    Recognizer(
        origin="eu",
        name="pl-pesel",
        entity="PL_PESEL",
        pattern=r"\b[0-9]{11}\b",
        context=("pesel",),
        validator="pesel",
        score=0.3,
    ),
)

_UK = (
    Recognizer(
        origin="uk",
        name="nino",
        entity="UK_NINO",
        pattern=r"(?i:\b[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z](?:[0-9]{6}|(?: [0-9]{2}){3}|(?:-[0-9]{2}){3})[ -]?[A-D]\b)",
        validator="nino",
        score=0.7,
    ),
    Recognizer(
        origin="uk",
        name="nhs",
        entity="UK_NHS",
        pattern=r"\b[0-9]{3}[ -]?[0-9]{3}[ -]?[0-9]{4}\b",
        context=("nhs",),
        validator="nhs",
        score=0.3,
    ),
    Recognizer(
        origin="uk",
        name="utr",
        entity="UK_UTR",
        pattern=r"\b[0-9]{5} ?[0-9]{5}K?\b",
        context=("utr", "unique taxpayer reference", "self assessment"),
        validator="utr",
        score=0.2,
    ),
    Recognizer(
        origin="uk",
        name="sort-code",
        entity="UK_SORT_CODE",
        pattern=r"\b[0-9]{2}[- ]?[0-9]{2}[- ]?[0-9]{2}\b",
        context=("sort code", "sortcode", "sort"),
        score=0.2,
    ),
    Recognizer(
        origin="uk",
        name="account",
        entity="BANK_ACCOUNT",
        pattern=r"\b[0-9]{8}\b",
        context=("sort code", "sortcode", "account", "acct", "account no", "account number"),
        score=0.2,
    ),
    Recognizer(
        origin="uk",
        name="address",
        entity="ADDRESS",
        pattern=(
            r"\b(?:(?:Flat|Unit|Apartment) [0-9A-Z]{1,5},? )?[0-9]{1,4}[A-Z]?,? (?:[A-Z][A-Za-z'.-]*,?[ \n]){1,8}"
            r"[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][ABD-HJLNP-UW-Z]{2}\b"
        ),
        score=0.8,
    ),
    Recognizer(
        origin="uk",
        name="postcode",
        entity="ADDRESS",
        pattern=r"\b[A-Z]{1,2}[0-9][A-Z0-9]? ?[0-9][ABD-HJLNP-UW-Z]{2}\b",
        context=("postcode", "post code", "address", "lives", "living", "street", "road", "avenue", "lane"),
        score=0.2,
    ),
)

PACKS: Mapping[str, tuple[Recognizer, ...]] = {"us": (), "eu": _EU, "uk": _UK}
