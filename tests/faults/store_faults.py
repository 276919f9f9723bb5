"""Every fault of a store, on a real gateway in front of real upstreams: `python -m tests.faults.store_faults --calls 200`.

A fault begins; each call is refused, and no upstream hears of any; the fault ends, and calls work again without anybody's help.
At the end the record is compared with what callers heard and what upstreams did, and verified.

On SQLite the disk fails by order (`failing_gateway.py`). What the gateway has in its memory needs no reading, so faults of
reading begin with a moment of failing writes, after which the file is opened anew. On PostgreSQL most faults are real; what its
own disk would do is said by a trigger, with the SQLSTATE that the server has for it.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import anyio
import apsw
import psycopg

from mcpgw.ledger.sqlite import FILE
from tests.faults.clients import ask
from tests.faults.evidence import Evidence
from tests.faults.folder import Faults, fault_folder
from tests.faults.history import Answer, History, Said, check
from tests.faults.process import start, until_serving
from tests.faults.stores import migrated
from tests.flows.gateway import Gateway, wait
from tests.ledger.postgres_server import ADMIN, Server, running

RECOVERY_S = 5.0
"""Promised: so long after a fault's end, at the most, calls work again."""
_TRY_S = 0.05
AT_ONCE = 10


@dataclass
class Bench:
    """A running gateway, and what came of all calls so far."""

    faults: Faults
    gateway: Gateway
    answers: list[Answer] = field(default_factory=list)
    calls: int = 0

    async def call(self, http: aiohttp.ClientSession) -> Said:
        self.calls += 1
        answer = await ask(http, self.gateway.url, self.faults.keys[self.calls % 8], "web__do", f"deed_{word(self.calls)}")
        self.answers.append(answer)
        return answer.said

    def judged(self) -> list[str]:
        """Return everything that contradicts the promises, once no call stands open."""
        evidence, until = Evidence(self.faults.database), time.monotonic() + 15
        while evidence.read() and evidence.open_calls() and time.monotonic() < until:
            time.sleep(0.1)
        return check(History(answers=self.answers, effects=self.faults.effects(), entries=evidence.entries))


