"""config.toml and `MCPGW_…` environment, parsed once at the rim into frozen values.

Unknown keys are errors with file, line and a suggestion. The environment overrides the file:
`MCPGW_LISTEN__PORT=9000` is `[listen] port = 9000`. Secrets have no place in this file.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import pyrage
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import line_of, parse, suggestion

CONFIG_FILE = "config.toml"

OTHER_VARIABLES = ("MCPGW_API_KEY", "MCPGW_API_KEY_FILE", "MCPGW_PYTHON")
"""Variables that are not settings: the credential of `mcpgw stdio` and the CLI, and the interpreter of scripts/setup."""

_LEDGER_URL = re.compile(
    r"(?P<scheme>postgres(?:ql)?://)(?P<user>[^:/?#@\s]+)(?::(?P<password>\$\{(?:env|file):[^{}\s]+\}))?@(?P<place>[^@\s]*)"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> object:
    """Read `"90s"`, `"15m"`, `"1h"`, `"2d"`, `"250ms"`; a bare number is seconds."""
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if not found:
        raise ValueError('a duration looks like "250ms", "90s", "15m", "1h" or "2d"')
    return float(found[1]) * _UNIT_S[found[2]]


Seconds = Annotated[float, BeforeValidator(seconds), Field(gt=0)]


def _quorum(value: object) -> object:
    """Take 1 to 10, or an expression; policy reads the expression."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10):
        return value
    raise ValueError('must be from 1 to 10, or an expression such as "2 of group:leads and 1 of group:risk"')


def _steps(value: object) -> object:
    if isinstance(value, str):
        if value != "deny":
            raise ValueError(f'is "deny" or a list of steps, and not "{value}"')
        return []
    return value


def outside_hours(value: object) -> object:
    """Read `"deny"` as no time at all, and all else as `seconds` does."""
    return 0 if value == "deny" else seconds(value)


Quorum = Annotated[int | str, BeforeValidator(_quorum)]
Member = Annotated[str, Field(pattern=r"^(group|user):.+$")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.:-]{0,62}$")]


class Section(BaseModel):
    """A table of config.toml: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Listen(Section):
    """Where `mcpgw serve` listens, and what it accepts there."""

    host: str = "127.0.0.1"
    """Address to listen on. Loopback: put TLS in front, or set `tls_certificate`, before you open it to a network."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on; 0 lets the system choose."""
    public_url: str = ""
    """The URL under which clients reach the gateway, without a path: `https://mcp.bank.example`. Empty: as listened."""
    allowed_hosts: list[str] = []
    """Further `Host` values, beside the loopback names and the public URL's."""
    allowed_origins: list[str] = []
    """`Origin` values of browsers that may call, beside the gateway's own."""
    max_body_bytes: int = Field(default=1_048_576, ge=1024)
    """Longest request. A longer one is refused with 413."""
    max_sessions: int = Field(default=1_000, ge=1)
    """Open sessions of Streamable HTTP; as many again of HTTP+SSE, `subscriptions/listen` and subscriptions to resources."""
    max_sessions_per_identity: int = Field(default=100, ge=1)
    """The same for one identity, whatever clients it comes with; one more is refused with 429."""
    answer_timeout: Seconds = 300.0
    """How long a question that a server puts to a caller in the middle of a call waits for the answer."""
    trusted_proxies: list[str] = []
    """Addresses or networks whose `X-Forwarded-For` is believed."""
    tls_certificate: str = ""
    """PEM file, relative to the folder, where the gateway itself terminates TLS."""
    tls_key: str = ""
    """PEM file of its key."""
    shutdown_grace: Seconds = 10.0
    """How long calls in flight may finish at shutdown, before they are cancelled and recorded."""


class KindRule(Section):
    """Tells people from services and agents by a claim of a token; the first that fits holds."""

    claim: str
    """Name of the claim, whose value must be a string."""
    pattern: str
    """Glob over the value: `svc-*`. Case counts."""
    kind: Literal["human", "service", "agent"]
    """What such a caller is."""


