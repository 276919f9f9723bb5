"""`mcpgw check`: everything that would stop the gateway or its calls, found before it does, with what to do about each."""

import json
import logging
import os
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.text import Text

from mcpgw.app import anchors, convert, network, outlets, own, redacting
from mcpgw.catalog.definition import KINDS
from mcpgw.catalog.drift import diff
from mcpgw.catalog.load import load_catalog
from mcpgw.catalog.problems import CatalogError
from mcpgw.catalog.publish import warnings
from mcpgw.catalog.registry import Registry
from mcpgw.cli.common import open_folder, open_ledger, readers_context
from mcpgw.cli.probe import probe
from mcpgw.cli.unmet import Doubts
from mcpgw.core.errors import ConfigError, GatewayError
from mcpgw.core.model import Target, TargetKind
from mcpgw.core.naming import CALL_TOOL, FIND_TOOLS
from mcpgw.identity import ApiKeys
from mcpgw.inbound.serving import require_certificate
from mcpgw.redaction import PresidioRedactor
from mcpgw.redaction.paths import parse_place
from mcpgw.settings import Settings

_TOOL = TargetKind.TOOL
MANY_TOOLS = 40
"""Cursor shows about this many tools in all; models choose worse among more."""
TOO_MANY_TOOLS = 128
"""VS Code and the OpenAI API refuse more."""


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    verdict: Verdict
    detail: str
    hint: str = ""


