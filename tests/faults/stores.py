"""Where the log of a storm is kept, and how its connections are cut."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mcpgw.ledger.postgres_migrate import migrate
from tests.ledger.postgres_server import Server, documented_sql, running

_SOME = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mcpgw' AND random() < {share}"


@dataclass(frozen=True, slots=True)
class Place:
    """One store. `url` is empty for SQLite, which has no connections to cut."""

    url: str = ""
    cut: Callable[[random.Random], int] = lambda chance: 0
    """Ends some connections of gateways at once, and returns how many."""


SQLITE = Place()


def migrated(server: Server) -> None:
    """Make the roles and the database of docs/postgres.md, and the tables."""
    for statement in documented_sql():
        server.run(statement)
    migrate(server.address("mcpgw_owner"))


@contextmanager
def in_postgres() -> Iterator[Place]:
    """A real server of its own, with the roles of docs/postgres.md."""
    with running() as server:
        migrated(server)

        def cut(chance: random.Random) -> int:
            return len(server.run(_SOME.format(share=chance.choice((0.1, 0.3, 1.0)))))

        yield Place(server.address("mcpgw_gateway"), cut)
