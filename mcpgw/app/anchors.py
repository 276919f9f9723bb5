"""The anchors of config.toml, made: whatever is wrong with one is told before the gateway starts."""

import os
import ssl
from collections.abc import Callable, Mapping, Sequence

from mcpgw.catalog import references
from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import line_of
from mcpgw.ledger.anchors.anchor import Anchor
from mcpgw.ledger.anchors.directory import DirectoryAnchor
from mcpgw.ledger.anchors.http import client_context
from mcpgw.ledger.anchors.loop import Anchoring, AnchorLog, AnchorRules
from mcpgw.ledger.anchors.witness import WitnessAnchor
from mcpgw.ledger.checkpoint import InvalidNote, Verifier
from mcpgw.ledger.cosignature import CosignatureVerifier
from mcpgw.ledger.keys import PublicKeys
from mcpgw.ledger.trust import parse_policy, single
from mcpgw.settings import AnchorPlace, Settings

_KEYS: Mapping[str, tuple[set[str], set[str]]] = {
    "directory": ({"path"}, set()),
    "s3": ({"bucket"}, {"prefix", "region", "url", "access_key", "secret_key", "retention", "ca"}),
    "timestamp": ({"path", "url", "trust"}, {"ca"}),
    "witness": (set(), {"url", "key", "policy", "ca"}),
}
"""By kind: the keys that it needs, and those that it may have beside `name` and `kind`."""


def anchoring(settings: Settings, log: AnchorLog) -> Anchoring:
    """Return what takes this log's checkpoints to the anchors of config.toml.

    Raises:
        ConfigError: two have one name, a key is missing or wrong, or fewer are there than are required; with file and line.
    """
    section = settings.anchor
    names = [place.name for place in section.to]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise _error("there is an anchor of that name already", settings, index, "name")
    if section.required and section.at_least > len(names):
        hint = "Add an `[[anchor.to]]`, or lower `at_least`."
        what = f"{section.at_least} anchors are required, and there are {len(names)}"
        raise ConfigError(what, where=str(settings.config_file), hint=hint)
    verifiers = PublicKeys(settings.keys_dir) if names else ()
    anchors = [_anchor(settings, index, verifiers) for index in range(len(names))]
    rules = AnchorRules(
        interval_s=section.interval, required=section.required, within_s=section.within, at_least=section.at_least
    )
    return Anchoring(anchors, log, verifiers, rules)


def _anchor(settings: Settings, index: int, verifiers: Sequence[Verifier]) -> Anchor:
    place = settings.anchor.to[index]
    _check_keys(settings, index)
    try:
        return _MAKERS[place.kind](settings, place, verifiers)
    except ConfigError as error:
        if not error.where.startswith("anchor.to."):
            raise  # it names a place in another file
        key = error.where.rpartition(".")[2]
        raise _error(str(error).removeprefix(f"{error.where}: "), settings, index, key, hint=error.hint) from None


def _check_keys(settings: Settings, index: int) -> None:
    place = settings.anchor.to[index]
    needed, allowed = _KEYS[place.kind]
    for key in sorted(needed - {key for key in needed if getattr(place, key)}):
        raise _error(f"an anchor of kind {place.kind} needs `{key}`", settings, index, key)
    for key in sorted(place.model_fields_set - needed - allowed - {"name", "kind"}):
        raise _error(f"an anchor of kind {place.kind} has no `{key}`", settings, index, key)


def _directory(settings: Settings, place: AnchorPlace, verifiers: Sequence[Verifier]) -> Anchor:
    return DirectoryAnchor(place.name, settings.folder / place.path, verifiers)