class Issuer(Section):
    """One OIDC issuer whose access tokens are accepted."""

    issuer: str
    """Exactly the `iss` of its tokens; discovery starts there."""
    audience: list[str] = Field(min_length=1)
    """One of these must be in `aud`: the gateway's own resource identifier."""
    algorithms: list[str] = ["RS256", "PS256", "ES256", "Ed25519"]
    """Signature algorithms that are accepted; asymmetric ones alone can be named."""
    groups_claim: str = "groups"
    """Claim that lists groups; a dotted path reaches into objects (`realm_access.roles`)."""
    subject_claim: str = "sub"
    """Claim that names the caller."""
    leeway: Seconds = 30.0
    """Tolerated difference of clocks."""
    kind_rules: list[KindRule] = []
    """Looked at before what is known of common issuers; a token with an `act` claim is an agent's in any case."""
    default_kind: Literal["human", "service", "agent"] = "human"
    """What a caller is whom no rule tells apart. Only humans can approve: `service` where this issuer has no people."""
    claims: list[str] = []
    """Further claims that rules and role members may look at."""
    types: list[str] = Field(default=["at+jwt", "jwt"], min_length=1)
    """Accepted `typ` headers, compared without case; a token without one counts as `jwt`."""
    accept_id_tokens: bool = False
    """Only where an issuer has nothing else: an ID token tells who logged in, and permits nothing."""
    jwks_url: str = ""
    """Where the keys are, for an issuer without discovery."""


class IdentitySettings(Section):
    """Who may come in. Without an entry here, API keys of `mcpgw keys` are the only way."""

    issuers: list[Issuer] = []
    scopes_supported: list[str] = []
    """OAuth scopes to advertise in the protected-resource metadata; the least that a client should ask for."""
    unsafe_allow_anonymous: bool = False
    """Development only: calls without a credential are made by `anonymous`. Refused unless the listener is on loopback."""


class Role(Section):
    """Members get scopes."""

    members: list[str] = Field(min_length=1)
    """`user:alice`, `group:tellers`, `claim:dept=fraud`, `kind:agent` or `everyone`; with two issuers of tokens
    `group:https://idp.example#tellers`, here and wherever members are named."""
    scopes: list[str] = Field(min_length=1)
    """Names of `[scopes.NAME]`."""


class Scope(Section):
    """A named selection of what is published: every criterion that is given must hold, any entry of one is enough."""

    tools: list[str] = []
    """Globs over published names: `bank__lookup_*`."""
    prompts: list[str] = []
    """Globs over published names of prompts; without them the scope selects none."""
    resources: list[str] = []
    """Globs over published URIs and templates, `mcpgw+bank+file:///reports/*`; without them the scope selects none."""
    tags: list[str] = []
    """Tags that the catalog gives."""
    risk: list[Literal["low", "high"]] = []
    """Risks that the catalog gives."""
    annotations: dict[str, bool] = {}
    """Annotations that must have this value: `{ readOnlyHint = true }`."""
    by_name: bool = False
    """No criteria: the scope selects what the catalog assigns to its name (`scope = "…"`)."""


class Profile(Section):
    """What is listed to some callers of all the tools that they may call: for clients with limits. It grants nothing, and what
    is not listed can be called all the same. The first profile in this file that is for a caller holds; if none is, all is
    listed."""

    roles: list[str] = Field(min_length=1)
    """Names of `[roles.NAME]`, or members, whose lists are narrowed."""
    tools: list[str] = []
    """Globs over published names of the tools that are listed."""
    search: bool = False
    """List `mcpgw__find_tools` and `mcpgw__call_tool`, which stand for all that is not listed; a scope must grant both."""


class Sql(Section):
    """A condition over an argument that holds SQL. In a deny or hold rule, SQL that cannot be understood matches."""

    argument: str
    """Name of the argument; dots lead into objects."""
    dialect: str
    """`sqlite`, `postgres`, `duckdb`, `mysql`, `tsql`, `oracle`, `snowflake`, …"""
    statements: list[str] = []
    """Kinds of statement to find: `drop`, `delete`, `update`, …"""
    allow_only: list[str] = []
    """Kinds of statement that are fine; any other matches."""
    tables: list[str] = []
    """Globs over tables that are read or written."""
    write_tables: list[str] = []
    """Globs over tables that are written."""
    columns: list[str] = []
    """Column names; `SELECT *` touches every column."""
    functions: list[str] = []
    """Globs over functions that are called."""
    without_where: bool = False
    """An UPDATE or DELETE whose WHERE is missing or always true."""


class Step(Section):
    """Who is asked when those before were silent until their deadline."""

    approvers: list[str] = []
    """As in the rule."""
    quorum: Quorum = 1
    """As in the rule."""
    deadline: Seconds
    """From the end of the deadline before."""


class Hours(Section):
    """Business hours: when there is somebody to ask."""

    zone: str
    """`Europe/Berlin`: a name of the IANA time zone database."""
    days: list[str] = ["mon", "tue", "wed", "thu", "fri"]
    """`mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`."""
    opens: str = "08:00"
    """In that zone."""
    closes: str = "18:00"
    """The first minute that is outside; later than `opens`, at most `24:00`."""
    outside: Annotated[float, BeforeValidator(outside_hours), Field(ge=0)] = 0.0
    """`"deny"`, or the first deadline of calls that arrive at another time: `"16h"`."""


