"""Write docs/configuration.md from the settings themselves, so that neither can lie about the other.

.venv/bin/python scripts/config_docs.py > docs/configuration.md
"""

import json
import sys
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mcpgw.settings import Settings, amounts, outside_hours, seconds

HEAD = """# config.toml, key by key

Made from `mcpgw/settings.py` by `scripts/config_docs.py`; a test holds the two together. Unknown keys are errors with a
suggestion. Durations are written `"250ms"`, `"90s"`, `"15m"`, `"1h"`, `"2d"`; a bare number is seconds. Every key can be
overridden by the environment: `MCPGW_LISTEN__PORT=9000` is `[listen] port = 9000`. Rules and scopes in detail:
[policy.md](policy.md); upstream servers: [catalog.md](catalog.md).
"""


UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
WRITTEN = {seconds: "duration", outside_hours: "duration", amounts: "table of numbers"}
"""What is read before pydantic sees it, and so is written in another form than its type."""
LONGEST_IN_SECONDS = 90
"""Up to here a duration reads best in seconds: `90s`, and not `1.5m`."""


def tables(model: type[BaseModel], title: str, about: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    """Yield every table below the model, outermost first, as (header, model, what the key of the table says)."""
    yield title, model, about
    for name, info in model.model_fields.items():
        inner, shape = nested(info.annotation)
        if inner:
            path = f"{title.strip('[]')}.{name}".lstrip(".") + (".NAME" if shape is dict else "")
            yield from tables(inner, f"[[{path}]]" if shape is list else f"[{path}]", info.description or "")


def nested(annotation: Any) -> tuple[type[BaseModel] | None, Any]:
    """Return the section inside an annotation, if there is one, and its container (dict, list or none)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, None
    origin = getattr(annotation, "__origin__", None)
    for argument in get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, origin if origin in (dict, list) else None
    return None, None


def value(annotation: Any, metadata: list[Any]) -> str:
    """Say what can be written for a key: a type, or every word that is taken."""
    for part in metadata:
        if (read := getattr(part, "func", None)) in WRITTEN:
            return WRITTEN[read]
    origin, arguments = get_origin(annotation), [part for part in get_args(annotation) if part is not NoneType]
    if origin is Literal:
        return ", ".join(f'`"{word}"`' for word in arguments)
    if origin is list:
        inner = value(arguments[0], [])
        return f"list of {inner}s" if inner in ("string", "number") else f"list of {inner}"
    if origin is dict:
        inner = value(arguments[1], [])
        return f"table of {inner}s" if inner in ("string", "number", "boolean", "duration") else f"table of {inner}"
    if arguments:  # `X | None` and `Annotated[X, …]`: metadata are no types
        outer = getattr(annotation, "__metadata__", ())
        return " or ".join(value(part, list(outer)) for part in arguments[: 1 if outer else None])
    return {str: "string", bool: "boolean", int: "number", float: "number"}[annotation]


def duration(length_s: float) -> str:
    """Write it in the largest unit that divides it."""
    units = UNITS if length_s > LONGEST_IN_SECONDS else UNITS[-1:]
    unit, size = next(((unit, size) for unit, size in units if length_s % size == 0), ("s", 1))
    return f'`"{length_s / size:g}{unit}"`'


def row(name: str, info: FieldInfo) -> str:
    form = value(info.annotation, info.metadata)
    if info.is_required():
        default = "required"
    elif info.default in ("", None) or info.default == {}:
        default = ""
    elif isinstance(info.default, float) and form == "duration":
        default = duration(info.default)
    else:
        default = f"`{json.dumps(info.default)}`"
    text = " ".join((info.description or "").split()).replace("|", "\\|")
    return f"| `{name}` | {form} | {default} | {text} |"


def page() -> str:
    out = [HEAD]
    for title, model, key in tables(Settings, ""):
        fields = {
            name: info for name, info in model.model_fields.items() if name != "folder" and not nested(info.annotation)[0]
        }
        if not fields:
            continue
        about = "" if model is Settings else " ".join(f"{model.__doc__ or ''} {key}".split())
        out += [f"## `{title}`" if title else "## Top of the file", "", *([about, ""] if about else [])]
        out += ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
        out += [*(row(name, info) for name, info in fields.items()), ""]
    return "\n".join(out)


if __name__ == "__main__":
    sys.stdout.write(page())
