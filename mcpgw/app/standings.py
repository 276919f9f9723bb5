"""What of config.toml is in force, as aspects whose changes are recorded: settings, issuers and the policy.

The aspects do not overlap, so that one edit is one record. Beside its hash each is recorded in full, so that an examiner can
read years later what was in force. Secrets are in none: config.toml holds references to them, and what a reference leads to is
not looked at.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mcpgw.app import convert
from mcpgw.core.canonical import digest
from mcpgw.core.entries import Changed, Standing
from mcpgw.core.model import JsonObject
from mcpgw.settings import Settings

UNKNOWN = "unknown"
"""Who edits a file, the gateway cannot know."""
_COVERED = frozenset({"secret", "secret_key", "access_key", "url", "addresses", "address"})
"""Settings in which a credential could stand."""
_REFERENCE = re.compile(r"\$\{(env|file):[^}]+\}")
_HOST = re.compile(r"(?P<scheme>https?|tls|postgresql)://([^@/]*@)?(?P<host>[A-Za-z0-9.:\[\]-]+)(?=[/?#]|$)")
_LEFT_OUT = "[not recorded]"


def of_settings(settings: Settings) -> Changed:
    """Return how all stands that is neither policy nor issuer, by section."""
    told = settings.model_dump(mode="json", exclude={"roles", "scopes", "profiles", "rules"})
    del told["identity"]["issuers"]
    told["approval"] = settings.approval.model_dump(mode="json", exclude=set(convert.POLICY_OF_DESK))
    parts = {section: digest(value) for section, value in told.items()}
    return _edited("settings.changed", Standing.of("settings", parts, without_secrets(told)), settings)


def of_issuers(settings: Settings) -> Changed:
    """Return how the issuers stand whose tokens are accepted."""
    told = {issuer.issuer: issuer.model_dump(mode="json") for issuer in settings.identity.issuers}
    parts = {name: digest(issuer) for name, issuer in told.items()}
    return _edited("identity.changed", Standing.of("issuers", parts, without_secrets(told)), settings)


def of_policy(settings: Settings, policy_hash: str) -> Changed:
    """Return how the policy stands: roles, scopes, rules and what the desk does where no rule says so."""
    tables: Mapping[str, JsonObject] = {
        "role": settings.roles,
        "scope": settings.scopes,
        "rule": {rule.id: rule for rule in settings.rules},
    }
    desk = settings.approval.model_dump(mode="json", include=set(convert.POLICY_OF_DESK))
    told = {f"{what} {name}": one.model_dump(mode="json") for what, table in tables.items() for name, one in table.items()}
    told["approval"] = desk
    parts = {name: digest(one) for name, one in told.items()}
    return _edited("policy.activated", Standing(aspect="policy", hash=policy_hash, parts=parts, document=told), settings)


def of_profiles(settings: Settings) -> Changed:
    """Return how the profiles stand, in their order: what is listed to whom. No decision depends on them."""
    told = {
        name: {"order": order, **one.model_dump(mode="json")} for order, (name, one) in enumerate(settings.profiles.items())
    }
    parts = {name: digest(one) for name, one in told.items()}
    return _edited("profiles.changed", Standing.of("profiles", parts, told), settings)


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


def without_secrets(told: Any) -> Any:
    """Return settings as they may be kept for years: of what may hold a credential, references and hosts alone.

    Settings hold references to secrets and no secrets; somebody may have written one there all the same. An address may be one
    from its path on, and in the name and password before its host.
    """
    if isinstance(told, Mapping):
        return {name: _covered(value) if name in _COVERED else without_secrets(value) for name, value in told.items()}
    if isinstance(told, list):
        return [without_secrets(value) for value in told]
    return told


def _covered(value: Any) -> Any:
    if isinstance(value, list):
        return [_covered(one) for one in value]
    text = str(value)
    if not text or _REFERENCE.fullmatch(text):
        return text
    host = _HOST.match(text)
    return f"{host['scheme']}://{host['host']}{_LEFT_OUT}" if host else _LEFT_OUT


def _edited(kind: str, standing: Standing, settings: Settings) -> Changed:
    return Changed(kind=kind, actor=UNKNOWN, standing=standing, facts=newest_of([settings.config_file]))
