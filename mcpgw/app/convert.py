"""Settings in, the rooms' own values out; rooms never see the settings. What talks to the network stands in `network`."""

import hmac
import os
from collections.abc import Callable
from pathlib import Path

from mcpgw.app.keys import read_key
from mcpgw.app.whose import must_name_issuers
from mcpgw.approval import Desk
from mcpgw.catalog.references import ReferenceUnresolved, substitute
from mcpgw.core.canonical import digest
from mcpgw.core.errors import ConfigError, LedgerUnavailable
from mcpgw.core.model import (
    IdentityKind,
    Risk,
    ShownCall,
)
from mcpgw.core.toml import line_of
from mcpgw.identity import ApiKeys, Authenticators, Issuer, JwtIssuers, KeyRoster
from mcpgw.identity.issuer import KindRule
from mcpgw.ledger import Ledger
from mcpgw.ledger.checkpoint import InvalidNote
from mcpgw.ledger.keys import countersigned, load_verifiers
from mcpgw.ledger.sqlite import SqliteDatabase
from mcpgw.ledger.store import Database
from mcpgw.policy import Defaults, Effect, Grants, Hours, Mode, Policy, Profile, Role, Rule, Scope, SqlCondition, Step
from mcpgw.settings import Grants as GrantsSettings
from mcpgw.settings import Hours as HoursSettings
from mcpgw.settings import LedgerSettings, Settings, from_text
from mcpgw.settings import Rule as RuleSettings
from mcpgw.settings import Step as StepSettings

API_KEYS = "api_keys.json"
DESK_KEY = "desk.key"
POLICY_OF_DESK = ("approvers", "quorum", "deadline", "admins", "break_glass", "risk_grants")
"""Keys of `[approval]` that are part of the policy; the others say how clients are kept waiting."""


def desk(
    settings: Settings, ledger: Ledger, on_held: Callable[[ShownCall, str], None] = lambda shown, approval_id: None
) -> Desk:
    """Return the desk of the folder, on its ledger: any number of processes may have one. `on_held` hears of what it holds.

    Raises:
        ConfigError: the desk's key is missing, or is none.
    """
    roster = KeyRoster(ApiKeys(settings.keys_dir / API_KEYS))
    return Desk(ledger, ledger, read_key(settings.keys_dir / DESK_KEY), roster, on_held=on_held)


def make_data_folder(settings: Settings) -> None:
    """Make the folder of ledger and approvals where it is missing, for the gateway alone to read.

    Raises:
        ConfigError: it is no folder, or may not be made there.
    """
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        hint = "Set `data` in config.toml to a folder that whoever runs the gateway may write to."
        raise ConfigError(
            f"this cannot be the data folder: {error.strerror}", where=str(settings.data_dir), hint=hint
        ) from error


def config_hash(settings: Settings) -> str:
    """Return the hash of everything that config.toml and the environment say."""
    return digest(settings.model_dump(mode="json"))


def with_policy_of(running: Settings, edited: Settings) -> Settings:
    """Return what is in force when a running gateway takes up edited settings: their policy, and nothing else of them."""
    desk = {name: getattr(edited.approval, name) for name in POLICY_OF_DESK}
    approval = running.approval.model_copy(update=desk)
    return running.model_copy(
        update={
            "roles": edited.roles,
            "scopes": edited.scopes,
            "profiles": edited.profiles,
            "rules": edited.rules,
            "approval": approval,
        }
    )


def database(settings: Settings, ledger: LedgerSettings | None = None) -> Database:
    """Return where the log is kept; `ledger` instead of what the settings say, if given.

    Raises:
        ConfigError: the driver of PostgreSQL is not installed, or the password's reference leads nowhere.
    """
    place = ledger or settings.ledger
    if not place.url:
        return SqliteDatabase(settings.data_dir)
    try:
        from mcpgw.ledger.postgres_database import PostgresDatabase  # lazy: psycopg is an extra
    except ImportError as error:
        hint = "Install it: pip install 'mcpgw[postgres]'."
        raise ConfigError("the driver of PostgreSQL is not installed", where="ledger.url", hint=hint) from error
    try:
        password = substitute(place.password_reference, settings.folder, os.environ)
    except ReferenceUnresolved as error:
        raise ConfigError(str(error), where="ledger.url") from None
    return PostgresDatabase(place.address, password)


