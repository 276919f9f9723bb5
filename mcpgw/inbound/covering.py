"""Which resource a URI is: one that is listed, or one that a template of its server covers.

A URI that a template covers must be written as an expansion of it is (RFC 6570), so that one thing has one name: what policy,
approvals and the record see is what the server gets. What could be read as something else is unknown.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, unquote

from mcp.shared.uri_template import InvalidUriTemplate, UriTemplate

from mcpgw.core.model import Target, TargetKind
from mcpgw.core.uris import UpstreamUri, is_publishable, published_uri, upstream_uri
from mcpgw.ports import Catalog

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{0,31}(?=:)", re.IGNORECASE)
_KEPT: Final = ":/?#[]@$&+,;=%"
"""What is compared as it is written. Some expand `!`, `'`, `(`, `)` and `*` as they are and others percent-encoded, and some
leave letters beyond ASCII to whoever sends them; all of that means the same."""
_TEMPLATES: Final = 4_096
"""Parsed templates that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A URI that somebody wants to read."""

    name: str
    """Published name of its target. Of a URI that leads nowhere, as much as can hold no one's data: that is recorded."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """`uri` as its server knows it, and where a template covers it, `variables`."""


def located(uri: str, catalog: Catalog) -> Located:
    """Return what a published URI leads to. Linear in its length and in the number of its server's templates."""
    found = upstream_uri(uri)
    listed = catalog.find(TargetKind.RESOURCE, uri)
    if isinstance(listed, Target) and not listed.is_template:
        return Located(name=uri, arguments={"uri": found.uri})
    if found.server and is_publishable(uri) and not _is_withheld(found, catalog):
        for template, variables in sorted(_covering(found, catalog), key=_most_literal):
            return Located(name=template.name, arguments={"uri": found.uri, "variables": variables})
    return Located(name=_recordable(found), arguments={"uri": found.uri or uri})


def _covering(found: UpstreamUri, catalog: Catalog) -> Iterator[tuple[Target, dict[str, Any]]]:
    for target in catalog.templates(found.server):
        for template in _parsed(target.upstream_name):
            variables = template.match(found.uri)
            if variables is not None and _is_exact(template, variables, found.uri):
                yield target, variables


def _is_exact(template: UriTemplate, variables: dict[str, Any], uri: str) -> bool:
    """Tell whether the URI is what these variables make of the template, and no variable leads elsewhere than it says."""
    if quote(template.expand(variables), safe=_KEPT) != quote(uri, safe=_KEPT):
        return False
    values = [part for value in variables.values() for part in (value if isinstance(value, list) else [value])]
    return all(value.isprintable() and ".." not in re.split(r"[/\\]", value) for value in values)


def _is_withheld(found: UpstreamUri, catalog: Catalog) -> bool:
    """Tell whether it may be something that the server offers and the catalog does not publish: no template is a way to it."""
    return any(unquote(name) == unquote(found.uri) or _may_cover(name, found.uri) for name in catalog.withheld(found.server))


def _may_cover(name: str, uri: str) -> bool:
    if "{" not in name:
        return False
    for template in _parsed(name):
        return template.match(uri) is not None
    return uri.startswith(name.partition("{")[0])  # not understood here, but perhaps by its server


def _most_literal(covered: tuple[Target, dict[str, Any]]) -> tuple[int, str]:
    name = covered[0].upstream_name
    return -len(re.sub(r"\{[^{}]*\}", "", name)), name


@lru_cache(maxsize=_TEMPLATES)
def _parsed(text: str) -> tuple[UriTemplate, ...]:
    """Return the template, or nothing where it is none: then it covers nothing, though its server lists it."""
    try:
        return (UriTemplate.parse(text),)
    except InvalidUriTemplate:
        return ()


def _recordable(found: UpstreamUri) -> str:
    scheme = _SCHEME.match(found.uri)
    return published_uri(found.server, f"{scheme[0]}:" if scheme else "") if found.server else "no published URI"
