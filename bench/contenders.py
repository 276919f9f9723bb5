"""Who is measured: mcpgw with everything on, its peers as their documentation says, and the upstream by itself.

Every contender is what a user starts: a command in a folder of its own. Peers run in .venv-bench; the absent are left out.
"""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from bench.processes import ECHO, running

ROOT = Path(__file__).parent.parent
PEERS = ROOT / ".venv-bench" / "bin"
_READY_S = 60.0

CONFIG = """\
[listen]
port = {port}

[ledger]
origin = "bench.example/ledger"

[redaction]
model = "{model}"

[roles.staff]
members = ["group:staff"]
scopes = ["all"]

[scopes.all]
tools = ["*"]

[[rules]]
id = "no-shouting"
effect = "deny"
when = "args.text.startsWith('URGENT')"

[[rules]]
id = "short-texts"
effect = "deny"
when = "size(args.text) > 100000"

[[rules]]
id = "large-amounts"
effect = "hold"
when = "has(args.amount) && args.amount > 10000"
approvers = ["group:leads"]

[[rules]]
id = "agents-by-day"
effect = "deny"
when = "identity.kind == 'agent' && args.text.contains('payroll')"
"""
"""Deny by default, a role, a scope, and four rules in CEL of which each call evaluates all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One running gateway, ready to be called."""

    name: str
    pid: int
    url: str
    tool: str = "echo"
    headers: Mapping[str, str] = field(default_factory=dict)
    eras: tuple[str, ...] = ("2026-07-28", "2025-11-25")


def echo_command(transport: str, *more: str) -> list[str]:
    return [sys.executable, "-m", ECHO, transport, *more]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_http(url: str, accept: Callable[[int], bool], pid: int) -> None:
    """Wait until the URL answers with an acceptable status.

    Raises:
        TimeoutError: it never did.
        ProcessLookupError: its process has ended.
    """
    end = time.monotonic() + _READY_S
    while time.monotonic() < end:
        os.kill(pid, 0)
        if accept(status_of(url)):
            return
        time.sleep(0.02)
    raise TimeoutError(f"{url} did not become ready")


def status_of(url: str) -> int:
    """Return the HTTP status; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@contextmanager
def upstream(folder: Path) -> Iterator[Contender]:
    port = free_port()
    with running(echo_command("http", str(port)), folder=folder, log="echo.log", environ=_here()) as pid:
        url = f"http://127.0.0.1:{port}/mcp"
        await_http(url, lambda status: status > 0, pid)
        yield Contender(name="the upstream itself", pid=pid, url=url)


# --- mcpgw ---------------------------------------------------------------------------------------------------------------


def mcpgw(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mcpgw", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **_here()})
    if done.returncode != 0:
        raise RuntimeError(f"mcpgw {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


def make_folder(folder: Path, model: str, web: str) -> tuple[int, str]:
    """Make a gateway's folder in front of both upstreams; return its port and an API key."""
    (folder / "catalog").mkdir(parents=True)
    port = free_port()
    (folder / "config.toml").write_text(CONFIG.format(port=port, model=model))
    mcpgw(folder, "init", ".")
    command = echo_command("stdio")
    pipe = f'transport = "stdio"\ncommand = {json.dumps(command[0])}\nargs = {json.dumps(command[1:])}\n'
    (folder / "catalog/pipe.toml").write_text(f"{pipe}cwd = {json.dumps(str(ROOT))}\n")
    if web:
        (folder / "catalog/web.toml").write_text(f'transport = "http"\nurl = "{web}"\n')
    mcpgw(folder, "catalog", "accept", "--all", "--yes")
    key = mcpgw(folder, "keys", "create", "--subject", "bench", "--kind", "agent", "--group", "staff").strip()
    return port, key


@contextmanager
def gateway(folder: Path, model: str, web: str) -> Iterator[Callable[[str], Contender]]:
    """Run `mcpgw serve`; yield it as a contender for the tool of one of its upstreams, `web` or `pipe`."""
    port, key = make_folder(folder, model, web)
    url = f"http://127.0.0.1:{port}"
    with running([sys.executable, "-m", "mcpgw", "serve"], folder=folder, log="serve.log", environ=_here()) as pid:
        await_http(f"{url}/readyz", lambda status: status == 200, pid)
        detectors = "patterns" if model == "none" else "patterns and NER"
        yield lambda server: Contender(
            name=f"mcpgw, {detectors}",
            pid=pid,
            url=f"{url}/mcp",
            tool=f"{server}__echo",
            headers={"Authorization": f"Bearer {key}"},
        )


