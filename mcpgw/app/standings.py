"""What of config.toml is in force, as aspects whose changes are recorded: settings, issuers and the policy.

The aspects do not overlap, so that one edit is one record. Secrets are in none: config.toml holds references to them, and what
a reference leads to is not looked at.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mcpgw.app import convert
from mcpgw.core.canonical import digest
from mcpgw.core.model import Changed, JsonObject, Standing
from mcpgw.settings import Settings

UNKNOWN = "unknown"
"""Who edits a file, the gateway cannot know."""


def of_settings(settings: Settings) -> Changed:
    """Return how all stands that is neither policy nor issuer, by section."""
    told = settings.model_dump(mode="json", exclude={"roles", "scopes", "rules"})
    del told["identity"]["issuers"]
    told["approval"] = settings.approval.model_dump(mode="json", exclude=set(convert.POLICY_OF_DESK))
    parts = {section: digest(value) for section, value in told.items()}
    return _edited("settings.changed", Standing.of("settings", parts), settings)


def of_issuers(settings: Settings) -> Changed:
    """Return how the issuers stand whose tokens are accepted."""
    parts = {issuer.issuer: digest(issuer.model_dump(mode="json")) for issuer in settings.identity.issuers}
    return _edited("identity.changed", Standing.of("issuers", parts), settings)


def of_policy(settings: Settings, policy_hash: str) -> Changed:
    """Return how the policy stands: roles, scopes, rules and what the desk does where no rule says so."""
    tables: Mapping[str, JsonObject] = {
        "role": settings.roles,
        "scope": settings.scopes,
        "rule": {rule.id: rule for rule in settings.rules},
    }
    desk = settings.approval.model_dump(mode="json", include=set(convert.POLICY_OF_DESK))
    parts = {
        f"{what} {name}": digest(one.model_dump(mode="json")) for what, table in tables.items() for name, one in table.items()
    }
    standing = Standing(aspect="policy", hash=policy_hash, parts={**parts, "approval": digest(desk)})
    return _edited("policy.activated", standing, settings)


def of_catalog(standing: Standing, catalog_dir: Path) -> Changed:
    """Return how the catalog's folder stands."""
    files = [*catalog_dir.glob("*.toml"), *catalog_dir.glob("*.lock")]
    return Changed(kind="catalog.changed", actor=UNKNOWN, standing=standing, facts=newest_of(files))


def newest_of(files: Iterable[Path]) -> JsonObject:
    """Return what the file system says of the file that was written last. It is a hint at who changed something, no proof."""
    found = []
    for path in files:
        try:
            found.append((path.stat().st_mtime_ns, path.name, path.owner()))
        except (OSError, KeyError):
            continue  # it is going, or its owner has no name
    if not found:
        return {}
    written_ns, name, owner = max(found)
    return {"file": {"name": name, "owner": owner, "written_ns": str(written_ns)}}


def _edited(kind: str, standing: Standing, settings: Settings) -> Changed:
    return Changed(kind=kind, actor=UNKNOWN, standing=standing, facts=newest_of([settings.config_file]))