def amounts(value: object) -> object:
    """Take numbers as they are written: an amount is compared in decimal."""
    if not isinstance(value, dict):
        return value
    for amount in value.values():
        if isinstance(amount, bool) or not isinstance(amount, int | float | str):
            raise ValueError("must be a number for an argument, such as { amount = 10000 }")
    return {name: str(amount) for name, amount in value.items()}


class Grants(Section):
    """How much may be asked for at once, instead of call by call."""

    max_calls: int = Field(ge=1, le=500)
    """How many calls a grant may cover."""
    max_for: Seconds
    """How long it may last, from when it was asked for; at most 30 days."""
    max_total: Annotated[dict[str, str], BeforeValidator(amounts)] = {}
    """`{ amount = 10000 }`: a grant must have a total of that argument over all its calls, of at most so much."""


class Rule(Section):
    """One rule. deny beats hold beats allow; within an effect the first match gives the reason and the approvers."""

    id: Name
    """Stands in decisions, records and answers."""
    effect: Literal["deny", "hold", "allow"]
    """What happens where the rule matches."""
    reason: str = ""
    """A sentence for the caller."""
    tools: list[str] | None = None
    """Globs over published names that the rule is about. Without this and the next two it is about everything."""
    prompts: list[str] | None = None
    """Globs over published names of prompts that it is about, and their completions."""
    resources: list[str] | None = None
    """Globs over published URIs and templates that it is about, and templates' completions."""
    roles: list[str] = []
    """Role names or members that it is about; empty means everybody."""
    when: str = ""
    """A CEL expression over `identity`, `tool`, `args` and `now`; one that cannot be evaluated denies."""
    sql: Sql | None = None
    """It must hold beside `when`."""
    mode: Literal["enforce", "observe"] = "enforce"
    """`observe`: the decision's record says what the rule would have done, and nothing else comes of it."""
    approvers: list[str] = []
    """For `hold`: `group:payments-leads`, `user:carol`, `claim:desk=fx`; empty means those of `[approval]`."""
    quorum: Quorum | None = None
    """For `hold`: how many must approve, or `"2 of group:leads and 1 of group:risk"`; empty means as in `[approval]`."""
    deadline: Seconds | None = None
    """For `hold`: silence until then is a denial, or the next step; empty means as in `[approval]`."""
    on_silence: Annotated[list[Step], BeforeValidator(_steps)] = []
    """For `hold`: `"deny"`, or a list of steps, `[{ approvers = ["group:heads"], quorum = 1, deadline = "1h" }]`."""
    on_denial: Literal["deny", "wait"] = "deny"
    """For `hold`: one denial ends it, or stands in the way until it is withdrawn or the deadline comes."""
    comment: Literal["optional", "required"] = "optional"
    """For `hold`: whether a vote must say why."""
    max_auth_age: Seconds | None = None
    """For `hold`: a vote counts only for so long after its voter signed in (`auth_time`)."""
    acr: list[str] = []
    """For `hold`: voters must have signed in with one of these classes."""
    amr: list[str] = []
    """For `hold`: voters must have signed in with all of these methods: `["mfa"]`."""
    hours: Hours | None = None
    """For `hold`; without it there always is."""
    break_glass: bool = True
    """For `hold`: whether the openers of `[approval.break_glass]` may stand in."""
    run_unattended: bool = False
    """For `hold`: whether the approved call may run while nobody waits for it: its client left, or was told to come back."""
    may_be_asked: bool = False
    """For `hold`: whether the server may ask the caller in the middle of the approved call. Nobody approves the answers."""
    grants: Grants | None = None
    """For `hold`: whether people may be asked ahead for several calls at once, and for how much; empty: call by call."""
    lifts_risk: bool = False
    """For `allow`: where it matches, `risk = "high"` alone does not hold the call."""


class BreakGlass(Section):
    """For an emergency: two people stand in for the approvers. Each use is an alert, and must be reviewed afterwards."""

    openers: list[str] = []
    """Who may; any two of them together. Empty: nobody."""
    valid: Seconds = 900.0
    """How long the approved call can run then."""
    reviewers: list[str] = []
    """Who must look at it afterwards; empty: any third person who may decide."""


PresentationName = Literal["task", "url", "progress"]