def countersign(settings: Settings, note: str) -> str:
    """Return a checkpoint as it is to leave the gateway: with a post-quantum signature too, unless that is switched off.

    Raises:
        ConfigError: a key is damaged, or readable by others.
        LedgerUnavailable: the checkpoint is not one that the log's keys signed.
    """
    if not settings.ledger.post_quantum:
        return note
    try:
        return countersigned(note, settings.keys_dir, load_verifiers(settings.keys_dir))
    except InvalidNote as error:
        raise LedgerUnavailable(f"the newest checkpoint cannot be believed: {error}", hint="Run `mcpgw verify`.") from error


def authenticators(settings: Settings, *, method: str = "api_key") -> Authenticators:
    """Return the one door for credentials. `method` is what identities behind API keys carry."""
    return Authenticators(ApiKeys(settings.keys_dir / API_KEYS, method=method), JwtIssuers(issuers(settings)))


def issuers(settings: Settings) -> list[Issuer]:
    """Return the issuers of config.toml. Raises `ConfigError`: a value would make the check weaker than it looks."""
    return [
        Issuer(
            url=issuer.issuer,
            audiences=tuple(issuer.audience),
            algorithms=tuple(issuer.algorithms),
            token_types=tuple(issuer.types),
            accept_id_tokens=issuer.accept_id_tokens,
            leeway_s=issuer.leeway,
            subject_claim=issuer.subject_claim,
            groups_claim=issuer.groups_claim,
            kind_rules=tuple(
                KindRule(claim=rule.claim, pattern=rule.pattern, kind=IdentityKind(rule.kind)) for rule in issuer.kind_rules
            ),
            default_kind=IdentityKind(issuer.default_kind),
            copied_claims=tuple(issuer.claims),
            jwks_url=issuer.jwks_url,
        )
        for issuer in settings.identity.issuers
    ]


def policy(settings: Settings) -> Policy:
    """Return the policy of config.toml.

    Raises:
        ConfigError: an expression, a name or a combination in it is wrong; with its file and line.
    """
    return _policy_of(settings, settings.config_file)


def candidate(running: Settings, file: Path) -> Policy:
    """Return the policy of another config.toml, as it would be if this gateway took it up.

    Raises:
        ConfigError: the file cannot be read, or is wrong; with its line.
    """
    try:
        edited = from_text(file.read_text(encoding="utf-8"), running.folder, str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(file)) from error
    return _policy_of(with_policy_of(running, edited), file)


def _policy_of(settings: Settings, file: Path) -> Policy:
    must_name_issuers(settings, file)
    try:
        return _policy(settings)
    except ConfigError as error:
        raise _located(error, settings, file) from None


def _located(error: ConfigError, settings: Settings, file: Path) -> ConfigError:
    """Add the file and line to a complaint about `rules.<id>.<key>`, `scopes.<name>.<key>`, `roles.…` or `approval.…`."""
    table, _, rest = error.where.partition(".")
    ids = [rule.id for rule in settings.rules]
    named = {"rules": ids, "scopes": settings.scopes, "roles": settings.roles, "profiles": settings.profiles}
    names = [*named.get(table, ())]
    path: list[str | int] = [table]
    for name in sorted(names, key=len, reverse=True):  # a name may hold dots, and begin another
        if rest == name or rest.startswith(f"{name}."):
            path.append(ids.index(name) if table == "rules" else name)
            rest = rest.removeprefix(name).removeprefix(".")
            break
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return error  # settings that come from no file
    keys = [int(key) if key.isdecimal() else key for key in rest.split(".") if key]
    where = f"{file}:{line_of(text, [*path, *keys])}: `{error.where}`"
    return ConfigError(str(error).removeprefix(f"{error.where}: "), where=where, hint=error.hint)


