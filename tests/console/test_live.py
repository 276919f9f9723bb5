"""The docket's stream: it tells of changes, and ends with the session."""

import anyio
import httpx2

from tests.console.bank import Bank, Person
from tests.flows.gateway import BOUND_S


class Marks:
    """The events of one stream."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.aiter_lines()

    async def next(self) -> str:
        async for line in self._lines:
            if line.startswith("data: "):
                return line.removeprefix("data: ")
        return ""


async def page_mark(person: Person) -> str:
    return (await person.get("/approvals")).text.partition('data-mark="')[2][:16]


async def test_a_new_held_call_and_a_verdict_are_told_at_once(bank: Bank) -> None:
    with anyio.fail_after(BOUND_S):
        async with (
            bank.person("carol") as carol,
            bank.person("dora") as dora,
            carol.http.stream("GET", "/live/approvals") as response,
        ):
            assert response.headers["content-type"].startswith("text/event-stream")
            marks = Marks(response)
            assert await marks.next() == await page_mark(carol)
            approval_id = await bank.hold(16_01)
            assert await marks.next() == await page_mark(carol)
            await dora.decide(approval_id, "deny")
            settled = await page_mark(carol)
            while await marks.next() != settled:
                pass  # the vote is told before what it settles


async def test_the_stream_ends_with_the_session(bank: Bank) -> None:
    with anyio.fail_after(BOUND_S):
        async with bank.person("carol") as carol, carol.http.stream("GET", "/live/approvals") as response:
            marks = Marks(response)
            assert await marks.next()
            await carol.post("/sign-out", {"token": await carol.token()})
            assert await marks.next() == ""


async def test_the_stream_tells_nothing_of_what_is_not_yours(bank: Bank) -> None:
    with anyio.fail_after(BOUND_S):
        async with bank.person("audrey") as audrey:
            before = await page_mark(audrey)
            await bank.hold(16_02)
            assert await page_mark(audrey) == before