class ApprovalSettings(Section):
    """The desk's defaults, and who decides on `risk = "high"` where no rule says so."""

    approvers: list[str] = []
    """`group:NAME`, `user:NAME` or `claim:NAME=VALUE`; never the requester, and never an agent."""
    quorum: Quorum = 1
    """How many different people must approve, or `"2 of group:leads and 1 of group:risk"`."""
    deadline: Seconds = 3600.0
    """Silence until then is a denial."""
    admins: list[str] = []
    """Who may see every held call and revoke what others approved. They decide nothing by that."""
    break_glass: BreakGlass = BreakGlass()
    risk_grants: Grants | None = None
    """As `grants` in a rule, for calls that are held for `risk = "high"` alone; empty: call by call."""
    budget: Seconds = 4.0
    """How long a held call keeps an unknown client waiting before it is told to come back."""
    budgets: dict[str, Seconds] = {}
    """The same by `clientInfo.name`, for clients that are known to wait: `claude-code = "45s"`."""
    preview_timeout: Seconds = 10.0
    """How long a server may take to say what a held call would do, where the catalog has a `preview` for the tool."""
    max_unattended: int = Field(default=500, ge=0)
    """Calls of rules with `run_unattended` that a process waits for in their clients' place; any more are just pending."""
    max_unattended_per_identity: int = Field(default=50, ge=0)
    """The same for one identity, whatever clients it comes with."""
    decide_over_mcp: bool = False
    """Whether approvers may give verdicts by a tool of their own MCP session, `mcpgw__approvals_decide`. Whoever lets a model
    drive that session lets it decide for them."""
    presentations: list[PresentationName] = ["task", "url", "progress"]
    """How clients may be told that a call is held, where they declare that they can follow: as a task (the tasks extension), by
    the approval's page (URL elicitation), by waiting with the request open. Every other call is answered as pending at once."""


OperatorName = Literal["mask", "partial", "hash", "token", "drop", "keep"]


class RedactionAudience(Section):
    """What is different for some identities under a profile; the first that fits holds."""

    members: list[Member] = Field(min_length=1)
    """`group:NAME` or `user:PRINCIPAL_OR_SUBJECT`."""
    operators: dict[str, OperatorName] = {}
    """By entity type, over the profile's own."""


class RedactionProfile(Section):
    """What happens to what is found, and what is masked whatever it looks like."""

    default: OperatorName = "mask"
    """`mask` writes `<US_SSN>`, `partial` keeps the last four, `hash` is keyed, `token` a pseudonym that entitled servers are
    given the value of, `drop` removes, `keep` passes and counts."""
    operators: dict[str, OperatorName] = {}
    """By entity type: `PERSON = "partial"`."""
    columns: list[str] = []
    """Key and column names, compared without case."""
    paths: list[str] = []
    """JSON paths: `rows[*].ssn`, `**.email`, or `column:"Tax ID"`."""
    audiences: list[RedactionAudience] = []
    """For whom none fits, the profile's operators hold."""


class RedactionTokens(Section):
    """The pseudonyms of the `token` operator, which a server with `restore_tokens` in the catalog is given the values of."""

    scope: Literal["session", "identity", "deployment"] = "identity"
    """How far equal values have equal tokens. Only who was given a token can use it, whatever the scope."""
    lifetime: Seconds = 28_800.0
    """How long after it was last given out a token can be used."""


class RedactionRecognizer(Section):
    """A kind of value of your own."""

    name: str
    """Names it in manifests: `custom.NAME@VERSION`."""
    entity: str
    """What is written in its place: `EMPLOYEE_ID`."""
    pattern: str
    """RE2: linear time, no look-arounds. A group `(?P<value>…)` is what is masked; without one, the whole match."""
    context: list[str] = []
    """Words or phrases which, within 60 characters before the value or in its key, add 0.4 to the score."""
    validator: str = ""
    """Arithmetic that a value must pass: `luhn`, `iban`, `aba`, `iso7064_mod_11_10`, or one of a pack's."""
    score: float = 0.5
    """A value counts from 0.5 on; below it, a context word is needed."""
    version: str = "1"
    """Raise it when you change the recognizer."""


