"""`mcpgw VERB …`. Only the module of the verb that was asked for is imported, so that `--help` answers at once."""

import importlib
import inspect
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NoReturn

import typer

from mcpgw import __version__
from mcpgw.core.errors import ConfigError, GatewayError

USAGE_EXIT = 2
"""Exit code where the configuration or the command line is wrong; 1 is for everything else that went wrong."""


@dataclass(frozen=True, slots=True)
class Verb:
    name: str
    module: str
    """Below `mcpgw.cli`; it holds a function, or a typer app, called `attribute`."""
    attribute: str
    help: str
    examples: tuple[str, ...] = ()
    """What people most often ask of it, after `mcpgw`. Tests parse each."""


VERBS = (
    Verb(
        "init", "init", "init", "Make a working folder; import an existing client's servers.",
        ("init gateway", "init gateway --import ~/.claude.json --origin log.bank.example/mcp"),
    ),
    Verb("check", "check", "check", "Validate configuration, catalog, credentials, upstreams, model and store."),
    Verb("serve", "serve", "serve", "Run the gateway over HTTP."),
    Verb("stdio", "serve", "stdio", "Run the gateway over stdio, for Claude Desktop and local agents."),
    Verb(
        "catalog", "catalog", "catalog", "List upstream tools; see and accept what changed.",
        ("catalog diff bank", "catalog accept bank --tool transfer", "catalog history bank__transfer"),
    ),
    Verb(
        "keys", "keys", "keys", "Create, list and revoke API keys.",
        ("keys create --subject alice --kind human --group tellers", "keys list"),
    ),
    Verb(
        "explain", "explain", "explain", "Say what policy would decide on a call, and why.",
        ("explain --as alice --group tellers", """explain --as alice --tool bank__transfer --args '{"amount": 9}'"""),
    ),
    Verb("policy", "policy", "policy", "Judge the calls of the past by another policy, before it goes live."),
    Verb("approvals", "approvals", "approvals", "List, show, approve and deny held calls."),
    Verb("access", "access", "access", "Ask ahead for several calls at once, and see what was granted."),
    Verb(
        "log", "log", "log", "Search and follow the record.",
        ("log --follow", "log --who alice --since 2h --decision deny", "log --on 2026-03-15 --format csv"),
    ),
    Verb("replay", "replay", "replay", "Show a session step by step, as its client saw it."),
    Verb(
        "verify", "verify", "verify", "Prove that nobody changed the record, or find where.",
        ("verify --against kept.checkpoint", "verify evidence.zip --keys ledger.pub"),
    ),
    Verb("checkpoint", "verify", "checkpoint", "Print the current signed checkpoint."),
    Verb(
        "export", "export", "export", "Write an evidence package: records, proofs, policies, and what checks them.",
        ('export --reason "Case 2214" --who alice --from 2026-03-01 --to 2026-03-31',),
    ),
    Verb("prove", "prove", "prove", "Prove that one record is in the log; check a proof or a receipt."),
    Verb("publish", "publish", "publish", "Write the log as static files: hashes, records, checkpoint."),
    Verb("witness", "witness", "witness", "Run a witness for the audit department: it cosigns what only grows."),
    Verb("report", "report", "report", "Review access: who may call what, who did, and who never does."),
    Verb(
        "shred", "erasing", "shred", "Erase what was said, for good; the record says that it was.",
        ('shred --who alice --reason "Case 2214"',),
    ),
    Verb("retention", "erasing", "retention", "Legal holds, and how long payloads are kept."),
    Verb("siem", "siem", "siem", "See, try and repeat what is sent to the SIEM."),
    Verb("ledger", "ledger", "ledger", "Migrate, back up, restore and rebuild the log's database."),
    Verb("notify", "notify", "notify", "See and try what tells people about held calls."),
    Verb("redact", "redact", "redact", "Redact JSON lines from standard input, for measuring."),
    Verb("demo", "demo", "demo", "Run the whole story on real upstreams, in a folder of its own."),
)  # fmt: skip


def build(arguments: Sequence[str]) -> typer.Typer:
    """Return the application with the verb that the arguments ask for; the other verbs are only listed."""
    app = typer.Typer(
        name="mcpgw",
        no_args_is_help=True,
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: importing rich takes as long as everything else that help needs
    )
    app.callback()(_main)
    asked = next((word for word in arguments if not word.startswith("-")), "")
    for verb in VERBS:
        if verb.name != asked:
            app.command(verb.name, help=verb.help, short_help=verb.help)(_only_listed)
            continue
        found = getattr(importlib.import_module(f"mcpgw.cli.{verb.module}"), verb.attribute)
        epilog = "\b\nExamples:\n" + "\n".join(f"  mcpgw {example}" for example in verb.examples) if verb.examples else None
        if isinstance(found, typer.Typer):
            _tell_whole_sentences(found)
            app.add_typer(found, name=verb.name, help=verb.help, epilog=epilog)
        else:
            app.command(verb.name, help=verb.help, epilog=epilog)(found)
    return app


def _tell_whole_sentences(family: typer.Typer) -> None:
    """Give each command of a family its first sentence for the family's list, which else cuts it off where the line ends."""
    for command in family.registered_commands:
        text = inspect.cleandoc(command.help or getattr(command.callback, "__doc__", None) or "")
        command.short_help = " ".join(re.split(r"(?<=\.)\s", text, maxsplit=1)[0].split()) or None


def run() -> None:
    """Entry point: errors of ours are one readable message and an exit code, never a traceback."""
    try:
        build(sys.argv[1:])(prog_name="mcpgw")  # however it was started: `python -m mcpgw` is the same program
    except GatewayError as error:
        _complain(error)
    except ExceptionGroup as group:  # what ends one task of several
        ours, others = group.split(GatewayError)
        if ours is None or others is not None:
            raise
        _complain(_first(ours))
    except BrokenPipeError:
        sys.exit(1)  # `mcpgw log | head`: the reader has what it wanted
    except OSError as error:
        if not error.filename:
            raise
        _complain(ConfigError(error.strerror or type(error).__name__, where=str(error.filename)))


def _first(group: ExceptionGroup[GatewayError]) -> GatewayError:
    """Return the error that came first: the others end because of it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error


def _complain(error: GatewayError) -> NoReturn:
    print(f"mcpgw: {error}", file=sys.stderr)
    if error.hint:
        print(f"       {error.hint}", file=sys.stderr)
    sys.exit(USAGE_EXIT if isinstance(error, ConfigError) else 1)


def _main(version: Annotated[bool, typer.Option("--version", is_eager=True, help="Print the version.")] = False) -> None:
    """One MCP endpoint in front of all of an institution's MCP servers, with proof of what happened behind it."""
    if version:
        print(f"mcpgw {__version__}")
        raise typer.Exit


def _only_listed() -> None:
    """Stand in for a verb that was not asked for: it is listed, and never runs."""
