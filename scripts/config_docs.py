"""Write docs/configuration.md from the settings themselves, so that neither can lie about the other.

.venv/bin/python scripts/config_docs.py > docs/configuration.md
"""

import sys
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mcpgw.settings import Settings

HEAD = """# config.toml, key by key

Made from `mcpgw/settings.py` by `scripts/config_docs.py`; a test holds the two together. Unknown keys are errors with a
suggestion. Durations are written `"250ms"`, `"90s"`, `"15m"`, `"1h"`, `"2d"`; a bare number is seconds. Every key can be
overridden by the environment: `MCPGW_LISTEN__PORT=9000` is `[listen] port = 9000`. Rules and scopes in detail:
[policy.md](policy.md); upstream servers: [catalog.md](catalog.md).
"""


def tables(model: type[BaseModel], title: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every table below the model, outermost first, as (header, model)."""
    yield title, model
    for name, info in model.model_fields.items():
        inner, shape = nested(info.annotation)
        if inner:
            path = f"{title.strip('[]')}.{name}".lstrip(".") + (".NAME" if shape is dict else "")
            yield from tables(inner, f"[[{path}]]" if shape is list else f"[{path}]")


def nested(annotation: Any) -> tuple[type[BaseModel] | None, Any]:
    """Return the section inside an annotation, if there is one, and its container (dict, list or none)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, None
    origin = getattr(annotation, "__origin__", None)
    for argument in get_args(annotation):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument, origin if origin in (dict, list) else None
    return None, None


def row(name: str, info: FieldInfo) -> str:
    if info.is_required():
        default = "required"
    elif isinstance(info.default, bool):
        default = f"`{str(info.default).lower()}`"
    elif info.default in ("", None):
        default = ""
    elif isinstance(info.default, str):
        default = f'`"{info.default}"`'
    else:
        default = f"`{info.default}`"
    text = " ".join((info.description or "").split()).replace("|", "\\|")
    return f"| `{name}` | {default} | {text} |"


def page() -> str:
    out = [HEAD]
    for title, model in tables(Settings, ""):
        fields = {
            name: info for name, info in model.model_fields.items() if name != "folder" and not nested(info.annotation)[0]
        }
        if not fields:
            continue
        about = "" if model is Settings else " ".join((model.__doc__ or "").split())
        out += [f"## `{title}`" if title else "## Top of the file", "", *([about, ""] if about else [])]
        out += ["| Key | Default | Meaning |", "|---|---|---|", *(row(name, info) for name, info in fields.items()), ""]
    return "\n".join(out)


if __name__ == "__main__":
    sys.stdout.write(page())