class RedactionSettings(Section):
    """How personal data is found and masked, beside the columns and paths of the catalog."""

    model: str = "en_core_web_sm"
    """A spaCy model package that is installed, or `none` for patterns, columns and paths alone."""
    language: str = "en"
    """The model's language."""
    workers: int = Field(default=1, ge=1, le=64)
    """Worker processes. On Linux they share one model, about 200 MB; elsewhere each holds its own."""
    timeout: Seconds = 5.0
    """For one reply. Beyond it the reply is withheld."""
    max_bytes: int = Field(default=4_000_000, ge=1024)
    """Larger replies are withheld."""
    inline_bytes: int = Field(default=3_000, ge=0, le=65_536)
    """Arguments and replies up to this size that need no model are redacted without a worker; 0 sends all to the workers."""
    blobs: Literal["withhold", "pass"] = "withhold"
    """Images, audio and binary resources, which no detector reads."""
    score_threshold: float = Field(default=0.5, ge=0, le=1)
    """Results of Presidio below it are ignored."""
    profiles: dict[Name, RedactionProfile] = {}
    """How a kind of tool is treated; `redaction.profile` in the catalog selects one, else `default` applies."""
    packs: list[str] = ["us"]
    """Countries whose identifiers are looked for: `us`, `uk`, `eu`."""
    recognizers: list[RedactionRecognizer] = []
    """Looked for beside what the packs know."""
    tokens: RedactionTokens = RedactionTokens()


class ConsoleSettings(Section):
    """The pages for approvers and auditors, beside the MCP endpoints of `mcpgw serve`."""

    enabled: bool = True
    """Whether there are any. Without them people decide with `mcpgw approvals`."""
    api: bool = False
    """Whether people may also decide through the HTTP API, `/api/v1`, with a bearer credential of their own."""
    auditors: list[Member] = []
    """`group:NAME` or `user:NAME`: who may read the log and the state of the upstreams. Empty: nobody."""
    session_idle: Seconds = 900.0
    """After so long without a page opened, one has to sign in again."""
    session_max: Seconds = 28_800.0
    """After so long one has to sign in again in any case."""


class MetricsSettings(Section):
    """Numbers for a monitor, in Prometheus' text format at `/metrics` of `mcpgw serve`. See docs/metrics.md."""

    enabled: bool = False
    """Whether there are any."""
    readers: list[Member] = []
    """`group:NAME` or `user:NAME` of services: who may read them, with a bearer credential of its own. Empty: nobody."""


class VaultSettings(Section):
    """Raw arguments and results, encrypted to people outside. See docs/vault.md."""

    mode: Literal["off", "sealed"] = "off"
    """`sealed` keeps them of tools with `vault = true` in the catalog, as age files that the gateway cannot open."""
    recipients: list[str] = []
    """X25519 recipients of age, `age1…`, as `age-keygen` prints them: each of their owners can open all that is sealed."""
    max_bytes: int = Field(default=1_000_000, ge=1024)
    """A longer payload is cut there; what the record commits to is all of it."""

    @field_validator("recipients")
    @classmethod
    def _are_public_keys(cls, recipients: list[str]) -> list[str]:
        for number, text in enumerate(recipients, start=1):
            if text.strip().upper().startswith("AGE-SECRET-KEY"):
                raise ValueError(f"number {number} is a private key: take it out, make another pair, and give its age1… here")
            try:
                pyrage.x25519.Recipient.from_str(text)
            except pyrage.RecipientError:
                raise ValueError(f"number {number} is no X25519 recipient of age, such as `age-keygen` prints: age1…") from None
        return recipients

    @model_validator(mode="after")
    def _has_recipients(self) -> "VaultSettings":
        if self.mode == "sealed" and not self.recipients:
            raise ValueError('mode = "sealed" needs recipients, or nobody could ever open what is sealed')
        return self


class RetentionSettings(Section):
    """How long payloads are kept beside their records, at most. Records are kept for good. See docs/retention.md."""

    clean: Seconds = Field(default=34_214_400.0, ge=3600)
    """Clean arguments and results, and what people wrote on approvals; 396 days are 13 months."""
    raw: Seconds = Field(default=7_776_000.0, ge=3600)
    """What was sealed into the vault."""


class LedgerSettings(Section):
    """The tamper-evident record."""

    origin: str = "mcpgw.local/ledger"
    """The log's name in checkpoints (C2SP tlog-checkpoint): a host and path that is yours, and never changes."""
    url: str = ""
    """`postgresql://USER:${env:NAME}@HOST/DATABASE` keeps the log in PostgreSQL. Any password is a reference. Empty: SQLite."""

    receipts: bool = True
    """Every answer carries a receipt in `_meta`: where its record stands, and the log's signature over it. About 500 bytes."""
    session_idle: Seconds = 1800.0
    """A session in which nothing was recorded for so long is closed. The next call of the same caller opens another."""

    post_quantum: bool = True
    """Checkpoints that leave (exported, anchored, published, in proofs) are signed with ML-DSA-44 too: 3.3 KB more each."""

    @field_validator("url")
    @classmethod
    def _holds_no_secret(cls, url: str) -> str:
        if url and not _LEDGER_URL.fullmatch(url):
            raise ValueError("write postgresql://USER@HOST/DATABASE, with any password as ${env:NAME} or ${file:path}")
        if re.search(r"[?&](password|passfile|sslpassword)=", url):
            raise ValueError("a password stands behind the user and a colon, as ${env:NAME} or ${file:path}")
        return url

    @property
    def address(self) -> str:
        """The URL without its password."""
        found = _LEDGER_URL.fullmatch(self.url)
        return f"{found['scheme']}{found['user']}@{found['place']}" if found else ""

    @property
    def password_reference(self) -> str:
        found = _LEDGER_URL.fullmatch(self.url)
        return (found["password"] or "") if found else ""


