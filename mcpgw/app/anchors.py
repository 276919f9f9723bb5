"""The anchors of config.toml, made: whatever is wrong with one is told before the gateway starts."""

from collections.abc import Callable, Mapping, Sequence

from mcpgw.core.errors import ConfigError
from mcpgw.core.toml import line_of
from mcpgw.ledger.anchors.anchor import Anchor
from mcpgw.ledger.anchors.directory import DirectoryAnchor
from mcpgw.ledger.anchors.loop import Anchoring, AnchorLog, AnchorRules
from mcpgw.ledger.checkpoint import Verifier
from mcpgw.ledger.keys import load_verifiers
from mcpgw.settings import AnchorPlace, Settings

_KEYS: Mapping[str, tuple[set[str], set[str]]] = {
    "directory": ({"path"}, set()),
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
    verifiers = load_verifiers(settings.keys_dir) if names else ()
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


_MAKERS: Mapping[str, Callable[[Settings, AnchorPlace, Sequence[Verifier]], Anchor]] = {
    "directory": _directory,
}


def _error(message: str, settings: Settings, index: int, key: str, *, hint: str = "") -> ConfigError:
    where = f"anchor.to.{settings.anchor.to[index].name}.{key}"
    try:
        text = settings.config_file.read_text(encoding="utf-8")
    except OSError:
        return ConfigError(message, where=where, hint=hint)  # settings that come from no file
    line = line_of(text, ["anchor", "to", index, key])
    return ConfigError(message, where=f"{settings.config_file}:{line}: `{where}`", hint=hint)
