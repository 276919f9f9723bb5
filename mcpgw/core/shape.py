"""Whether an object has the shape that a small JSON Schema gives it, and if not, what is wrong in words for whoever sent it.

For arguments and bodies of the gateway's own making. The schemas are published as they stand, so what is checked is what is
documented: a keyword that is not understood here is an error of the program.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mcpgw.core.toml import suggestion

_QUOTED = 64
"""Characters of an unknown name that its sender is told."""
_ANNOTATIONS = {"description", "title", "default", "examples"}
_TYPES: Mapping[str, type] = {"string": str, "integer": int, "boolean": bool, "object": dict}


def misfits(value: Mapping[str, Any], properties: Mapping[str, Any], required: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return everything that is wrong with the members of an object, one sentence each; nothing if it fits.

    `properties` has by name a schema of `type` (`string`, `integer`, `boolean`, `object`), `enum`, `pattern`, `minLength`,
    `maxLength`, `minimum`, `maximum`. No other members are taken. Values are not quoted.

    Raises:
        NotImplementedError: a schema has another keyword.
    """
    unknown = [f"There is no {name[:_QUOTED]!r} here. {suggestion(name[:_QUOTED], properties)}".rstrip()
               for name in value if name not in properties]  # fmt: skip
    missing = [f"`{name}` is missing." for name in required if name not in value]
    wrong = [
        f"`{name}` {why}." for name, schema in properties.items() if name in value for why in _wrong_with(value[name], schema)
    ]
    return (*unknown, *missing, *wrong)


def _wrong_with(value: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield the first complaint: the others would follow from it."""
    for keyword, limit in schema.items():
        if keyword not in _ANNOTATIONS and (why := _violates(value, keyword, limit)):
            yield why
            return


def _violates(value: Any, keyword: str, limit: Any) -> str:
    match keyword:
        case "type":
            fits = isinstance(value, _TYPES[limit]) and not (limit == "integer" and isinstance(value, bool))
            return "" if fits else f"must be {'an' if limit[0] in 'io' else 'a'} {limit}"
        case "enum":
            return "" if isinstance(value, str) and value in limit else f"must be one of {', '.join(limit)}"
        case "pattern":
            # In JSON Schema `$` is the end (ECMA-262); in Python it is also before a last line feed.
            return "" if re.search(limit.replace("$", r"\Z"), value) else f"must look like {limit}"
        case "minLength":
            return "" if len(value) >= limit else f"must have at least {limit} characters"
        case "maxLength":
            return "" if len(value) <= limit else f"has {len(value)} characters; {limit} are the most"
        case "minimum":
            return "" if value >= limit else f"must be at least {limit}"
        case "maximum":
            return "" if value <= limit else f"must be at most {limit}"
    raise NotImplementedError(f"no schema may have {keyword!r} here")
