"""A server that asks its caller in the middle of a call is answered, over every transport and in both eras."""

from collections.abc import AsyncIterator

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import JsonObject, ReplyKind
from tests.real_servers import task_url
from tests.upstream.asked import ALL, ANN, BOB, LEGACY, MODERN, WAYS, Caller, asking, day, slow
from tests.upstream.world import World, http, pool_of, texts

every_way = pytest.mark.parametrize("way", WAYS)
every_legacy_way = pytest.mark.parametrize("way", LEGACY)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with asking(*WAYS) as world:
        yield world


@every_way
async def test_what_the_caller_says_to_a_form_reaches_the_server(world: World, way: str) -> None:
    for answer, became in (
        ({"action": "accept", "content": {"day": "Monday"}}, "room: accept Monday"),
        ({"action": "decline"}, "room: decline"),
        ({"action": "cancel"}, "room: cancel"),
    ):
        caller = Caller({"elicitation/create": answer})
        assert texts(await world.call("book", {"what": "room"}, server=way, interview=caller)) == [became]
        [asked] = caller.asked
        assert asked.params["message"] == "Which day for room?"
        assert asked.params["requestedSchema"]["properties"]["day"]["type"] == "string"


@every_way
async def test_a_model_and_folders_are_asked_for_in_the_same_way(world: World, way: str) -> None:
    said = {"role": "assistant", "content": {"type": "text", "text": "short"}, "model": "m"}
    roots = {"roots": [{"uri": "file:///work", "name": "work"}]}
    caller = Caller({"sampling/createMessage": said, "roots/list": roots})
    assert texts(await world.call("sum_up", {"text": "long"}, server=way, interview=caller)) == ["short"]
    assert texts(await world.call("folders", server=way, interview=caller)) == ["file:///work"]
    assert [asked.method for asked in caller.asked] == ["sampling/createMessage", "roots/list"]
    assert caller.asked[0].params["messages"][0]["content"]["text"] == "Sum up: long"


@every_way
async def test_several_questions_of_one_call_are_answered_each(world: World, way: str) -> None:
    first = {"action": "accept", "content": {"day": "Monday"}}
    second = {"action": "accept", "content": {"day": "Friday"}}
    caller = Caller({"Which day for room?": first, "And if not, which other day for room?": second})
    reply = await world.call("book_twice", {"what": "room"}, server=way, interview=caller)
    assert texts(reply) == ["room: Monday or Friday"]


@every_way
async def test_a_question_that_is_refused_ends_the_call_in_words(world: World, way: str) -> None:
    caller = Caller({})
    if way in LEGACY:
        reply = await world.call("book", {"what": "room"}, server=way, interview=caller)
        assert reply.kind is ReplyKind.ERROR
        assert reply.payload["message"] == "The caller's client is not there."
    else:
        with pytest.raises(UpstreamError, match=r"input, which it does not get.*The caller's client is not there\.$") as caught:
            await world.call("book", {"what": "room"}, server=way, interview=caller)
        assert caught.value.sent is True


@every_way
async def test_a_server_is_told_what_the_caller_of_this_call_can_do_and_nothing_else(world: World, way: str) -> None:
    async def declared(caller: Caller | None) -> JsonObject:
        told = await world.call("whereabouts", server=way, interview=caller)
        shown: JsonObject = told.payload["structuredContent"]["declared"]
        return shown

    assert await declared(Caller({}, declares={"sampling": {}})) == {"sampling": {}}
    assert await declared(None) == {}
    assert await declared(Caller({})) == ALL


async def test_time_stands_still_while_a_question_is_open(world: World) -> None:
    async def wait_for_an_answer(way: str) -> None:
        assert texts(await world.call("book", {"what": "desk"}, server=way, interview=day("Friday"))) == ["desk: accept Friday"]
        caller = slow("Monday")

        async def answer_late() -> None:
            await caller.until_asked()
            await anyio.sleep(1.6)
            caller.ready.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer_late)
            reply = await world.call("book", {"what": "room"}, server=way, interview=caller, timeout_s=1.2)
        assert texts(reply) == ["room: accept Monday"]

    async with anyio.create_task_group() as tasks:
        for way in WAYS:
            tasks.start_soon(wait_for_an_answer, way)


@every_way
async def test_a_call_that_is_cancelled_takes_its_question_with_it(world: World, way: str) -> None:
    caller = slow("Monday")

    async def call() -> None:
        await world.call("book", {"what": "room"}, server=way, interview=caller)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await caller.until_asked()
        tasks.cancel_scope.cancel()
    assert caller.cancelled == 1
    assert texts(await world.call("book", {"what": "it"}, server=way, interview=day("Friday"))) == ["it: accept Friday"]


