"""Sessions that are somebody's own: who shares them with whom, how many there are, and how each ends."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import (
    Identity,
    JsonObject,
    RawNotice,
    TargetKind,
)
from mcpgw.ports import Interview, ServerState
from mcpgw.upstream import Limits
from tests.real_servers import asking_server, moody_server, odd_server
from tests.upstream.asked import ANN, BOB, FORMS, Caller, day, slow
from tests.upstream.world import World, gone, line_in, lines, pool_of, stdio, texts

QUESTION = {"id": "q", "method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}
LIMITS = Limits(backoff_first_s=0.05, stop_s=0.5, drain_s=0.2, personal_children=2)


async def pid(world: World, who: Identity = ANN, interview: Interview | None = None, seconds: float = 0) -> int:
    """Return the process in which a call of theirs runs."""
    told = await world.call("pid", {"seconds": seconds}, identity=who, interview=interview or Caller({}, declares=FORMS))
    found: int = told.payload["structuredContent"]["pid"]
    return found


async def asked(world: World, *questions: JsonObject, answers: int = 1, interview: Interview) -> list[Any]:
    """Return what the server got for its questions."""
    arguments = {"questions": questions, "answers": answers}
    told = await world.call("asks", arguments, identity=ANN, interview=interview)
    got: list[Any] = told.payload["structuredContent"]["answers"]
    return got


async def test_a_session_is_kept_for_the_next_call_of_its_identity_alone() -> None:
    async with pool_of(stdio(odd_server()), limits=Limits(stop_s=0.5)) as world:
        agent = Identity(subject=ANN.subject, issuer=ANN.issuer, kind=ANN.kind, method="jwt", actors=("agent",))
        shared = (await world.call("pid")).payload["structuredContent"]["pid"]
        anns, bobs, through_an_agent = await pid(world, ANN), await pid(world, BOB), await pid(world, agent)
        other = await pid(world, ANN, Caller({}, declares={"roots": {}}))
        assert len({shared, anns, bobs, through_an_agent, other}) == 5
        assert [await pid(world, ANN), await pid(world, BOB), await pid(world, agent)] == [anns, bobs, through_an_agent]
        assert (await world.call("pid")).payload["structuredContent"]["pid"] == shared


async def test_a_caller_who_can_be_asked_completes_arguments_on_the_shared_connection() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        argument = {"argument": {"name": "n", "value": "v"}}
        caller = Caller({}, declares=FORMS)
        reply = await world.call("echo", argument, kind=TargetKind.COMPLETION, interview=caller)
        assert reply.payload["message"] == "Method not found"  # it was asked as it is


async def test_two_calls_at_once_have_two_sessions() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        found: set[int] = set()

        async def one() -> None:
            found.add(await pid(world, seconds=0.2))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            tasks.start_soon(one)
        assert len(found) == 2
        assert await pid(world) in found


async def test_an_idle_session_ends_and_one_that_is_used_does_not() -> None:
    limits = Limits(stop_s=0.5, personal_idle_s=0.3)
    async with pool_of(stdio(odd_server()), limits=limits) as world:
        first = await pid(world, seconds=0.6)
        assert await pid(world) == first
        await gone(first)
        assert await pid(world) != first


async def test_there_are_never_more_than_the_limit_and_the_longest_idle_one_makes_room(tmp_path: Path) -> None:
    third = Identity(subject="cid", issuer="test", kind=ANN.kind, method="jwt")
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        anns, bobs = await pid(world, ANN), await pid(world, BOB)
        cids = await pid(world, third)
        await gone(anns)
        assert await pid(world, BOB) == bobs
        async with anyio.create_task_group() as tasks:
            callers = {identity.subject: slow("Monday") for identity in (BOB, third)}
            for identity in (BOB, third):
                arguments = {"questions": [QUESTION], "answers": 1}
                tasks.start_soon(_ask, world, arguments, identity, callers[identity.subject])
            for caller in callers.values():
                await caller.until_asked()
            with pytest.raises(UpstreamError, match=r"as many sessions as it may \(2\), and each carries a call") as caught:
                await pid(world, ANN)
            assert caught.value.sent is False
            for caller in callers.values():
                caller.ready.set()
        assert await pid(world, third) == cids


async def test_one_identity_cannot_take_all_of_them() -> None:
    limits = Limits(stop_s=0.5, personal_children=4)
    agent = Identity(subject=ANN.subject, issuer=ANN.issuer, kind=ANN.kind, method="jwt", actors=("agent",))
    async with pool_of(stdio(odd_server()), limits=limits) as world:
        callers = [slow("Monday") for _ in range(3)]
        async with anyio.create_task_group() as tasks:
            for caller in callers:
                tasks.start_soon(_ask, world, {"questions": [QUESTION], "answers": 1}, ANN, caller)
            for caller in callers:
                await caller.until_asked()
            for identity in (ANN, agent):
                with pytest.raises(UpstreamError, match=r"as many sessions as one identity may have \(3\)") as caught:
                    await pid(world, identity)
                assert caught.value.sent is False
            assert await pid(world, BOB)
            for caller in callers:
                caller.ready.set()
        assert await pid(world, ANN)


async def test_a_server_of_both_eras_that_has_no_session_left_has_one_again_later() -> None:
    limits = Limits(stop_s=0.5, personal_children=1)
    async with pool_of(stdio(asking_server()), limits=limits) as world:
        taken = slow("Monday")

        async def both(identity: Identity, caller: Caller) -> list[str]:
            """Call what asks as a legacy server does, and fails where it cannot."""
            return texts(await world.call("both", identity=identity, interview=caller, client="2025-11-25"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(both, BOB, taken)
            await taken.until_asked(2)
            assert await both(ANN, day("Monday")) != ["Monday, Monday"]
            taken.ready.set()
        assert await both(ANN, day("Monday")) == ["Monday, Monday"]


async def _ask(world: World, arguments: JsonObject, identity: Identity, caller: Caller) -> None:
    await world.call("asks", arguments, identity=identity, interview=Declaring(caller))


class Declaring:
    """The same caller, who declares forms alone."""

    def __init__(self, caller: Caller) -> None:
        self.declares = FORMS
        self.in_rounds = False
        self.ask = caller.ask


async def test_a_session_whose_call_had_no_answer_is_not_used_again() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        first = await pid(world)
        with pytest.raises(TimeoutError):
            await world.call("pid", {"seconds": 30}, identity=ANN, interview=Caller({}, declares=FORMS), timeout_s=0.2)
        assert await pid(world) != first
        await gone(first)


async def test_a_session_that_dies_while_idle_is_replaced() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        first = await pid(world)
        with pytest.raises(UpstreamError, match="exited with status 7") as caught:
            await world.call("crash", identity=ANN, interview=Caller({}, declares=FORMS))
        assert caught.value.sent is True
        assert await pid(world) != first
        assert world.status().state is ServerState.READY


@pytest.mark.parametrize(
    ("mood", "words"), [("crash", "exited with status 1"), ("hang", "did not begin another session in time")]
)
async def test_a_session_that_does_not_open_fails_its_call_before_anything_was_sent(
    tmp_path: Path, mood: str, words: str
) -> None:
    file = tmp_path / "mood"
    file.write_text("good")
    limits = Limits(stop_s=0.5, handshake_s=3)
    async with pool_of(stdio(moody_server(file)), limits=limits) as world:
        file.write_text(mood)
        with anyio.fail_after(10), pytest.raises(UpstreamError, match=words) as caught:
            await world.call("pid", identity=ANN, interview=Caller({}, declares=FORMS), timeout_s=1 if mood == "hang" else 10)
        assert caught.value.sent is False
        assert (await world.call("pid")).payload["structuredContent"]
        file.write_text("good")
        if mood == "hang":  # it is waited for further, by whoever needs such a session next
            with pytest.raises(UpstreamError, match="did not answer `initialize` in time"):
                await pid(world)
        assert await pid(world)


@pytest.mark.parametrize("how", ["the gateway stops", "the server is removed", "the server is reconfigured"])
async def test_no_child_outlives_its_server(how: str) -> None:
    caller = slow("Monday")
    failures: list[UpstreamError] = []

    async def ask(world: World) -> None:
        with pytest.raises(UpstreamError) as caught:
            await _ask(world, {"questions": [QUESTION], "answers": 1}, ANN, caller)
        failures.append(caught.value)

    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks, pool_of(stdio(odd_server()), limits=LIMITS) as world:
            idle, asking = await pid(world, BOB), await pid(world, ANN)
            tasks.start_soon(ask, world)
            await caller.until_asked()
            if how != "the gateway stops":
                world.pool.configure({"s": stdio(odd_server("--era", "2024"))} if "reconfigured" in how else {})
                await gone(idle)
                await gone(asking)
    assert [failure.sent for failure in failures] == [True]
    assert caller.cancelled == 1
    await gone(idle)
    await gone(asking)


async def test_a_question_after_the_answer_is_nobodys(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with pool_of(stdio(odd_server("--journal", str(journal))), limits=LIMITS) as world:
        caller = day("Monday", declares=FORMS)
        await world.call("asks_late", {"question": QUESTION}, identity=ANN, interview=caller)
        with anyio.fail_after(10):
            while not (answers := [line for line in await lines(journal) if line.startswith('{"jsonrpc": "2.0", "id": "q"')]):  # noqa: ASYNC110
                await anyio.sleep(0.02)
        assert json.loads(answers[0])["error"]["code"] in (-32601, -1)  # as it came after the call's end, or in its last moment
        assert caller.asked == []


async def test_why_a_question_is_not_answered_has_the_code_that_the_specification_gives_it() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        url = {"id": 1, "method": "elicitation/create", "params": {"mode": "url", "url": "https://x.example"}}
        odd = {"id": 2, "method": "elicitation/create", "params": {"mode": ["form"]}}
        sampling = {"id": 3, "method": "sampling/createMessage"}
        form = {**QUESTION, "id": 4}
        unknown = {"id": 5, "method": "tasks/get"}
        ping = {"id": "6", "method": "ping"}
        questions = (url, odd, sampling, form, unknown, ping)
        got = {
            message["id"]: message
            for message in await asked(world, *questions, answers=6, interview=Caller({}, declares=FORMS))
        }
        codes = {key: message["error"]["code"] for key, message in got.items() if "error" in message}
        assert codes == {1: -32602, 2: -32602, 3: -32601, 4: -1, 5: -32601}
        assert got["6"]["result"] == {}
        assert got[4]["error"]["message"] == "The caller's client is not there."


async def test_there_is_an_end_to_the_questions_of_one_call() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        many = [{**QUESTION, "id": number} for number in range(20)]
        caller = slow("Monday")
        got = await asked(world, *many, answers=4, interview=Declaring(caller))
        assert [message["id"] for message in got] == [16, 17, 18, 19]
        assert {message["error"]["message"] for message in got} == {"There are too many questions in one call."}
        assert len(caller.asked) == caller.cancelled == 16


async def test_a_second_question_under_the_id_of_an_open_one_is_dropped() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        caller = slow("Monday")
        got: list[Any] = []

        async def ask() -> None:
            got.extend(await asked(world, QUESTION, QUESTION, {**QUESTION, "id": "r"}, answers=2, interview=Declaring(caller)))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await caller.until_asked(2)
            caller.ready.set()
        assert sorted(message["id"] for message in got) == ["q", "r"]
        assert len(caller.asked) == 2


async def test_a_question_that_is_open_when_the_answer_comes_is_answered_with_an_error(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with pool_of(stdio(odd_server("--journal", str(journal))), limits=LIMITS) as world:
        caller = slow("Monday")
        assert await asked(world, QUESTION, answers=0, interview=Declaring(caller)) == []
        error = {"code": -1, "message": "The call in which this was asked is over."}
        await line_in(journal, json.dumps({"jsonrpc": "2.0", "id": "q", "error": error}))
        assert await asked(world, QUESTION, interview=day("Friday", declares=FORMS))


async def test_what_a_server_tells_of_questions_beside_any_call_is_dropped() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        notices = [
            {"method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}},
            {"method": "notifications/cancelled", "params": {"requestId": ["no", "id"]}},
        ]
        told: list[RawNotice] = []

        async def keep(notice: RawNotice) -> None:
            told.append(notice)

        arguments = {"questions": notices, "answers": 0}
        await world.call("asks", arguments, on_notice=keep)
        assert told == []
        await world.call("asks", arguments, identity=ANN, interview=Caller({}, declares=FORMS), on_notice=keep)
        page = {"mode": "url", "elicitationId": "e", "url": "https://x.example", "message": "m"}
        question = {"id": "q", "method": "elicitation/create", "params": page}
        caller = Caller({"elicitation/create": {"action": "accept"}}, declares={"elicitation": {"url": {}}})
        shown = {"questions": [*notices, question, notices[0], notices[0]], "answers": 1}
        await world.call("asks", shown, identity=ANN, interview=caller, on_notice=keep)
        assert [notice.params["elicitationId"] for notice in told] == ["e"], "once, and of a page that was shown"


async def test_answers_are_not_brought_to_a_server_that_knows_no_such_thing() -> None:
    async with pool_of(stdio(odd_server()), limits=LIMITS) as world:
        with pytest.raises(UpstreamError, match="cannot bring answers along") as caught:
            await world.call("echo", {"text": "x", "mcpgw/answers": {"requestState": "s"}})
        assert caught.value.sent is False
