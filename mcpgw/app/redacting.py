"""Settings into a redactor. Imports little: the language model can be loading while the rest of the gateway is imported."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing

from mcpgw.app.keys import read_key
from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import line_of
from mcpgw.redaction import Audience, Blobs, Operator, PresidioRedactor, Profile, Recognizer, RedactionConfig, TokenScope
from mcpgw.redaction.config import FOR_VAULT, VAULT_PROFILE
from mcpgw.redaction.token_file import TokenFile
from mcpgw.settings import RedactionProfile, Settings

REDACTION_KEY = "redaction.key"
TOKENS = "tokens.db"
"""File of reversible tokens, below `data`."""


@asynccontextmanager
async def redactor(settings: Settings) -> AsyncIterator[PresidioRedactor]:
    """Yield the folder's redactor. Its workers are loading their model; `PresidioRedactor.start` waits for them.

    Raises:
        ConfigError: as `config`.
    """
    with closing(tokens(settings)) as store:
        redactor = PresidioRedactor(config(settings), store)
        try:
            await redactor.begin()
            yield redactor
        finally:
            await redactor.aclose()


def config(settings: Settings) -> RedactionConfig:
    """Return the redactor's configuration. The key of `hash` and `token` is needed only where they are used.

    Raises:
        ConfigError: a recognizer, a pack or a combination in it is wrong; with its file and line.
    """
    section = settings.redaction
    profiles = {"default": Profile(), **{name: _profile(profile) for name, profile in section.profiles.items()}}
    if settings.vault.mode == "sealed":
        profiles[FOR_VAULT] = VAULT_PROFILE
    keyed = any({Operator.HASH, Operator.TOKEN} & profile.used for profile in profiles.values())
    key = settings.keys_dir / REDACTION_KEY
    recognizers = tuple(_recognizer(settings, index) for index in range(len(section.recognizers)))
    try:
        return RedactionConfig(
            model=section.model,
            language=section.language,
            workers=section.workers,
            timeout_s=section.timeout,
            score_threshold=section.score_threshold,
            profiles=profiles,
            blobs=Blobs(section.blobs),
            max_bytes=section.max_bytes,
            inline_bytes=section.inline_bytes,
            hash_key=read_key(key) if keyed or key.exists() else b"",
            packs=tuple(section.packs),
            recognizers=recognizers,
            token_scope=TokenScope(section.tokens.scope),
            token_lifetime_s=section.tokens.lifetime,
        )
    except ConfigError as error:
        raise _at_line(error, settings, error.where.split(".")) from None


def tokens(settings: Settings) -> TokenFile:
    """Return what keeps the values of reversible tokens: a file beside the log, made at its first use."""
    told = config(settings)
    return TokenFile(settings.data_dir / TOKENS, told.hash_key, lifetime_s=told.token_lifetime_s)


def _recognizer(settings: Settings, index: int) -> Recognizer:
    told = settings.redaction.recognizers[index]
    try:
        return Recognizer(**{**told.model_dump(), "context": tuple(told.context)})
    except ConfigError as error:
        raise _at_line(error, settings, ["redaction", "recognizers", index, error.where]) from None


def _at_line(error: ConfigError, settings: Settings, path: Sequence[str | int]) -> ConfigError:
    dotted = ".".join(map(str, path))
    try:
        text = settings.config_file.read_text(encoding="utf-8")
    except OSError:
        return error  # settings that come from no file
    message = str(error).removeprefix(f"{error.where}: ")
    return ConfigError(message, where=f"{settings.config_file}:{line_of(text, path)}: `{dotted}`", hint=error.hint)


def _profile(profile: RedactionProfile) -> Profile:
    return Profile(
        default=Operator(profile.default),
        operators=_operators(profile.operators),
        columns=tuple(profile.columns),
        paths=tuple(profile.paths),
        audiences=tuple(
            Audience(members=tuple(audience.members), operators=_operators(audience.operators))
            for audience in profile.audiences
        ),
    )


def _operators(named: Mapping[str, str]) -> dict[str, Operator]:
    return {entity: Operator(operator) for entity, operator in named.items()}
