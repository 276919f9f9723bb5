"""Rounds of load and `kill -9` on one folder, each judged before and after the recovery.

A round: a gateway, clients, and an approver in another process; at a random moment the gateway is killed, now and then together
with the approver; what is on disk is judged; a gateway starts again, now and then after one that is killed while it recovers;
what is on disk is judged again. The clients live through all of it, as real ones do.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from subprocess import Popen

import anyio
from anyio.to_thread import run_sync

from tests.faults.clients import Crowd
from tests.faults.evidence import Evidence, newest_checkpoint
from tests.faults.folder import Faults, approving
from tests.faults.history import INDETERMINATE, INTENT, History, Said, check
from tests.faults.process import kill, start, survivors, until_serving
from tests.flows.gateway import Gateway

BEFORE_CHECKPOINT_S = (0.4, 1.6)
"""Load before a checkpoint is exported, as an auditor would."""
BEFORE_KILL_S = (0.1, 0.9)
"""Load from there to the kill."""
STARTING_S = (0.4, 2.0)
"""When a gateway that has just been started, and recovers, is killed as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round was, for the table."""

    number: int
    killed: str
    heard: Counter[Said]
    effects: int
    intents: int
    spent: int
    """Of the intents, those that spent an approval."""
    left_open: int
    """Intents without an end at the moment of a kill."""
    indeterminate: int
    """Of those, how many the recovery recorded as that; the others had committed their outcome as they were killed."""
    ready_s: float
    """From the start after the kill to ready: Python, recovery, redactor."""
    problems: tuple[str, ...]


@dataclass
class Storm:
    faults: Faults
    clients: int
    seed: int
    report: Callable[[Round], None] = lambda _: None
    rounds: list[Round] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Everything found so far; the judge sees the whole history each time, so each is kept once."""

    def __post_init__(self) -> None:
        self.evidence = Evidence(self.faults.folder.data)
        self.crowd = Crowd(self.faults.keys, self._url, random.Random(self.seed))
        self._random = random.Random(self.seed)
        self._gateway: Gateway | None = None  # None while there is none
        self._open = False
        self._left_open: dict[str, int] = {}
        self._checkpoint = self.faults.folder.path.parent / "checkpoint.txt"

    async def run(self, rounds: int) -> list[str]:
        """Run the rounds, end in order, and return every problem that was found."""
        with ExitStack() as stack:
            stack.callback(self._end)
            await self._start()
            approver = stack.enter_context(approving(self.faults))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.crowd.run, self.clients)
                for number in range(1, rounds + 1):
                    if approver.poll() is not None:
                        approver = await run_sync(stack.enter_context, approving(self.faults))
                    await self._round(number, approver)
                tasks.cancel_scope.cancel()
            await run_sync(self._finish)
        return self.problems

    async def _round(self, number: int, approver: "Popen[str]") -> None:
        found, heard = len(self.problems), Counter(answer.said for answer in self.crowd.answers)
        records, effects, before = len(self.evidence.entries), len(self.faults.effects()), set(self._left_open)

        # (1) load, a checkpoint that is kept elsewhere, more load, the kill
        self._open = True
        await anyio.sleep(self._random.uniform(*BEFORE_CHECKPOINT_S))
        self._checkpoint.write_text(newest_checkpoint(self.faults.folder.data))
        await anyio.sleep(self._random.uniform(*BEFORE_KILL_S))
        group, with_approver, twice = (self._random.random() < chance for chance in (0.5, 0.3, 0.3))
        await run_sync(partial(self._kill, group=group))
        if with_approver:
            approver.kill()

        # (2) recovery, now and then killed as well while clients call already
        if twice:
            self._gateway = start(self.faults.folder)
            await anyio.sleep(self._random.uniform(*STARTING_S))
            await run_sync(partial(self._kill, group=True))

        # (3) the next gateway; no client reaches it until all that went before is judged
        self._open = False
        ready_s = await self._start()
        await run_sync(partial(self._judge, recovered=True))
        await run_sync(self._verify)

        new = self.evidence.entries[records:]
        intents = [entry for entry in new if entry.kind == INTENT]
        left_open = self._left_open.keys() - before
        killed = " + ".join(["group" if group else "process", *["approver"] * with_approver, *["recovery"] * twice])
        self.rounds.append(
            Round(
                number=number,
                killed=killed,
                heard=Counter(answer.said for answer in self.crowd.answers) - heard,
                effects=len(self.faults.effects()) - effects,
                intents=len(intents),
                spent=sum(1 for intent in intents if intent.approval),
                left_open=len(left_open),
                indeterminate=sum(1 for entry in new if entry.kind == INDETERMINATE and entry.call in left_open),
                ready_s=ready_s,
                problems=tuple(self.problems[found:]),
            )
        )
        self.report(self.rounds[-1])

    # --- the gateway -----------------------------------------------------------------------------------------------------

    def _url(self) -> str:
        return self._gateway.url if self._gateway is not None and self._open else ""

    async def _start(self) -> float:
        began = time.monotonic()
        self._gateway = start(self.faults.folder)
        await run_sync(until_serving, self._gateway)
        return time.monotonic() - began

    def _kill(self, *, group: bool) -> None:
        """Kill the gateway, see that nothing of it survives, and judge what lies there before anybody recovers it."""
        gateway, self._gateway = self._gateway, None
        assert gateway is not None
        children = kill(gateway, group=group)
        killed_ns = time.time_ns()
        if gateway.url and not any("deed_server" in child.command for child in children):
            self._found(["no child was seen: the test would prove nothing"])
        self._found(f"outlived its gateway: {child.command}" for child in survivors(children))
        self._judge(recovered=False)
        self._left_open |= dict.fromkeys(self.evidence.open_calls(), killed_ns)

    def _finish(self) -> None:
        """End in order, and judge for the last time."""
        assert self._gateway is not None
        if (code := self._gateway.stop()) != 0:
            self._found([f"the gateway ended with exit code {code} after SIGTERM: {''.join(self._gateway.log)}"])
        self._judge(recovered=True)
        self._verify()

    def _end(self) -> None:
        if self._gateway is not None:
            self._gateway.process.kill()
            self._gateway.process.wait()

    # --- judging ---------------------------------------------------------------------------------------------------------

    def _judge(self, *, recovered: bool) -> None:
        """Judge everything so far. Nobody calls meanwhile, but what is heard late must not be judged by older records."""
        answers, effects = list(self.crowd.answers), self.faults.effects()
        history = History(
            answers=answers,
            effects=effects,
            entries=self.evidence.read(),
            left_open=self._left_open if recovered else {},
            recovered=recovered,
        )
        self._found(check(history))

    def _verify(self) -> None:
        """As an auditor would: the record is whole, and continues the checkpoint from before the last kill."""
        try:
            said = self.faults.folder.cli("verify", "--against", str(self._checkpoint))
        except AssertionError as complaint:
            self._found([str(complaint)])
        else:
            if "continues the checkpoint" not in said:
                self._found([f"verify did not compare the checkpoint: {said}"])

    def _found(self, problems: Iterable[str]) -> None:
        self.problems += [problem for problem in problems if problem not in self.problems]