# --- peers ---------------------------------------------------------------------------------------------------------------


def peers(folder: Path, web: str, transport: str) -> Iterator[tuple[str, "Callable[[ExitStack], Contender]"]]:
    """Name each installed peer that can stand before that upstream, with how to start it."""
    echo = [web] if transport == "http" else echo_command("stdio")
    if (PEERS / "fastmcp").exists():
        yield "FastMCP shared", lambda stack: stack.enter_context(fastmcp(folder / "shared", "shared", echo))
        yield "FastMCP default", lambda stack: stack.enter_context(fastmcp(folder / "default", "default", echo))
    if (PEERS / "mcp-airlock").exists() and transport == "http":  # it has no other
        yield "mcp-airlock", lambda stack: stack.enter_context(airlock(folder / "airlock", web))
    if (PEERS / "mcp-policy-gateway").exists() and transport == "http":  # 0.1.0 cannot start a stdio upstream on Linux
        yield "mcp-policy-gateway", lambda stack: stack.enter_context(policy_gateway(folder / "policy-gateway", web))


@contextmanager
def fastmcp(folder: Path, kind: str, echo: list[str]) -> Iterator[Contender]:
    folder.mkdir(parents=True)
    port = free_port()
    command = [str(PEERS / "python"), str(ROOT / "bench/fastmcp_proxy.py"), str(port), kind, *echo]
    url = f"http://127.0.0.1:{port}/mcp"
    with running(command, folder=folder, environ=_here()) as pid:
        await_http(url, lambda status: status > 0, pid)
        says = "one session for everybody" if kind == "shared" else "default"
        yield Contender(name=f"FastMCP {peer_version('fastmcp')} proxy, {says}", pid=pid, url=url)


@contextmanager
def airlock(folder: Path, web: str) -> Iterator[Contender]:
    folder.mkdir(parents=True)
    policy = {
        "version": 1,
        "environment": "prod",
        "blast_radius": {"max_per_call": 50, "max_per_principal": 100_000_000, "window_s": 60},
        "tools": {"echo": {"tiers": {"prod": "L0"}, "where": [{"arg": "text", "not_in": ["no"]}]}},
    }
    (folder / "policy.yaml").write_text(json.dumps(policy))  # JSON is YAML
    port = free_port()
    command = [str(PEERS / "mcp-airlock"), "--policy", "policy.yaml", "--upstream", web, "--env", "prod", "--port", str(port)]
    with running(command, folder=folder, environ={"AIRLOCK_TRUST_PRINCIPAL_HEADER": "1"}) as pid:
        await_http(f"http://127.0.0.1:{port}/healthz", lambda status: status == 200, pid)
        yield Contender(
            name=f"mcp-airlock {peer_version('mcp-airlock')}",
            pid=pid,
            url=f"http://127.0.0.1:{port}/mcp",
            headers={"X-Airlock-Principal": "bench"},
            eras=("2026-07-28",),
        )


@contextmanager
def policy_gateway(folder: Path, web: str) -> Iterator[Contender]:
    folder.mkdir(parents=True)
    policy = {
        "version": 1,
        "upstreams": {"echo": {"transport": "http", "url": web}},
        "policies": {
            "staff": {
                "default": "deny",
                "rules": [
                    {"effect": "deny", "tools": ["echo"], "when": {"args.text": {"matches": "URGENT.*"}}},
                    {"effect": "allow", "tools": ["echo"], "when": {"args.text": {"max_length": 100_000}}},
                ],
            }
        },
        "tokens": [{"name": "bench", "policy": "staff", "env": "BENCH_TOKEN"}],
    }
    (folder / "policy.yaml").write_text(json.dumps(policy))
    port = free_port()
    command = [str(PEERS / "mcp-policy-gateway"), "run", "-c", "policy.yaml", "--transport", "http", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/mcp"
    with running(command, folder=folder, environ={"BENCH_TOKEN": "bench-token-of-some-length"}) as pid:
        await_http(url, lambda status: status > 0, pid)
        yield Contender(
            name=f"mcp-policy-gateway {peer_version('mcp-policy-gateway')}",
            pid=pid,
            url=url,
            headers={"Authorization": "Bearer bench-token-of-some-length"},
        )


def peer_version(distribution: str) -> str:
    for found in (PEERS.parent / "lib").glob("python3*/site-packages"):
        for installed in metadata.distributions(name=distribution, path=[str(found)]):
            return installed.version
    return "?"


def _here() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT)}
