"""`mcpgw explain`: what policy would decide on a call, and why. Asks nobody and records nothing."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from mcpgw.app.own import offers
from mcpgw.catalog.registry import Registry
from mcpgw.cli.common import build_policy, load_targets, open_folder
from mcpgw.cli.terminal import terminal
from mcpgw.core.errors import ConfigError
from mcpgw.core.model import (
    Allow,
    Call,
    Decision,
    Deny,
    Hold,
    Identity,
    IdentityKind,
    Json,
    JsonObject,
    Origin,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.terms import Terms
from mcpgw.core.terms import as_data as terms_as_data
from mcpgw.inbound.covering import located
from mcpgw.own import CatalogWithOwn
from mcpgw.policy import Access, Explanation, Outcome
from mcpgw.ports import Catalog

Folder = Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")]

_ORIGIN = Origin(transport="explain", protocol_version="")
_COLOURS = {Outcome.MATCHED: "bold", Outcome.NOT_MATCHED: "dim", Outcome.ERROR: "red"}


def explain(
    subject: Annotated[str, typer.Option("--as", help="Who calls: a subject, or https://issuer#subject.")],
    tool: Annotated[str, typer.Option(help="The published name; name nothing to list what the caller may use.")] = "",
    prompt: Annotated[str, typer.Option(help="The published name of a prompt.")] = "",
    resource: Annotated[str, typer.Option(help="The published URI of a resource, also one that a template covers.")] = "",
    args: Annotated[str, typer.Option(help="The arguments of a tool or prompt, a JSON object.")] = "{}",
    group: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A group of the caller; may be repeated.")] = None,
    kind: Annotated[IdentityKind, typer.Option(help="What kind of caller it is.")] = IdentityKind.HUMAN,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="NAME=VALUE, the value JSON or else text; may be repeated.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A scope that the credential carries; may be repeated.")
    ] = None,
    method: Annotated[str, typer.Option(help="How the caller was authenticated: jwt, api_key, stdio_key.")] = "jwt",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    folder: Folder = Path(),
) -> None:
    """Say what policy would decide on a call, and why. Exit code 0: allowed, 3: held, 4: denied."""
    settings = open_folder(folder)
    policy = build_policy(settings)
    caller = build_identity(subject, kind=kind, groups=group or (), claims=claim or (), scopes=scope or (), method=method)
    console = Console(highlight=False, soft_wrap=True) if as_json else terminal()
    if not (tool or prompt or resource):
        access = policy.grants(caller, load_targets(settings))
        console.print(Text(json.dumps(access_as_json(access))) if as_json else access_table(access))
        return
    target, arguments = find_target(CatalogWithOwn(Registry(settings.catalog_dir), offers(settings)), tool, prompt, resource)
    call = Call(
        id="explain",
        identity=caller,
        target=target,
        arguments=arguments or parse_arguments(args),
        origin=_ORIGIN,
        received_ns=time.time_ns(),
    )
    explanation = policy.explain(call)
    console.print(Text(json.dumps(as_data(call, explanation))) if as_json else render(call, explanation))
    raise typer.Exit(exit_code(explanation.decision))


def build_identity(
    subject: str,
    *,
    kind: IdentityKind,
    groups: Sequence[str] = (),
    claims: Sequence[str] = (),
    scopes: Sequence[str] = (),
    method: str = "jwt",
) -> Identity:
    """Return the caller that the options describe.

    Raises:
        ConfigError: a claim is not NAME=VALUE.
    """
    issuer, _, name = subject.rpartition("#")
    return Identity(
        subject=name,
        issuer=issuer,
        kind=kind,
        method=method,
        groups=frozenset(groups),
        scopes=frozenset(scopes),
        claims=dict(_claim(text) for text in claims),
    )


def parse_arguments(text: str) -> JsonObject:
    """Raises: ConfigError: not a JSON object."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"is not JSON: {error}", where="--args") from None
    if not isinstance(parsed, dict):
        raise ConfigError("is not a JSON object", where="--args", hint="""Write --args '{"amount": 100}'.""")
    return parsed


def find_target(
    catalog: Catalog, tool: str = "", prompt: str = "", resource: str = ""
) -> tuple[Target | UnknownTarget, JsonObject]:
    """Return what the one of the three leads to that is named; of a resource its arguments as well.

    Raises:
        ConfigError: more than one is named.
    """
    if len([name for name in (tool, prompt, resource) if name]) > 1:
        raise ConfigError("name one of --tool, --prompt and --resource", hint="A call is of one thing.")
    if resource:
        found = located(resource, catalog)
        return catalog.find(TargetKind.RESOURCE, found.name), found.arguments
    return catalog.find(TargetKind.PROMPT, prompt) if prompt else catalog.find(TargetKind.TOOL, tool), {}


def exit_code(decision: Decision) -> int:
    """Let scripts tell the decisions apart; 1 and 2 are for failures and mistakes."""
    match decision:
        case Allow():
            return 0
        case Hold():
            return 3
        case Deny():
            return 4


