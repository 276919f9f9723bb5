"""A grant of three calls, and the death of the gateway while one of them is made."""

import json
from dataclasses import dataclass

import aiohttp
import anyio
from typer.testing import CliRunner

from mcpgw.cli.access import access
from mcpgw.ports import Approval, ApprovalState, Use
from tests.faults.clients import ask
from tests.faults.history import Said
from tests.faults.stage import PEOPLE, STANDS_WITHIN_S, Stage

CALLS = 3
TOTAL = 10
"""Milliseconds that the upstream may work in all: the amount that is summed up."""
_CALLER = "caller-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class UseStep:
    """Where death comes, and how the grant stands once a gateway has started again."""

    moment: str
    outcomes: tuple[str, ...]
    """Of its uses, the one before the death among them."""
    effects: int = 0
    """Of the call in the middle of which it came."""
    on_postgres: bool = False

    @property
    def name(self) -> str:
        return f"use_{self.moment.replace(' ', '_')}"


@dataclass
class Using:
    """One grant, and the calls by which it is used up; each has a deed of its own, and no other grant covers it."""

    stage: Stage
    step: UseStep
    http: aiohttp.ClientSession

    @property
    def key(self) -> str:
        return self.stage.faults.folder.keys[_CALLER]

    def _deed(self, word: str) -> str:
        return f"{self.step.name}_{word}"

    def effects(self, word: str) -> int:
        return self.stage.effects(self._deed(word))

    async def granted(self) -> str:
        """Ask for the grant, let both approve it, and return its id."""
        deeds = [self._deed(word) for word in ("first", "fatal", "beyond", "rest", "spare_one", "spare_two", "over")]
        example = json.dumps({"deed": deeds[0], "ms": 1})
        vary = json.dumps({"deed": {"one_of": deeds}, "ms": {"at_least": 0, "at_most": TOTAL}})
        options = ("--arguments", example, "--vary", vary, "--total", f"ms={TOTAL}", "--calls", str(CALLS), "--for", "30m")
        words = ["request", "web__risky", *options, "--json", "-C", str(self.stage.faults.folder.path)]
        asked = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(access, words, env={"MCPGW_API_KEY": self.key}))
        assert asked.exit_code == 0, asked.output
        grant = str(json.loads(asked.stdout)["id"])
        for person in PEOPLE:
            await self.stage.vote(person, grant)
        with anyio.fail_after(STANDS_WITHIN_S):
            while (await self.approval(grant)).state is not ApprovalState.APPROVED:  # noqa: ASYNC110  the gateway may settle it
                await anyio.sleep(0.05)
        return grant

    async def approval(self, grant: str) -> Approval:
        (found,) = [one for one in await self.stage.approvals() if one.id == grant]
        return found

    async def call(self, word: str, ms: int) -> Said:
        answer = await ask(self.http, self.stage.gateway.url, self.key, "web__risky", self._deed(word), ms=ms)
        self.stage.answers.append(answer)
        return answer.said

    async def dies_calling(self, word: str, ms: int) -> None:
        self.stage.orders.write_text(self.step.moment)
        assert await self.call(word, ms) is Said.NOTHING
        self.stage.killed()

    async def until_it_stands(self, grant: str) -> tuple[Use, ...]:
        """Wait until what is due has been done, and return the uses of the grant."""
        with anyio.fail_after(STANDS_WITHIN_S):
            uses = (await self.approval(grant)).uses
            while tuple(use.outcome for use in uses) != self.step.outcomes:
                await anyio.sleep(0.1)
                uses = (await self.approval(grant)).uses
        return uses