def _policy(settings: Settings) -> Policy:
    return Policy.build(
        roles=[
            Role(name=name, members=tuple(role.members), scopes=tuple(role.scopes)) for name, role in settings.roles.items()
        ],
        scopes=[
            Scope(
                name=name,
                tools=tuple(scope.tools),
                prompts=tuple(scope.prompts),
                resources=tuple(scope.resources),
                tags=tuple(scope.tags),
                risk=tuple(Risk(risk) for risk in scope.risk),
                annotations=scope.annotations,
                by_name=scope.by_name,
            )
            for name, scope in settings.scopes.items()
        ],
        rules=[_rule(rule) for rule in settings.rules],
        defaults=Defaults(
            approvers=tuple(settings.approval.approvers),
            quorum=settings.approval.quorum,
            deadline_s=settings.approval.deadline,
            admins=tuple(settings.approval.admins),
            openers=tuple(settings.approval.break_glass.openers),
            break_glass_s=settings.approval.break_glass.valid,
            reviewers=tuple(settings.approval.break_glass.reviewers),
            risk_grants=_grants(settings.approval.risk_grants) if settings.approval.risk_grants else None,
        ),
        profiles=[
            Profile(name=name, roles=tuple(profile.roles), tools=tuple(profile.tools), search=profile.search)
            for name, profile in settings.profiles.items()
        ],
    )


def _rule(rule: RuleSettings) -> Rule:
    sql = None
    if rule.sql:
        sql = SqlCondition(
            argument=rule.sql.argument,
            dialect=rule.sql.dialect,
            statements=tuple(rule.sql.statements),
            allow_only=tuple(rule.sql.allow_only),
            tables=tuple(rule.sql.tables),
            write_tables=tuple(rule.sql.write_tables),
            columns=tuple(rule.sql.columns),
            functions=tuple(rule.sql.functions),
            without_where=rule.sql.without_where,
        )
    return Rule(
        id=rule.id,
        effect=Effect(rule.effect),
        reason=rule.reason,
        tools=_names(rule.tools),
        prompts=_names(rule.prompts),
        resources=_names(rule.resources),
        roles=tuple(rule.roles),
        when=rule.when,
        sql=sql,
        mode=Mode(rule.mode),
        approvers=tuple(rule.approvers),
        quorum=rule.quorum,
        deadline_s=rule.deadline,
        steps=tuple(_step(step) for step in rule.on_silence),
        comment_required=rule.comment == "required",
        denial_settles=rule.on_denial == "deny",
        max_auth_age_s=rule.max_auth_age or 0.0,
        acr=tuple(rule.acr),
        amr=tuple(rule.amr),
        hours=_hours(rule.hours) if rule.hours else None,
        break_glass=rule.break_glass,
        run_unattended=rule.run_unattended,
        may_be_asked=rule.may_be_asked,
        grants=_grants(rule.grants) if rule.grants else None,
        lifts_risk=rule.lifts_risk,
    )


def _names(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)


def _step(step: StepSettings) -> Step:
    return Step(approvers=tuple(step.approvers), quorum=step.quorum, deadline_s=step.deadline)


def _grants(grants: GrantsSettings) -> Grants:
    return Grants(max_calls=grants.max_calls, max_for_s=grants.max_for, max_total=dict(grants.max_total))


def _hours(hours: HoursSettings) -> Hours:
    return Hours(zone=hours.zone, days=tuple(hours.days), opens=hours.opens, closes=hours.closes, outside_s=hours.outside)


def state_key(settings: Settings) -> bytes:
    """Return the key for what clients hold between two rounds of a held call; it tells nothing of the desk's own.

    Raises:
        ConfigError: the desk's key is missing or unreadable.
    """
    return hmac.digest(read_key(settings.keys_dir / DESK_KEY), b"mcpgw/inbound/request-state/1", "sha256")
