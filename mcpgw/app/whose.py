"""Whose group it is: with two issuers of tokens, a name alone may be anybody's (docs/adr/0008)."""

from collections.abc import Iterator
from pathlib import Path

from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import line_of
from mcpgw.identity.key_record import ISSUER
from mcpgw.policy.quorum import seats_of
from mcpgw.policy.wording import Mistake
from mcpgw.settings import Rule, Settings

_Place = tuple[str | int, ...]


def must_name_issuers(settings: Settings, file: Path) -> None:
    """Refuse groups and users of no issuer in particular where more than one issuer is configured.

    Raises:
        ConfigError: the first of them, with its file and line.
    """
    if len(settings.identity.issuers) < 2:
        return
    for place, entry in entries(settings):
        form, _, name = entry.partition(":")
        if form in {"group", "user"} and "#" not in name:
            known = [ISSUER, *(issuer.issuer for issuer in settings.identity.issuers)]
            hint = f"Write {' or '.join(f'{form}:{issuer}#{name}' for issuer in known)}."
            message = f"{entry!r} could be of any of {len(known)} issuers, as tokens of several are accepted"
            raise ConfigError(message, where=_where(file, place), hint=hint)


def entries(settings: Settings) -> Iterator[tuple[_Place, str]]:
    """Yield everything in config.toml that says who somebody is, and where it stands."""
    lists: list[tuple[_Place, list[str]]] = [
        *((("roles", name, "members"), role.members) for name, role in settings.roles.items()),
        *((("rules", index, "roles"), rule.roles) for index, rule in enumerate(settings.rules)),
        *((place, people) for index, rule in enumerate(settings.rules) for place, people in _asked(("rules", index), rule)),
        (("approval", "approvers"), settings.approval.approvers),
        (("approval", "quorum"), _named(settings.approval.quorum)),
        (("approval", "admins"), settings.approval.admins),
        (("approval", "break_glass", "openers"), settings.approval.break_glass.openers),
        (("approval", "break_glass", "reviewers"), settings.approval.break_glass.reviewers),
        (("console", "auditors"), settings.console.auditors),
        *(
            (("redaction", "profiles", name, "audiences", index, "members"), audience.members)
            for name, profile in settings.redaction.profiles.items()
            for index, audience in enumerate(profile.audiences)
        ),
    ]
    yield from ((place, entry) for place, members in lists for entry in members)


def _asked(place: _Place, rule: Rule) -> Iterator[tuple[_Place, list[str]]]:
    """Yield the people that one rule asks, first and after each silence."""
    yield (*place, "approvers"), rule.approvers
    yield (*place, "quorum"), _named(rule.quorum)
    for number, step in enumerate(rule.on_silence):
        yield (*place, "on_silence", number, "approvers"), step.approvers
        yield (*place, "on_silence", number, "quorum"), _named(step.quorum)


def _named(quorum: int | str | None) -> list[str]:
    """Return whom a quorum's expression names; what is wrong in it, policy says."""
    try:
        return [entry for seats in seats_of(quorum, ()) for entry in seats.of] if isinstance(quorum, str) else []
    except Mistake:
        return []


def _where(file: Path, place: _Place) -> str:
    dotted = ".".join(map(str, place))
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return dotted  # settings that come from no file
    return f"{file}:{line_of(text, place)}: `{dotted}`"
