"""The format of the numbers, and what is said where they are switched off or the log cannot be read."""

from types import SimpleNamespace
from typing import Any

import pytest

from mcpgw.app import metrics
from mcpgw.app.counting import CountingJournal, Ended
from mcpgw.app.metrics import Family, families, metrics_routes
from mcpgw.core.entries import Rejection
from mcpgw.core.errors import LedgerUnavailable
from mcpgw.core.model import (
    Origin,
    RefusalCode,
    Refused,
)
from mcpgw.settings import Settings


def test_a_family_says_what_it_is_and_escapes_its_labels() -> None:
    family = Family("up", "gauge", "Whether.", [({"server": 'a"\\\n'}, True), ({}, 2)])
    assert family.text() == '# HELP up Whether.\n# TYPE up gauge\nup{server="a\\"\\\\\\n"} 1.0\nup 2.0\n'


def test_there_is_no_route_unless_it_is_switched_on() -> None:
    assert metrics_routes(SimpleNamespace(settings=Settings())) == ()  # type: ignore[arg-type] # it is asked for its settings alone


@pytest.mark.parametrize("error", [LedgerUnavailable("it is locked"), OSError("no cursor")])
async def test_what_cannot_be_read_is_left_out_and_the_rest_is_told(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Any) -> Any:
        raise error

    monkeypatch.setattr(metrics, "_recorded", broken)
    redactor = SimpleNamespace(idle=1, waiting=0, ready=True)
    gateway: Any = SimpleNamespace(
        settings=Settings(),
        redactor=redactor,
        upstreams=list,
        calls=SimpleNamespace(ended={Ended("completed"): 3}),
        server=SimpleNamespace(problems=lambda: {"ledger": "it is locked"}),
    )
    text = "".join(family.text() for family in await families(gateway))
    assert "\nmcpgw_ready 0.0\n" in text
    assert '\nmcpgw_calls_total{outcome="completed",code=""} 3.0\n' in text
    assert "sink" not in text
    assert "ledger" not in text


async def test_what_was_not_made_durable_is_not_counted() -> None:
    class Full:
        async def append(self, entry: Any) -> Any:
            raise LedgerUnavailable("it is full")

    journal = CountingJournal(Full())
    refused = Refused(code=RefusalCode.UNAUTHENTICATED, reason="no")
    with pytest.raises(LedgerUnavailable):
        await journal.append(Rejection(origin=Origin(transport="http", protocol_version=""), refused=refused))
    assert not journal.ended