@pytest.mark.promise("question-never-anothers")
@every_way
async def test_concurrent_calls_of_one_and_of_two_are_never_asked_each_others_questions(world: World, way: str) -> None:
    got: dict[str, list[str]] = {}

    async def one(number: int) -> None:
        what = f"room {number}"
        caller = Caller({f"Which day for {what}?": {"action": "accept", "content": {"day": f"day {number}"}}})
        identity = ANN if number % 2 else BOB
        got[what] = texts(await world.call("book", {"what": what}, server=way, interview=caller, identity=identity))

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(one, number)
    assert got == {f"room {number}": [f"room {number}: accept day {number}"] for number in range(4)}


# --- what only servers of 2025-11-25 and earlier do ----------------------------------------------------------------------


@every_legacy_way
async def test_two_questions_are_open_at_once_and_the_stream_is_read_meanwhile(world: World, way: str) -> None:
    caller = slow("Monday")
    world.notices.clear()

    async def answer() -> None:
        await caller.until_asked(2)
        with anyio.fail_after(10):
            while not world.notices:  # noqa: ASYNC110  progress comes in another task
                await anyio.sleep(0.02)
        caller.ready.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        reply = await world.call("both", server=way, interview=caller)
    assert texts(reply) == ["Monday, Monday"]
    assert [notice.params["message"] for notice in world.notices] == ["asked"]


@every_legacy_way
async def test_a_question_beside_the_calls_own_stream_belongs_to_the_call_under_way(world: World, way: str) -> None:
    reply = await world.call("unlinked", server=way, interview=day("Monday"))
    assert texts(reply) == ["accept {'day': 'Monday'}"]


@every_legacy_way
async def test_a_page_to_visit_is_shown_and_that_it_was_visited_is_told(world: World, way: str) -> None:
    world.notices.clear()
    caller = Caller({"elicitation/create": {"action": "accept"}})
    assert texts(await world.call("sign", server=way, interview=caller)) == ["accept"]
    assert caller.asked[0].params["url"] == "https://sign.example.org/7"
    told = [notice for notice in world.notices if notice.method == "notifications/elicitation/complete"]
    assert [notice.params["elicitationId"] for notice in told] == ["elicitation-7"]


@every_legacy_way
async def test_a_question_that_the_server_takes_back_is_taken_back(world: World, way: str) -> None:
    caller = slow("Monday")
    assert texts(await world.call("impatient", server=way, interview=caller)) == ["went on"]
    assert caller.cancelled == 1


async def test_a_child_that_dies_while_its_question_is_open_fails_the_call_and_ends_the_question(world: World) -> None:
    await dies_asking(world, "stdio, legacy")
    assert texts(await world.call("book", {"what": "it"}, server="stdio, legacy", interview=day("Friday"))) == [
        "it: accept Friday"
    ]


@pytest.mark.slow
async def test_a_server_that_dies_while_its_question_is_open_fails_the_call_and_ends_the_question() -> None:
    async with asking("HTTP, legacy") as world:
        await dies_asking(world, "HTTP, legacy")


async def dies_asking(world: World, way: str) -> None:
    caller = slow("Monday")
    with anyio.fail_after(30), pytest.raises(UpstreamError) as caught:
        await world.call("dies_asking", server=way, interview=caller)
    assert caught.value.sent is True
    assert caller.cancelled == 1


@pytest.mark.parametrize("way", MODERN)
async def test_a_legacy_client_is_met_as_by_a_server_of_its_own_era(world: World, way: str) -> None:
    """The tool asks by requests in the middle of its answer, which it could not do in a session of 2026-07-28."""
    caller = day("Monday")
    assert texts(await world.call("both", server=way, interview=caller, client="2025-11-25")) == ["Monday, Monday"]
    assert texts(await world.call("both", server=way, interview=Caller({}, declares={}), client="2025-11-25")) != [
        "Monday, Monday"
    ]


async def test_a_server_of_2026_07_28_alone_is_asked_in_rounds_for_a_legacy_client() -> None:
    async with task_url() as url, pool_of({"s": http(url)}) as world:
        caller = Caller({"elicitation/create": {"action": "accept", "content": {"name": "Ann"}}})
        for _ in range(2):  # there is no other session
            assert texts(await world.call("test_tool_with_task", interview=caller, client="2025-11-25")) == ["Hello, Ann!"]
        assert len(caller.asked) == 2