class Sink(Section):
    """A copy of the record for the SIEM, at least once and in order. Only clean data leaves."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """Names the cursor, `data/sinks/NAME.json`; another name starts at the first record."""
    kind: Literal["file", "webhook", "splunk", "elastic", "syslog", "otlp"]
    """JSON lines in a file, a signed HTTPS POST, Splunk's HTTP Event Collector, Elasticsearch's `_bulk`, syslog over TLS, or
    OpenTelemetry logs."""
    path: str = ""
    """For `file`: JSON lines are appended here, relative to the folder."""
    url: str = ""
    """For `webhook` the exact `https://` address, for `splunk` that of the collector without a path, for `elastic` that of the
    cluster, `https://host:9200`, for `syslog` `tls://host:6514`, for `otlp` that of the collector's logs,
    `https://host:4318/v1/logs`."""
    secret: str = ""
    """A `${env:NAME}` or `${file:path}` reference: the HMAC key of a `webhook`, the token of a `splunk`, for `elastic` an
    encoded API key or `user:password`; for `otlp` a bearer token, if it asks for one."""
    index: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9._-]{0,254})?$")] = ""
    """For `elastic`: the index, alias or data stream that events are created in."""
    ca: str = ""
    """PEM file, relative to the folder, with the authorities that are trusted instead of the system's."""
    certificate: str = ""
    """PEM file, relative to the folder, of the gateway's own certificate, where the receiver asks for one."""
    key: str = ""
    """PEM file of its key."""
    acknowledge: bool = False
    """For `splunk`: wait until events are indexed; the token needs indexer acknowledgement."""
    batch: int = Field(default=500, ge=1, le=5000)
    """Most events in one batch; batches end at 1 MB as well."""
    begin: Literal["first", "now"] = "first"
    """Where a sink without a cursor begins: at the first record, or behind the newest."""


class AnchorPlace(Section):
    """One place out of the database admin's reach to which checkpoints are taken. See docs/anchors.md."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """Names the anchor in records, alerts and `/readyz`."""
    kind: Literal["directory", "s3", "timestamp", "witness"]
    """An append-only directory, a bucket with Object Lock, an RFC 3161 authority, or C2SP witnesses."""
    path: str = ""
    """For `directory` and `timestamp`: where checkpoints and tokens are kept, relative to the folder. It must exist."""
    url: str = ""
    """For `witness` its submission prefix, for `timestamp` the authority, for `s3` an endpoint other than Amazon's."""
    key: str = ""
    """For `witness`: its verifier key, as `mcpgw witness key` prints it."""
    policy: str = ""
    """For `witness`, instead of `url` and `key`: a tlog-policy file, relative to the folder; its quorum must cosign."""
    trust: str = ""
    """For `timestamp`: PEM file, relative to the folder, with the authority's root and intermediate certificates."""
    bucket: str = ""
    """For `s3`: its name. It must have Object Lock."""
    prefix: str = ""
    """For `s3`: what the names of objects begin with."""
    region: str = ""
    """For `s3`: where the bucket is, unless the environment says so."""
    access_key: str = ""
    """For `s3`: a `${env:NAME}` or `${file:path}` reference. Empty: what boto3 finds, such as the machine's role."""
    secret_key: str = ""
    """For `s3`: a reference likewise."""
    retention: Seconds = 220_752_000.0
    """For `s3`: how long nobody can delete a checkpoint (compliance mode); seven years."""
    ca: str = ""
    """PEM file, relative to the folder, with the authorities that are trusted instead of the system's for TLS."""


class AnchorSettings(Section):
    """How soon checkpoints leave, and what happens to calls if they cannot."""

    interval: Seconds = 60.0
    """How late a checkpoint is taken to the anchors at most, whenever the log has grown."""
    required: bool = False
    """Refuse calls, before the upstream, while a record has waited for longer than `within`."""
    within: Seconds = 300.0
    """With `required`: how old the oldest record that is not anchored may be."""
    at_least: int = Field(default=1, ge=1)
    """With `required`: how many of the anchors must cover a record before it counts as anchored."""
    to: list[AnchorPlace] = []