def check(
    folder: Annotated[Path, typer.Option("--dir", "-C", help="The gateway's working folder.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Validate configuration, catalog, credentials, upstreams, language model and store. Exit code 1 if anything fails."""
    settings = open_folder(folder)
    logging.getLogger("mcpgw").addHandler(logging.NullHandler())  # the findings say it once, and with what to do
    console = Console(highlight=False)
    failed = False
    for finding in findings(settings):
        failed = failed or finding.verdict is Verdict.FAIL
        if as_json:
            print(json.dumps(asdict(finding)), flush=True)
        else:
            console.print(_line(finding), soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


_MARKS = {Verdict.OK: ("✓", "green"), Verdict.WARN: ("!", "yellow"), Verdict.FAIL: ("✗", "red")}


def _line(finding: Finding) -> Text:
    mark, colour = _MARKS[finding.verdict]
    detail = finding.detail.replace("\n", f"\n{'':15}")
    text = Text.assemble((f"{mark} ", colour), (f"{finding.what:<12} ", "bold"), detail)
    if finding.hint:
        text.append(f"\n{'':15}→ {finding.hint}", style="dim")
    return text


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield every finding, cheap ones first. What depends on something that failed is left out."""
    yield Finding("config", Verdict.OK, f"{settings.config_file} is valid.")
    policy = yield from _policy(settings)
    registry = yield from _catalog(settings)
    yield from anyio.run(_collected, _store(settings))
    yield from outgoing(settings)
    yield from anyio.run(_collected, _model(settings))
    if registry:
        resolved = yield from _credentials(settings, registry)
        yield from _upstreams(settings, registry, resolved)
        if policy:
            yield from _lists(settings, registry)


def _policy(settings: Settings) -> Generator[Finding, None, bool]:
    try:
        built = convert.policy(settings)
        network.inbound(settings)
        require_certificate(network.listener(settings))
        convert.authenticators(settings)
        ApiKeys(settings.keys_dir / convert.API_KEYS).records()
    except GatewayError as error:
        yield _failed("policy", error)
        return False
    if not settings.roles:
        hint = "Give a role members and scopes in config.toml."
        yield Finding("policy", Verdict.WARN, "No role is defined, so nobody may call anything.", hint)
    else:
        counted = ((len(settings.roles), "role"), (len(settings.scopes), "scope"), (len(settings.rules), "rule"))
        counts = ", ".join(_counted(count, what) for count, what in counted)
        yield Finding("policy", Verdict.OK, f"{counts} ({built.policy_hash[:12]}).")
    if observed := built.observed_rules():
        yield Finding("policy", Verdict.WARN, f"Rules that are tried out and decide nothing: {', '.join(observed)}.")
    if (fresh := built.wants_fresh_sign_in()) and not settings.identity.issuers:
        hint = "Name an issuer under [[identity.issuers]]: an API key says nothing of a sign-in."
        detail = f"Nobody can vote under {', '.join(fresh)}: a recent sign-in is asked for, and there is no identity provider."
        yield Finding("policy", Verdict.WARN, detail, hint)
    return True


def _catalog(settings: Settings) -> Generator[Finding, None, Registry | None]:
    try:
        registry = Registry(settings.catalog_dir)
    except GatewayError as error:
        yield _failed("catalog", error)
        return None
    count = sum(len(targets) for targets in registry.snapshot.found.values())
    verdict = Verdict.OK if registry.servers else Verdict.WARN
    hint = "" if registry.servers else "Add a file to catalog/, or import a client's with `mcpgw init --import FILE`."
    yield Finding(
        "catalog", verdict, f"{_counted(len(registry.servers), 'server')}, {_counted(count, 'accepted definition')}.", hint
    )
    if len(settings.identity.issuers) > 1:
        yield from _unqualified_readers(registry)
    yield from vaulted(settings, registry)
    yield from masked(settings, (one for found in registry.snapshot.found.values() for one in found.values()))
    for problem in (*registry.snapshot.problems, *warnings(registry.snapshot)):
        yield Finding("catalog", Verdict.WARN, f"{problem.where}: {problem.message}", problem.hint)
    return registry


def vaulted(settings: Settings, registry: Registry) -> Iterator[Finding]:
    """What nobody would notice until they look for a raw value, or until a call is refused."""
    found = registry.snapshot.found
    kept = sorted((one for kind in found for one in found[kind].values() if one.vault), key=lambda one: one.name)
    if kept and settings.vault.mode == "off":
        hint = 'Set mode = "sealed" and recipients in [vault] of config.toml.'
        yield Finding("vault", Verdict.WARN, f"Nothing is sealed, though the catalog says so of {len(kept)} targets.", hint)
    if settings.vault.mode == "sealed":
        seen = f"{len(settings.vault.recipients)} recipients can open what is sealed of {len(kept)} targets."
        yield Finding("vault", Verdict.OK if kept else Verdict.WARN, seen, "" if kept else "Set vault = true in the catalog.")
    for target in kept:
        for place in target.vault_except:
            try:
                parse_place(place)
            except ConfigError as error:
                yield Finding("vault", Verdict.FAIL, f"{target.name}: vault_except: {error}", error.hint)


def masked(settings: Settings, targets: Iterable[Target]) -> Iterator[Finding]:
    """What of the catalog's masking redaction would not understand: calls of such a tool are refused."""
    try:
        config = redacting.config(settings)
    except GatewayError:
        return  # it is told of where redaction is tried
    for target in targets:
        masking = target.masking
        try:
            config.profile(masking.profile)
            for place in (*masking.paths, *(rule.path for rule in masking.rules)):
                parse_place(place)
        except ConfigError as error:
            yield Finding("catalog", Verdict.FAIL, f"{target.server}: redaction of {target.name}: {error}", error.hint)


def _unqualified_readers(registry: Registry) -> Iterator[Finding]:
    """Warn of names without an issuer in catalog files; in config.toml they are refused."""
    targets = [target for found in registry.snapshot.found.values() for target in found.values()]
    hint = "Write group:ISSUER#NAME: tokens of several issuers are accepted."
    for target in targets:
        for name in sorted({name for rule in target.masking.rules for name in rule.unmasked_for if "#" not in name}):
            yield Finding("catalog", Verdict.WARN, f"{target.name} is unmasked for {name}, of whatever issuer.", hint)


async def _collected(source: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in source]


async def _store(settings: Settings) -> AsyncIterator[Finding]:
    what = "ledger"
    try:
        async with open_ledger(settings, readers_context) as ledger:  # a wrong catalog is told of once, by itself
            convert.desk(settings, ledger)
            await ledger.probe()
            yield Finding("ledger", Verdict.OK, "The record can be written durably.")
            what = "anchors"
            anchors.anchoring(settings, ledger)
    except GatewayError as error:
        yield _failed(what, error)


def outgoing(settings: Settings) -> Iterator[Finding]:
    """What keeps the gateway from starting; whether a receiver answers is told by `mcpgw siem test` and `mcpgw notify test`."""
    for what, build in (("sinks", outlets.sinks), ("notifiers", outlets.notifiers)):
        try:
            build(settings, os.environ)
        except GatewayError as error:
            yield _failed(what, error)


async def _model(settings: Settings) -> AsyncIterator[Finding]:
    redactor: PresidioRedactor | None = None
    try:
        redactor = PresidioRedactor(redacting.config(settings))
        await redactor.start()
        model = settings.redaction.model
        none = "No language model is used: patterns, columns and paths alone, and so no names in prose."
        yield Finding("redaction", Verdict.OK, none if model == "none" else f"The model {model!r} is loaded.")
    except GatewayError as error:
        yield _failed("redaction", error)
    finally:
        if redactor:
            await redactor.aclose()


def _credentials(settings: Settings, registry: Registry) -> Generator[Finding, None, list[str]]:
    """Yield what is missing; return the servers that can be asked."""
    resolved: list[str] = []
    for name, entry in registry.servers.items():
        try:
            network.server(entry, settings.folder, os.environ)
            resolved.append(name)
        except CatalogError as error:
            for problem in error.problems:
                yield Finding("credentials", Verdict.FAIL, f"{name}: {problem.where}: {problem.message}", problem.hint)
    return resolved


def _upstreams(settings: Settings, registry: Registry, servers: Sequence[str]) -> Iterator[Finding]:
    answers = probe(settings, servers) if servers else {}
    catalog = load_catalog(settings.catalog_dir)
    for name, offered in sorted(answers.items()):
        if isinstance(offered, str):
            entry = registry.servers[name]
            where = "`url`" if entry.url else "`command`, `args` and `env`"
            hint = (
                f"Compare {where} in {entry.source.file}, and see that it runs. Until it answers, its tools alone are refused."
            )
            yield Finding("upstream", Verdict.FAIL, f"{name}: {offered}", hint)
            continue
        registry.update_definitions(name, offered)
        held = sum(1 for item in registry.snapshot.held_back if item.server == name)
        tools = ", ".join(
            _counted(len(offered.get(kind, ())), kind.value) for kind in KINDS if kind is _TOOL or offered.get(kind)
        )
        if held:
            hint = f"Read `mcpgw catalog diff {name}`, then `mcpgw catalog accept {name}`."
            (drift,) = diff(catalog.entries, catalog.lock, answers, [name])
            flagged = sum(1 for difference in drift.differences if difference.is_flagged)
            waits = f"{_counted(held, 'definition')} {'waits' if held == 1 else 'wait'} to be accepted"
            waiting = f"{waits}{f', {flagged} of them flagged' if flagged else ''}"
            yield Finding("upstream", Verdict.WARN, f"{name}: {tools}; {waiting}.", hint)
        else:
            yield Finding("upstream", Verdict.OK, f"{name}: {tools}, all as accepted.")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _lists(settings: Settings, registry: Registry) -> Iterator[Finding]:
    policy = convert.policy(settings)
    found = registry.snapshot.found  # and not what is listed: a server that does not answer now is no mistake in a rule
    tools = [*found[TargetKind.TOOL].values(), *(offer.target for offer in own.offers(settings))]
    for rule, key in policy.wrapper_rules(tools):
        hint = "Name the inner tool in its `tools` and the arguments of that: it then holds whichever way the tool is called."
        where = f"{settings.config_file}: rules.{rule}.{key}"
        detail = f"{where}: looks at arguments or time of {CALL_TOOL} itself, and no call that is made through it is judged so."
        yield Finding("policy", Verdict.WARN, detail, hint)
    for rule, tool in policy.own_tools_held(tools):
        hint = "Name in its `tools` what it is to hold; or take the tool from the scope."
        detail = f"The rule {rule} would hold {tool}, about which nobody can be asked, so that it is denied."
        yield Finding("policy", Verdict.FAIL, detail, hint)
    others = [target for kind in (TargetKind.PROMPT, TargetKind.RESOURCE) for target in found[kind].values()]
    idle = policy.idle_rules([*tools, *others])
    for rule in idle:
        hint = "Compare its `tools`, `prompts` and `resources` with `mcpgw catalog list`."
        yield Finding("policy", Verdict.WARN, f"The rule {rule} is about nothing that is published.", hint)
    keys = ApiKeys(settings.keys_dir / convert.API_KEYS).records()
    unknown = set(registry.servers) - {target.server for target in (*tools, *others)}
    doubts = Doubts(settings, [*tools, *others], keys, unknown)
    for doubt in (*doubts.of_people(), *doubts.of_names(idle)):
        yield Finding("policy", Verdict.WARN, doubt.detail, doubt.hint)
    for role in settings.roles:
        shown = policy.listed_to(role, tools)
        missing = [] if not policy.searches(role) else sorted({FIND_TOOLS, CALL_TOOL} - {target.name for target in shown})
        if missing:
            hint = 'Add tools = ["mcpgw__find_tools", "mcpgw__call_tool"] to a scope of the role.'
            detail = f"The role {role} has a profile with search, and no scope that grants {' and '.join(missing)}."
            yield Finding("tools", Verdict.FAIL, detail, hint)
        count = len(shown)
        if count > TOO_MANY_TOOLS:
            hint = "Narrow its scopes, or give it a profile with search: VS Code and the OpenAI API refuse longer lists."
            yield Finding("tools", Verdict.FAIL, f"The role {role} sees {count} tools; {TOO_MANY_TOOLS} is the limit.", hint)
        elif count > MANY_TOOLS:
            hint = "Narrow its scopes, or give it a profile: some hosts show 40, and models choose worse among more."
            yield Finding("tools", Verdict.WARN, f"The role {role} sees {count} tools.", hint)


def _failed(what: str, error: GatewayError) -> Finding:
    return Finding(what, Verdict.FAIL, str(error), error.hint)