def render(call: Call, explanation: Explanation) -> RenderableType:
    """Return the answer for people: decision, reason, grants, then one line for each rule."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    for name, value in summary(call, explanation):
        facts.add_row(name, Text(value))
    if not explanation.findings:
        return facts
    rules = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("rule", "effect", "outcome", "why"):
        rules.add_column(heading, overflow="fold")
    for finding in explanation.findings:
        effect = f"{finding.effect.value} (observed)" if finding.observed else finding.effect.value
        cells = (finding.rule_id, effect, finding.outcome.value, finding.why)
        rules.add_row(*(Text(cell) for cell in cells), style=_COLOURS[finding.outcome])
    return Group(facts, Text(), rules)


def summary(call: Call, explanation: Explanation) -> list[tuple[str, str]]:
    """Return the facts above the rules, as name and value."""
    ruling = explanation.decision.ruling
    lines = [
        ("decision", describe(explanation.decision)),
        ("reason", ruling.reason),
        ("decided by", ", ".join(ruling.rule_ids)),
        ("caller", f"{call.identity.subject} ({call.identity.kind.value})"),
        ("roles", ", ".join(explanation.roles) or "none"),
        ("granted by", ", ".join(grant.id for grant in explanation.grants) or "nothing"),
    ]
    if isinstance(explanation.decision, Hold) and (asked := demands(explanation.decision.terms)):
        lines.append(("asked for", "; ".join(asked)))
    if ruling.observed:
        tried = ", ".join(f"{rule} would {effect}" for rule, effect in ruling.observed)
        lines.append(("observed", f"{tried}, and decide nothing"))
    if explanation.withheld:
        lines.append(("withheld", f"{', '.join(explanation.withheld)}: the credential does not carry them"))
    if isinstance(call.target, UnknownTarget):
        lines.append(("note", _unknown(call.target)))
    return [*lines, ("policy", ruling.policy_hash)]


def _unknown(target: UnknownTarget) -> str:
    if target.kind is TargetKind.RESOURCE:
        return "no resource that is accepted in the catalog has this URI, and no template covers it"
    return f"no {target.kind.value} called {target.name} is accepted in the catalog"


def describe(decision: Decision) -> str:
    match decision:
        case Allow():
            return "ALLOW"
        case Hold():
            first, *later = decision.terms.levels
            steps = [f"; then, if they are silent, {level}, for {level.lasts_ns / 1e9:g} s" for level in later]
            return f"HOLD until {first} approve, for {first.lasts_ns / 1e9:g} s at most{''.join(steps)}"
        case Deny():
            return "DENY, as if it did not exist" if decision.hidden else "DENY"


def demands(terms: Terms) -> list[str]:
    """Return what a vote must be like, and what is out of the ordinary, in words for people."""
    fresh, glass, grants = terms.freshness, terms.break_glass, terms.grants
    total = f", {grants.max_total} of {grants.total_of} in all" if grants.total_of else ""
    return [
        *(["a comment with each vote"] if terms.comment_required else []),
        *([f"a sign-in of at most {fresh.max_age_ns / 60e9:g} min ago"] if fresh.max_age_ns else []),
        *([f"acr {' or '.join(fresh.acr)}"] if fresh.acr else []),
        *([f"amr {' and '.join(fresh.amr)}"] if fresh.amr else []),
        *([] if terms.denial_settles else ["a denial waits until it is withdrawn, or the deadline"]),
        *(["once approved, it may run while nobody waits for it"] if terms.unattended else []),
        *(["once approved, its server may ask the caller, whose answers nobody approves"] if terms.may_be_asked else []),
        *(
            [f"or a grant of at most {grants.max_calls} calls in {grants.lasts_ns / 3600e9:g} h{total}"]
            if grants.max_calls
            else []
        ),
        *([f"or, in an emergency, two of {', '.join(glass.openers)}"] if glass.openers else []),
    ]


def as_data(call: Call, explanation: Explanation) -> Json:
    """Return the explanation as JSON. Fields may be added; those that are here keep their meaning."""
    ruling = explanation.decision.ruling
    return {
        "decision": type(explanation.decision).__name__.lower(),
        "hidden": isinstance(explanation.decision, Deny) and explanation.decision.hidden,
        "tool": call.target.name,
        "kind": call.target.kind.value,
        "caller": call.identity.principal,
        "reason": ruling.reason,
        "rule_ids": list(ruling.rule_ids),
        "roles": list(explanation.roles),
        "grants": [grant.id for grant in explanation.grants],
        "withheld": list(explanation.withheld),
        "rules": [
            {"id": finding.rule_id, "effect": finding.effect.value, "outcome": finding.outcome.value, "why": finding.why}
            for finding in explanation.findings
        ],
        "observed": [{"id": rule, "effect": effect} for rule, effect in ruling.observed],
        "terms": terms_as_data(explanation.decision.terms) if isinstance(explanation.decision, Hold) else {},
        "policy_hash": ruling.policy_hash,
    }


def access_table(access: Sequence[Access]) -> RenderableType:
    """Return what the caller may use, one line for each tool, prompt, resource and template of the catalog."""
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for heading in ("kind", "name", "visible", "risk", "granted by", "rules about it"):
        table.add_column(heading, overflow="fold")
    for one in access:
        grants = ", ".join(grant.id for grant in one.grants) or "nothing"
        cells = (
            one.target.kind.value,
            one.target.name,
            "yes" if one.visible else "no",
            one.target.risk.value,
            grants,
            ", ".join(one.rules),
        )
        table.add_row(*(Text(cell) for cell in cells), style="" if one.visible else "dim")
    return table


def access_as_json(access: Sequence[Access]) -> Json:
    return [
        {
            "tool": one.target.name,
            "kind": one.target.kind.value,
            "visible": one.visible,
            "risk": one.target.risk.value,
            "grants": [grant.id for grant in one.grants],
            "rules": list(one.rules),
        }
        for one in access
    ]


def _claim(text: str) -> tuple[str, Json]:
    name, equals, value = text.rpartition("=")
    if not name or not equals:
        raise ConfigError(f"{text!r} is not NAME=VALUE", where="--claim")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
