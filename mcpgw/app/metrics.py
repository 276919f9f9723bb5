"""What a monitor is told of one gateway: numbers, by names of the configuration, with nobody and nothing of a call in them.

Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). Names and labels change only
with a line in the changelog.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mcpgw import __version__
from mcpgw.app import redacting
from mcpgw.app.gateway import Gateway
from mcpgw.core.errors import GatewayError
from mcpgw.inbound.metrics import Routes, metrics_route
from mcpgw.ports import ApprovalState, ServerState
from mcpgw.sinks.status import SinkStatus

_MOST_WAITING = 1000
"""Approvals that are counted; where more wait, that many says enough."""

Kind: TypeAlias = Literal["gauge", "counter"]
Sample: TypeAlias = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric with all its samples."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]

    def text(self) -> str:
        head = f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"
        return head + "".join(f"{self.name}{_braced(labels)} {float(value)}\n" for labels, value in self.samples)


def metrics_routes(gateway: Gateway) -> Routes:
    """Return the route for `make_app`; none where metrics are switched off."""
    settings = gateway.settings.metrics
    if not settings.enabled:
        return ()

    async def collect() -> str:
        return "".join(family.text() for family in await families(gateway))

    return (metrics_route(gateway.server, settings.readers, collect),)


async def families(gateway: Gateway) -> Sequence[Family]:
    """Return what is known now. What stands in the log is left out while it cannot be read: better none than an old one."""
    try:
        recorded = await _recorded(gateway)
    except (GatewayError, OSError):  # a monitor can tell that they are missing, and /readyz says why
        recorded = []
    return [*_own(gateway), *recorded]


def _own(gateway: Gateway) -> Sequence[Family]:
    redactor = gateway.redactor
    workers = redacting.config(gateway.settings).workers
    states = [
        ({"server": one.name, "state": state}, one.state is state) for one in gateway.upstreams() for state in ServerState
    ]
    calls = [({"outcome": how.outcome, "code": how.code}, count) for how, count in gateway.calls.ended.items()]
    return [
        Family("mcpgw_build_info", "gauge", "The version that runs.", [({"version": __version__}, 1)]),
        Family("mcpgw_ready", "gauge", "Whether this process should be sent calls.", [({}, not gateway.server.problems())]),
        Family("mcpgw_calls_total", "counter", "Calls and messages that ended here since the start, by how.", calls),
        Family("mcpgw_upstream_state", "gauge", "1 for the state that each server is in.", states),
        Family("mcpgw_redaction_workers", "gauge", "Redaction processes that there should be.", [({}, workers)]),
        Family("mcpgw_redaction_workers_idle", "gauge", "Those of them that wait for work.", [({}, redactor.idle)]),
        Family("mcpgw_redaction_waiting", "gauge", "Redactions that wait for a free process.", [({}, redactor.waiting)]),
        Family("mcpgw_redaction_ready", "gauge", "Whether anything can be redacted.", [({}, redactor.ready)]),
    ]


async def _recorded(gateway: Gateway) -> Sequence[Family]:
    """Raises: LedgerUnavailable, OSError: the log or a cursor cannot be read."""
    waiting = await gateway.ledger.approvals((ApprovalState.PENDING,), _MOST_WAITING)
    sinks = await gateway.exporter.status()
    return [
        Family("mcpgw_ledger_records", "gauge", "Records in the log.", [({}, await gateway.ledger.size())]),
        Family("mcpgw_approvals_waiting", "gauge", f"Approvals that wait, {_MOST_WAITING} at most.", [({}, len(waiting))]),
        *(Family(name, kind, help, [(_of(sink), value(sink)) for sink in sinks]) for name, kind, help, value in _SINKS),
    ]


def _of(sink: SinkStatus) -> Mapping[str, str]:
    return {"sink": sink.name, "kind": sink.kind}


_SINKS: Sequence[tuple[str, Kind, str, Callable[[SinkStatus], float]]] = (
    ("mcpgw_sink_lag_records", "gauge", "Records that wait for this sink.", lambda sink: sink.lag),
    ("mcpgw_sink_lag_seconds", "gauge", "Age of the oldest record that waits for it.", lambda sink: sink.oldest_age_s),
    ("mcpgw_sink_failing", "gauge", "1 while something keeps it from moving.", lambda sink: bool(sink.problem)),
    ("mcpgw_sink_delivering", "gauge", "1 while a process has it in hand.", lambda sink: sink.delivering),
    ("mcpgw_sink_refused_events_total", "counter", "Events that it refused for good.", lambda sink: sink.refused),
)


def _braced(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