def word(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


@dataclass(frozen=True, slots=True)
class Result:
    calls: int
    said: Counter[Said]
    effects: int
    """That upstreams had while the fault lasted."""
    recovered_s: float

    @property
    def kept(self) -> bool:
        return self.said == {Said.NOTHING_DONE: self.calls} and self.effects == 0 and self.recovered_s <= RECOVERY_S


Fault = Callable[[], AbstractContextManager[None]]


async def tried(bench: Bench, fault: Fault, calls: int) -> Result:
    """Let the fault come and go, with that many calls in between."""
    async with aiohttp.ClientSession() as http:
        assert await bench.call(http) is Said.COMPLETED, bench.answers[-1]
        said: Counter[Said] = Counter()

        async def one() -> None:
            said[await bench.call(http)] += 1

        with fault():
            before = len(bench.faults.effects())
            for start_of in range(0, calls, AT_ONCE):
                async with anyio.create_task_group() as tasks:
                    for _ in range(min(AT_ONCE, calls - start_of)):
                        tasks.start_soon(one)
            effects = len(bench.faults.effects()) - before
        ended = time.monotonic()
        until = ended + 6 * RECOVERY_S
        while await bench.call(http) is not Said.COMPLETED and time.monotonic() < until:  # noqa: ASYNC110  as clients do
            await anyio.sleep(_TRY_S)
    return Result(calls, said, effects, time.monotonic() - ended)


# --- SQLite --------------------------------------------------------------------------------------------------------------


@contextmanager
def on_sqlite(path: Path) -> Iterator[tuple[Bench, Mapping[str, Fault]]]:
    with fault_folder(path) as faults:
        orders = path / "orders.json"
        gateway = start(faults.folder, [str(Path(__file__).with_name("failing_gateway.py")), str(orders)])
        try:
            until_serving(gateway)
            yield Bench(faults, gateway), sqlite_faults(gateway, orders, faults.folder.data / FILE)
        finally:
            gateway.process.kill()
            gateway.process.wait()
        faults.folder.verify()


def sqlite_faults(gateway: Gateway, orders: Path, file: Path) -> Mapping[str, Fault]:
    def order(**told: object) -> None:
        whole = orders.with_suffix(".new")
        whole.write_text(json.dumps(told))
        whole.rename(orders)
        time.sleep(0.1)  # the disk has read it

    @contextmanager
    def ordered(error: str, *failing: str) -> Iterator[None]:
        order(failing=failing, error=error)
        try:
            yield
        finally:
            orders.unlink()

    @contextmanager
    def reading(**told: object) -> Iterator[None]:
        wait(lambda: not gateway.problems(), "what was before is forgotten")
        order(failing=["write", "sync"], error="IOError")
        wait(lambda: "ledger" in gateway.problems(), "the gateway has noticed, and closed the file")
        order(**told)
        try:
            yield
        finally:
            orders.unlink()

    @contextmanager
    def locked() -> Iterator[None]:
        with closing(apsw.Connection(str(file))) as other:
            other.set_busy_timeout(5_000)
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    return {
        "disk full (ENOSPC)": lambda: ordered("FullError", "write", "truncate"),
        "EIO on write": lambda: ordered("IOError", "write", "truncate"),
        "EIO on fsync": lambda: ordered("IOError", "sync"),
        "EIO on read": lambda: reading(failing=["read"], error="IOError"),
        "read-only": lambda: ordered("ReadOnlyError", "write", "truncate", "delete"),
        "locked by another": locked,
        "corrupt pages": lambda: reading(garbled=True),
        "dead disk": lambda: ordered("IOError", "open", "read", "write", "sync", "truncate", "delete"),
    }


# --- PostgreSQL ----------------------------------------------------------------------------------------------------------

CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mcpgw'"


@contextmanager
def on_postgres(path: Path) -> Iterator[tuple[Bench, Mapping[str, Fault]]]:
    with running() as server:
        migrated(server)
        with fault_folder(path, server.address("mcpgw_gateway")) as faults:
            gateway = start(faults.folder)
            try:
                until_serving(gateway)
                yield Bench(faults, gateway), postgres_faults(server)
            finally:
                gateway.process.kill()
                gateway.process.wait()
            faults.folder.verify()


def postgres_faults(server: Server) -> Mapping[str, Fault]:
    @contextmanager
    def down() -> Iterator[None]:
        server.kill()
        try:
            yield
        finally:
            server.start()

    @contextmanager
    def altered(begin: str, end: str) -> Iterator[None]:
        server.run(begin)
        server.run(CUT)
        try:
            yield
        finally:
            server.run(end)

    @contextmanager
    def crowded() -> Iterator[None]:
        """Every connection that the server has is somebody else's."""
        with ExitStack() as stack:
            server.run("ALTER ROLE mcpgw_auditor CONNECTION LIMIT -1")
            admin = stack.enter_context(closing(psycopg.connect(server.address(ADMIN, "mcpgw"), autocommit=True)))
            admin.execute(CUT.encode())
            for _ in range(60):
                try:
                    stack.enter_context(closing(psycopg.connect(server.address("mcpgw_auditor"), connect_timeout=5)))
                except psycopg.OperationalError:
                    admin.execute(CUT.encode())  # whatever of the gateway's was quicker
            yield

    @contextmanager
    def says(condition: str) -> Iterator[None]:
        """A trigger says what the server says then."""
        with closing(psycopg.connect(server.address(ADMIN), autocommit=True)) as admin:
            admin.execute("SET search_path = mcpgw")
            admin.execute(
                "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION 'a fault' USING ERRCODE = '{condition}'; END $$".encode()
            )
            admin.execute("CREATE TRIGGER broken BEFORE INSERT ON records EXECUTE FUNCTION broken()")
            try:
                yield
            finally:
                admin.execute("DROP FUNCTION broken CASCADE")

    @contextmanager
    def locked() -> Iterator[None]:
        with closing(psycopg.connect(server.address(ADMIN))) as other:
            other.execute("SELECT 1 FROM mcpgw.meta WHERE key = 'turn' FOR UPDATE")
            yield
            other.rollback()

    @contextmanager
    def cut_in_the_middle() -> Iterator[None]:
        """Each connection ends at the moment of its commit: a trigger that runs then ends it."""
        with closing(psycopg.connect(server.address(ADMIN), autocommit=True)) as admin:
            admin.execute("SET search_path = mcpgw")
            admin.execute(
                "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS "
                "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
            admin.execute(
                "CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON records DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION cut()"
            )
            try:
                yield
            finally:
                admin.execute("DROP FUNCTION cut CASCADE")

    read_only = "ALTER DATABASE mcpgw {} default_transaction_read_only {}"
    return {
        "server down": down,
        "server does not answer": server.frozen,
        "out of connections": crowded,
        "role has no connection left": lambda: altered(
            "ALTER ROLE mcpgw_gateway CONNECTION LIMIT 0", "ALTER ROLE mcpgw_gateway CONNECTION LIMIT -1"
        ),
        "connection cut during the commit": cut_in_the_middle,
        "read-only": lambda: altered(read_only.format("SET", "= on"), read_only.format("RESET", "")),
        "locked by another": locked,
        "disk full (53100)": lambda: says("53100"),
        "I/O error (58030)": lambda: says("58030"),
        "corrupt page (XX001)": lambda: says("XX001"),
    }


STORES = {"sqlite": on_sqlite, "postgres": on_postgres}
# --- the long version ----------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/store_faults", description="Let a store fail in every way, and judge.")
    parser.add_argument("--calls", type=int, default=200, help="while each fault lasts")
    parser.add_argument("--store", choices=[*STORES, "both"], default="both")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    bad = 0
    print("| Store | Fault | Calls | Refused before the upstream | Effects | Works again after |\n|---|---|---|---|---|---|")
    for store in STORES if options.store == "both" else [options.store]:
        with ExitStack() as stack:
            temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="mcpgw-faults-"))
            bench, faults = stack.enter_context(STORES[store](Path(temporary) / "faults"))
            for name, fault in faults.items():
                result = anyio.run(tried, bench, fault, options.calls)
                refused = result.said[Said.NOTHING_DONE]
                cells = (store, name, result.calls, refused, result.effects, f"{result.recovered_s:.1f} s")
                print(f"| {' | '.join(map(str, cells))} |" + ("" if result.kept else f" ✗ {dict(result.said)}"), flush=True)
                bad += not result.kept
            problems = bench.judged()
            bad += len(problems)
            for problem in problems:
                print(f"✗ {problem}")
    print("every promise was kept" if not bad else f"✗ {bad} problems")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