class Notifier(Section):
    """Tells people that a held call needs them, and what became of it. A notice never decides anything."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """Names the cursor, `data/sinks/notify.NAME.json`; another name starts with what comes next."""
    kind: Literal["webhook", "apprise"]
    """A signed HTTPS POST, or what Apprise reaches: mail, Slack, Teams and others (`mcpgw[notify]`)."""
    on: list[Literal["held", "escalated", "settled", "break_glass", "indeterminate"]] = [
        "held",
        "escalated",
        "break_glass",
        "indeterminate",
    ]
    """What is told: a call waits, others are asked because nobody decided, it was settled, it was approved in an emergency, an
    outcome is unknown."""
    rules: list[str] = []
    """Globs over rule names, to tell of some rules alone."""
    url: str = ""
    """For `webhook`: the exact `https://` address."""
    secret: str = ""
    """For `webhook`: a `${env:NAME}` or `${file:path}` reference to the HMAC key."""
    addresses: list[str] = []
    """For `apprise`: its URLs, such as `${env:SLACK_URL}`. They hold credentials, so each has a reference in it."""
    ca: str = ""
    """For `webhook`: PEM file, relative to the folder, with the authorities that are trusted instead of the system's."""
    certificate: str = ""
    """For `webhook`: PEM file, relative to the folder, of the gateway's own certificate, where the receiver asks for one."""
    key: str = ""
    """For `webhook`: PEM file of its key."""


class Settings(BaseSettings):
    """Everything of config.toml, and where the folder is."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="MCPGW_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        use_attribute_docstrings=True,
    )

    folder: Path = Field(default=Path(), exclude=True)
    name: str = "mcpgw"
    """What clients show as the server's name."""
    instructions: str = ""
    """Sent to clients as the server's instructions."""
    data: str = "data"
    """Folder of ledger and approvals, relative to this file."""
    listen: Listen = Listen()
    identity: IdentitySettings = IdentitySettings()
    roles: dict[Name, Role] = {}
    scopes: dict[Name, Scope] = {}
    profiles: dict[Name, Profile] = {}
    rules: list[Rule] = []
    approval: ApprovalSettings = ApprovalSettings()
    redaction: RedactionSettings = RedactionSettings()
    console: ConsoleSettings = ConsoleSettings()
    metrics: MetricsSettings = MetricsSettings()
    ledger: LedgerSettings = LedgerSettings()
    vault: VaultSettings = VaultSettings()
    retention: RetentionSettings = RetentionSettings()
    anchor: AnchorSettings = AnchorSettings()
    sinks: list[Sink] = []
    notify: list[Notifier] = []

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @property
    def data_dir(self) -> Path:
        return self.folder / self.data

    @property
    def keys_dir(self) -> Path:
        return self.folder / "keys"

    @property
    def catalog_dir(self) -> Path:
        return self.folder / "catalog"

    @property
    def config_file(self) -> Path:
        return self.folder / CONFIG_FILE

    @property
    def public_url(self) -> str:
        """Where clients and people reach the gateway, as far as the settings know: with port 0 the system chooses another."""
        if self.listen.public_url:
            return self.listen.public_url.rstrip("/")
        host = f"[{self.listen.host}]" if ":" in self.listen.host else self.listen.host
        return f"{'https' if self.listen.tls_certificate else 'http'}://{host}:{self.listen.port}"


def ledger_at(url: str, where: str) -> LedgerSettings:
    """Return the settings of a log at another URL than the one in config.toml.

    Raises:
        ConfigError: it is no URL of PostgreSQL, or a password is written out in it. The message does not quote it.
    """
    try:
        return LedgerSettings(url=url)
    except ValidationError as error:
        raise ConfigError(error.errors()[0]["msg"].removeprefix("Value error, "), where=where) from None


def load(folder: Path) -> Settings:
    """Read `folder/config.toml` and the environment.

    Raises:
        ConfigError: the file is missing, is not TOML, or a key or value is wrong; all complaints at once, one a line.
    """
    path = folder / CONFIG_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = "Make a working folder with `mcpgw init`, or name one with `-C DIR`."
        raise ConfigError("there is no such file", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(path)) from error
    return from_text(text, folder, str(path))


