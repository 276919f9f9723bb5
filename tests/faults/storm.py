"""Rounds of load and `kill -9` on one store, each judged before and after the recovery.

A round: gateways, clients, and an approver in another process; at a random moment some or all gateways are killed, now and then
together with the approver; the calls of those that live come to their ends, and what is stored is judged; gateways start again,
now and then after some that are killed while they recover; what is stored is judged again. On PostgreSQL connections are cut
all the while. The clients live through all of it, as real ones do, and observers write down every checkpoint that they see.
"""

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from subprocess import DEVNULL, PIPE, Popen

import anyio
from anyio.to_thread import run_sync

from mcpgw.ledger.keys import PUBLIC
from mcpgw.ledger.sqlite import FILE
from tests.faults.checkpoints import Row, Seen, contradictions
from tests.faults.clients import Crowd
from tests.faults.evidence import Evidence
from tests.faults.folder import Faults, approving
from tests.faults.history import INDETERMINATE, INTENT, History, Said, check
from tests.faults.observer import NEWEST, ROWS, answer
from tests.faults.process import kill, start, survivors, until_serving
from tests.faults.stores import SQLITE, Place
from tests.flows.gateway import Gateway

BEFORE_CHECKPOINT_S = (0.4, 1.6)
"""Load before a checkpoint is exported, as an auditor would."""
BEFORE_KILL_S = (0.1, 0.9)
"""Load from there to the kill."""
STARTING_S = (0.4, 2.0)
"""When a gateway that has just been started, and recovers, is killed as well."""
BETWEEN_CUTS_S = (0.2, 1.0)
"""Under load, between two moments at which connections to the store are cut."""
CLOSED_WITHIN_S = 60.0
"""Longest that a dead gateway's calls may stand open beside living ones, which look every 10 s."""
OBSERVERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round was, for the table."""

    number: int
    killed: str
    kills: int
    """Gateway processes killed, those that were recovering included."""
    cuts: int
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
    closed_s: float
    """From there until no call stood open."""
    problems: tuple[str, ...]


@dataclass
class Storm:
    faults: Faults
    clients: int
    seed: int
    gateways: int = 1
    """Processes on the one store."""
    place: Place = SQLITE
    report: Callable[[Round], None] = lambda _: None
    rounds: list[Round] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Everything found so far; the judge sees the whole history each time, so each is kept once."""
    cuts: int = 0
    """Connections to the store that were ended."""

    def __post_init__(self) -> None:
        self.evidence = Evidence(self.faults.database)
        self.crowd = Crowd(self.faults.keys, self._url, random.Random(self.seed))
        self.observed: dict[str, list[str]] = {"the auditor": []}
        self._random = random.Random(self.seed)
        self._running: list[Gateway] = []
        self._open = False
        self._left_open: dict[str, int] = {}
        self._checkpoint = self.faults.folder.path.parent / "checkpoint.txt"

    async def run(self, rounds: int) -> list[str]:
        """Run the rounds, end in order, and return every problem that was found."""
        with ExitStack() as stack:
            stack.callback(self._end)
            await self._start()
            approver = stack.enter_context(approving(self.faults))
            observers = [stack.enter_context(self._observing(f"observer {number}")) for number in range(OBSERVERS)]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.crowd.run, self.clients)
                tasks.start_soon(self._cut)
                for number in range(1, rounds + 1):
                    if approver.poll() is not None:
                        approver = await run_sync(stack.enter_context, approving(self.faults))
                    await self._round(number, approver)
                tasks.cancel_scope.cancel()
            self._found("an observer could not read the log" for observer in observers if observer.poll() is not None)
            await run_sync(self._finish)
        self._found(contradictions(self.seen()))
        return self.problems

    def seen(self) -> Seen:
        """Return every checkpoint that anybody saw, and the log as it is."""
        rows = [Row(*row) for row in answer(self._address, ROWS)]
        keys = (self.faults.folder.path / "keys" / PUBLIC).read_text().splitlines()
        return Seen(vkey=keys[0], rows=rows, observed=self.observed)

    async def _round(self, number: int, approver: "Popen[str]") -> None:
        found, heard = len(self.problems), Counter(answer.said for answer in self.crowd.answers)
        records, effects, before = len(self.evidence.entries), len(self.faults.effects()), set(self._left_open)
        cuts = self.cuts

        # (1) load, a checkpoint that is kept elsewhere, more load, the kill
        self._open = True
        await anyio.sleep(self._random.uniform(*BEFORE_CHECKPOINT_S))
        ((note,),) = await run_sync(answer, self._address, NEWEST)
        self.observed["the auditor"].append(note)
        self._checkpoint.write_text(note)
        await anyio.sleep(self._random.uniform(*BEFORE_KILL_S))
        group, with_approver, twice = (self._random.random() < chance for chance in (0.5, 0.3, 0.3))
        victims = self._victims()
        if with_approver:
            approver.kill()
        await self._kill(victims, group=group)

        # (2) recovery, now and then killed as well while clients call already
        if twice:
            self._open = True
            recovering = [start(self.faults.folder) for _ in victims]
            self._running += recovering
            await anyio.sleep(self._random.uniform(*STARTING_S))
            await self._kill(recovering, group=True)

        # (3) the next gateways; no client reaches any until all that went before is judged
        ready_s, closed_s = await self._start()
        await run_sync(partial(self._judge, recovered=True))
        await run_sync(self._verify)

        new = self.evidence.entries[records:]
        intents = [entry for entry in new if entry.kind == INTENT]
        left_open = self._left_open.keys() - before
        killed = "group" if group else "process"
        killed = " + ".join([f"{len(victims)} {killed}", *["approver"] * with_approver, *["recovery"] * twice])
        self.rounds.append(
            Round(
                number=number,
                killed=killed,
                kills=len(victims) * (2 if twice else 1),
                cuts=self.cuts - cuts,
                heard=Counter(answer.said for answer in self.crowd.answers) - heard,
                effects=len(self.faults.effects()) - effects,
                intents=len(intents),
                spent=sum(1 for intent in intents if intent.approval),
                left_open=len(left_open),
                indeterminate=sum(1 for entry in new if entry.kind == INDETERMINATE and entry.call in left_open),
                ready_s=ready_s,
                closed_s=closed_s,
                problems=tuple(self.problems[found:]),
            )
        )
        self.report(self.rounds[-1])

    # --- the gateways ----------------------------------------------------------------------------------------------------

    def _url(self) -> str:
        urls = [gateway.url for gateway in self._running if gateway.url]
        return self._random.choice(urls) if urls and self._open else ""

    def _victims(self) -> list[Gateway]:
        """Choose who is killed: all of them, as a power cut would, or some, which the others outlive."""
        count = self.gateways if self._random.random() < 0.3 else self._random.randint(1, self.gateways)
        return self._random.sample(self._running, count)

    async def _start(self) -> tuple[float, float]:
        """Start what is missing; return the seconds until all are ready, and from there until no call stands open."""
        began = time.monotonic()
        started = [start(self.faults.folder) for _ in range(self.gateways - len(self._running))]
        self._running += started
        for gateway in started:
            await run_sync(until_serving, gateway)
        ready = time.monotonic()
        await run_sync(self._until_closed)
        return ready - began, time.monotonic() - ready

    def _until_closed(self) -> None:
        """Wait until no call stands open, or the judge may say so. On PostgreSQL who is cut off is not dead at once."""
        until = time.monotonic() + CLOSED_WITHIN_S
        while time.monotonic() < until:
            complaints = [complaint for gateway in self._running for complaint in gateway.problems().items()]
            self.evidence.read()
            if not self.evidence.open_calls() and not complaints:
                return
            time.sleep(0.1)

    async def _kill(self, victims: Sequence[Gateway], *, group: bool) -> None:
        """Kill gateways, see that nothing of them survives, and judge what lies there before anybody recovers it."""
        self._running = [gateway for gateway in self._running if gateway not in victims]
        children = {id(victim): await run_sync(partial(kill, victim, group=group)) for victim in victims}
        killed_ns = time.time_ns()
        self._open = False
        while self._running and self.crowd.asking:  # noqa: ASYNC110  those that live finish what they were asked
            await anyio.sleep(0.02)
        for victim in victims:
            left = children[id(victim)]
            if victim.url and not any("deed_server" in child.command for child in left):
                self._found(["no child was seen: the test would prove nothing"])
            self._found(f"outlived its gateway: {child.command}" for child in await run_sync(survivors, left))
        await run_sync(partial(self._judge, recovered=False))
        self._left_open |= {call: killed_ns for call in self.evidence.open_calls() if call not in self._left_open}

    async def _cut(self) -> None:
        """End connections to the store at random moments while there is load."""
        while self.place.url:
            await anyio.sleep(self._random.uniform(*BETWEEN_CUTS_S))
            if self._open:
                self.cuts += await run_sync(self.place.cut, self._random)

    def _finish(self) -> None:
        """End in order, and judge for the last time."""
        for gateway in self._running:
            if (code := gateway.stop()) != 0:
                self._found([f"the gateway ended with exit code {code} after SIGTERM: {''.join(gateway.log)}"])
        self._judge(recovered=True)
        self._verify()

    def _end(self) -> None:
        for gateway in self._running:
            gateway.process.kill()
            gateway.process.wait()

    # --- observers -------------------------------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return self.place.url or str(self.faults.folder.data / FILE)

    @contextmanager
    def _observing(self, name: str) -> "Iterator[Popen[str]]":
        """Run an observer in a process of its own until the block ends, and keep what it sees."""
        command = [sys.executable, "-m", "tests.faults.observer", self._address]
        with Popen(command, stdin=DEVNULL, stdout=PIPE, text=True) as process:
            assert process.stdout is not None
            lines, notes = process.stdout, self.observed.setdefault(name, [])
            hearing = threading.Thread(target=lambda: notes.extend(json.loads(line) for line in lines if line.endswith("\n")))
            hearing.start()
            try:
                yield process
            finally:
                process.kill()
                hearing.join()

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