def _witness(settings: Settings, place: AnchorPlace, verifiers: Sequence[Verifier]) -> Anchor:
    where = f"anchor.to.{place.name}"
    if bool(place.policy) == bool(place.url) or bool(place.url) != bool(place.key):
        raise ConfigError("name either `url` and `key`, or `policy`", where=f"{where}.url")
    context = _context(settings, place)
    if place.policy:
        file = settings.folder / place.policy
        try:
            policy = parse_policy(file.read_bytes(), str(file))
        except OSError as error:
            raise ConfigError(f"cannot be read: {error.strerror}", where=f"{where}.policy") from error
    else:
        try:
            policy = single(place.name, CosignatureVerifier.parse(place.key), place.url)
        except InvalidNote as error:
            raise ConfigError(str(error), where=f"{where}.key") from error
    return WitnessAnchor(place.name, policy, verifiers, context)


def _timestamp(settings: Settings, place: AnchorPlace, verifiers: Sequence[Verifier]) -> Anchor:
    where = f"anchor.to.{place.name}"
    try:
        from mcpgw.ledger.anchors.timestamp import TimestampAnchor, load_certificates  # lazy: rfc3161-client is an extra
    except ImportError as error:
        hint = "Install it: pip install 'mcpgw[timestamps]'."
        raise ConfigError("the client of RFC 3161 is not installed", where=f"{where}.kind", hint=hint) from error
    trusted = load_certificates(settings.folder / place.trust, f"{where}.trust")
    directory = DirectoryAnchor(place.name, settings.folder / place.path, verifiers)
    return TimestampAnchor(directory, place.url, trusted, _context(settings, place))


def _s3(settings: Settings, place: AnchorPlace, verifiers: Sequence[Verifier]) -> Anchor:
    where = f"anchor.to.{place.name}"
    try:
        from mcpgw.ledger.anchors.s3 import Bucket, S3Anchor  # lazy: boto3 is an extra
    except ImportError as error:
        hint = "Install it: pip install 'mcpgw[s3]'."
        raise ConfigError("the client of S3 is not installed", where=f"{where}.kind", hint=hint) from error
    if bool(place.access_key) != bool(place.secret_key):
        raise ConfigError("name both `access_key` and `secret_key`, or neither", where=f"{where}.access_key")
    bucket = Bucket(
        name=place.bucket,
        prefix=place.prefix,
        region=place.region,
        endpoint=place.url,
        ca=str(settings.folder / place.ca) if place.ca else "",
        access_key=_secret(settings, place.access_key, f"{where}.access_key"),
        secret_key=_secret(settings, place.secret_key, f"{where}.secret_key"),
        retention_s=place.retention,
    )
    return S3Anchor(place.name, bucket)


def _secret(settings: Settings, text: str, where: str) -> str:
    if not text:
        return ""
    wrong = references.malformed(text)
    if wrong or not references.has_reference(text):
        hint = "Write ${env:NAME} or ${file:path}: secrets have no place in this file."
        raise ConfigError(wrong or "is written out", where=where, hint=hint)
    try:
        return references.substitute(text, settings.folder, os.environ)
    except references.ReferenceUnresolved as error:
        raise ConfigError(str(error), where=where) from None


def _context(settings: Settings, place: AnchorPlace) -> ssl.SSLContext:
    return client_context(str(settings.folder / place.ca) if place.ca else "", f"anchor.to.{place.name}.ca")


_MAKERS: Mapping[str, Callable[[Settings, AnchorPlace, Sequence[Verifier]], Anchor]] = {
    "directory": _directory,
    "s3": _s3,
    "timestamp": _timestamp,
    "witness": _witness,
}


def _error(message: str, settings: Settings, index: int, key: str, *, hint: str = "") -> ConfigError:
    where = f"anchor.to.{settings.anchor.to[index].name}.{key}"
    try:
        text = settings.config_file.read_text(encoding="utf-8")
    except OSError:
        return ConfigError(message, where=where, hint=hint)  # settings that come from no file
    line = line_of(text, ["anchor", "to", index, key])
    return ConfigError(message, where=f"{settings.config_file}:{line}: `{where}`", hint=hint)