def from_text(text: str, folder: Path, file: str = CONFIG_FILE) -> Settings:
    """Parse the text of a config.toml.

    Raises:
        ConfigError: see `load`.
    """
    values = parse(text, file)
    if "folder" in values:
        raise ConfigError("unknown key `folder`", where=f"{file}:{line_of(text, ('folder',))}")
    _refuse_unknown_variables(os.environ)
    try:
        return Settings(**values, folder=folder)
    except ValidationError as error:
        complaints = [_complaint(problem, text, file, os.environ) for problem in error.errors(include_url=False)]
        raise ConfigError("\n".join(complaints)) from None
    except SettingsError as error:
        field = re.search(r'for field "(\w+)"', str(error))
        variable = f"MCPGW_{field[1].upper()}" if field else "MCPGW_…"
        hint = "Write the table as a JSON object, or one variable for each key: MCPGW_LISTEN__PORT=9000."
        raise ConfigError("this is not JSON", where=f"environment: {variable}", hint=hint) from None


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """A typo in the environment is an error too, and not a setting that silently does nothing."""
    known = set(Settings.model_fields) - {"folder"}
    for variable in environ:
        name = variable.removeprefix("MCPGW_").partition("__")[0].lower()
        if variable.startswith("MCPGW_") and variable not in OTHER_VARIABLES and name not in known:
            names = [f"MCPGW_{key.upper()}" for key in known] + list(OTHER_VARIABLES)
            raise ConfigError(f"unknown variable. {suggestion(variable, names)}".rstrip(), where=f"environment: {variable}")


def _complaint(problem: Any, text: str, file: str, environ: Mapping[str, str]) -> str:
    location = tuple(part for part in cast(tuple[str | int, ...], problem["loc"]) if part != "[key]")
    dotted = ".".join(str(part) for part in location)
    where = _variable(location, environ) or f"{file}:{line_of(text, location)}"
    if problem["type"] == "extra_forbidden":
        hint = suggestion(str(location[-1]), _known(location[:-1]))
        return f"{where}: unknown key `{dotted}`. {hint}".rstrip()
    return f"{where}: `{dotted}`: {_said(problem)}"


def _said(problem: Any) -> str:
    """Say what is wrong with a value in the words of the file, and not in those of the library that checked it."""
    kind, given = problem["type"], problem["input"]
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, and is {_shown(given)}"
    if kind == "literal_error":
        words = problem["ctx"]["expected"].replace("'", '"')
        near = difflib.get_close_matches(str(given), re.findall(r'"(.*?)"', words), n=1)
        return f"must be {words}" + (f'. Did you mean "{near[0]}"?' if near else "")
    if kind == "missing":
        return "is required, and is not there"
    message = re.sub("^(Input|String) should ", "must ", problem["msg"].removeprefix("Value error, "))
    return f"{message[0].lower()}{message[1:]}"


_EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "string_type": "a text in quotes",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "list_type": 'a list: ["…", "…"]',
    "dict_type": "a table",
    "model_type": "a table",
}
"""By pydantic's types of errors."""


def _shown(value: object) -> str:
    """Name a value's kind, and not the value: somebody may have pasted a secret there."""
    names = {bool: "true or false", str: "a text", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "something else")


def _variable(location: Sequence[str | int], environ: Mapping[str, str]) -> str:
    """Name the variable that the value at a place came from, or nothing where it stands in the file.

    A variable is `MCPGW_LISTEN__PORT` for a value, or `MCPGW_LISTEN` for a table as JSON; both override the file.
    """
    given = {name.upper(): name for name in environ}
    for length in range(len(location), 0, -1):
        name = given.get("MCPGW_" + "__".join(str(part).upper() for part in location[:length]))
        if name and _reaches(environ[name], location[length:]):
            return f"environment: {name}"
    return ""


def _reaches(text: str, path: Sequence[str | int]) -> bool:
    """Tell whether the JSON has something at the path; every value has itself."""
    try:
        value: Any = json.loads(text) if path else text
        for part in path:
            value = value[part]
    except (ValueError, LookupError, TypeError):
        return False
    return True


def _known(location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that exist in the table at this place of the schema."""
    schema = Settings.model_json_schema()
    node: dict[str, Any] = schema
    for part in location:
        node = _resolve(node, schema)
        node = node.get("items", {}) if isinstance(part, int) else _property(node, part)
    keys = set(_resolve(node, schema).get("properties", {}))
    return sorted(keys - {"folder"})


def _property(node: dict[str, Any], name: str) -> dict[str, Any]:
    properties = node.get("properties", {})
    if name in properties:
        return cast(dict[str, Any], properties[name])
    for candidate in (node.get("additionalProperties"), *node.get("patternProperties", {}).values()):
        if isinstance(candidate, dict):
            return candidate
    return {}


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for choice in node.get("anyOf", [node]):
        if "$ref" in choice:
            return cast(dict[str, Any], schema["$defs"][choice["$ref"].removeprefix("#/$defs/")])
    return node
