"""Tasks of servers, message by message: of the extension of 2026-07-28, and of 2025-11-25."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from mcp_types import CLIENT_CAPABILITIES_META_KEY

from mcpgw.core.errors import UpstreamError
from mcpgw.core.model import ReplyKind
from mcpgw.core.tasks import WITH_TASKS
from mcpgw.inbound.presentation import TAKES_TASKS
from mcpgw.upstream.tasks import poll_s
from tests.upstream.asked import ALL, FORMS, Caller, day
from tests.upstream.raw_http import RawHttp, Request, reply, serving, write
from tests.upstream.world import World, http, pool_of, texts

Message = dict[str, Any]

ID = "task-of-the-server-ü"
TIMES = {"createdAt": "2026-11-20T10:00:00Z", "lastUpdatedAt": "2026-11-20T10:00:00Z"}
FORM = {"method": "elicitation/create", "params": {"message": "Day?", "mode": "form", "requestedSchema": {"type": "object"}}}
DONE = {"content": [{"type": "text", "text": "done"}], "resultType": "complete", "x-vendor": None}


def task(status: str = "working", **more: Any) -> Message:
    return {"resultType": "complete", "taskId": ID, "status": status, **TIMES, "ttlMs": 60_000, "pollIntervalMs": 1, **more}


CREATED = task(resultType="task")


class TaskServer(RawHttp):
    """Answers each method with what is listed for it, one after another and the last for ever: a result, or an `error`."""

    def __init__(self, answers: Mapping[str, list[Message]], *, modern: bool = True, tool: Message | None = None) -> None:
        self.left = {"tasks/cancel": [{"resultType": "complete"}], **{method: [*given] for method, given in answers.items()}}
        self.tool = {"name": "t", "inputSchema": {"type": "object"}, **(tool or {})}
        self.can: Message = {"tools": {}}
        self.heard = asyncio.Event()
        """Set at every request."""
        super().__init__(self.say, modern=modern)

    async def say(self, request: Request, writer: asyncio.StreamWriter) -> None:
        given = self.left[request.asks]
        one = given.pop(0) if len(given) > 1 else given[0]
        self.heard.set()
        if "silent" in one:
            return
        if "status_line" in one:
            write(writer, one["status_line"], b"no", "text/plain")
        elif "error" in one and "taskId" not in one:
            body = json.dumps({"jsonrpc": "2.0", "id": request.body["id"], "error": one["error"]}).encode()
            write(writer, "200 OK", body)
        else:
            reply(request, writer, one)

    async def answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        match request.asks:
            case "initialize":
                info = {"name": "raw", "version": "0"}
                reply(request, writer, {"protocolVersion": "2025-11-25", "capabilities": self.can, "serverInfo": info})
            case "tools/list":
                reply(request, writer, {"tools": [self.tool], "resultType": "complete"})
            case _:
                await super().answer(request, writer)

    async def until(self, method: str) -> None:
        with anyio.fail_after(10):
            while not self.asked(method):
                self.heard.clear()
                await self.heard.wait()


async def call(world: World, **more: Any) -> Any:
    """Make the call of a client of 2026-07-28 that takes tasks."""
    return await world.call("t", {"n": 1}, **{"meta": TAKES_TASKS, **more})


def declared(request: Request) -> Any:
    return request.body["params"]["_meta"][CLIENT_CAPABILITIES_META_KEY]


def about(request: Request) -> Message:
    return {key: value for key, value in request.body["params"].items() if key != "_meta"}


# --- the extension -------------------------------------------------------------------------------------------------------


async def test_a_call_that_becomes_a_task_is_answered_with_the_tasks_result() -> None:
    looks = [task(), task(), task("completed", result=DONE)]
    async with serving(TaskServer({"tools/call": [CREATED], "tasks/get": looks})) as server, pool_of(http(server.url)) as world:
        got = await call(world)
        assert (got.kind, got.payload) == (ReplyKind.RESULT, DONE)
        [asked], gets = server.asked("tools/call"), server.asked("tasks/get")
        assert declared(asked) == WITH_TASKS and about(asked) == {"name": "t", "arguments": {"n": 1}}
        assert [about(get) for get in gets] == [{"taskId": ID}] * 3
        for get in gets:
            assert declared(get) == WITH_TASKS
            assert get.headers["mcp-method"] == "tasks/get" and get.headers["mcp-name"].startswith("=?base64?")
        assert server.asked("tasks/cancel") == []


@pytest.mark.parametrize(
    ("client", "meta", "said"),
    [
        ("2026-07-28", TAKES_TASKS, WITH_TASKS),
        ("2026-07-28", {}, {}),
        ("2025-11-25", {}, WITH_TASKS),
        ("", {}, WITH_TASKS),
    ],
    ids=["declares it", "does not declare it", "could not declare it", "the gateway itself"],
)
async def test_a_server_may_make_a_task_unless_its_client_could_have_said_so_and_did_not(
    client: str, meta: Message, said: Message
) -> None:
    async with serving(TaskServer({"tools/call": [DONE]})) as server, pool_of(http(server.url)) as world:
        await call(world, meta=meta, client=client)
        [asked] = server.asked("tools/call")
        assert declared(asked) == said


async def test_a_task_that_failed_is_the_error_it_failed_with_and_its_id_is_not_told() -> None:
    error = {"code": -32050, "message": f"Task {ID} broke", "data": {"id": ID}, "x-vendor": 1}
    answers = {"tools/call": [CREATED], "tasks/get": [task("failed", error=error)]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        got = await call(world)
        assert got.kind is ReplyKind.ERROR
        assert got.payload == {"code": -32050, "message": "Task (task) broke", "x-vendor": 1}


async def test_what_a_task_failed_with_is_otherwise_passed_on_whole() -> None:
    error = {"code": -32050, "message": "broke", "data": {"why": [None, 1]}}
    answers = {"tools/call": [CREATED], "tasks/get": [task("failed", error=error)]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        assert (await call(world)).payload == error


async def test_what_a_task_says_of_itself_is_progress_told_once() -> None:
    looks = [task(statusMessage="half"), task(statusMessage="half"), task("completed", result=DONE, statusMessage="whole")]
    answers = {"tools/call": [task(resultType="task", statusMessage=f"begun {ID}")], "tasks/get": looks}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        await call(world)
        assert [(notice.method, notice.params) for notice in world.notices] == [
            ("notifications/progress", {"progress": 1, "message": "begun (task)"}),
            ("notifications/progress", {"progress": 2, "message": "half"}),
            ("notifications/progress", {"progress": 3, "message": "whole"}),
        ]


async def test_what_a_task_asks_is_asked_of_the_caller_once_and_answered_to_the_task() -> None:
    asks = task("input_required", inputRequests={"a": FORM})
    more = task("input_required", inputRequests={"a": FORM, "b": {"method": "roots/list"}})
    answers = {
        "tools/call": [CREATED],
        "tasks/get": [asks, asks, more, task(), task("completed", result=DONE)],
        "tasks/update": [{"resultType": "complete"}],
    }
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        caller = Caller({"elicitation/create": {"action": "decline"}, "roots/list": {"roots": []}})
        assert (await call(world, interview=caller)).payload == DONE
        assert [question.method for question in caller.asked] == ["elicitation/create", "roots/list"]
        assert [about(update) for update in server.asked("tasks/update")] == [
            {"taskId": ID, "inputResponses": {"a": {"action": "decline"}}},
            {"taskId": ID, "inputResponses": {"b": {"roots": []}}},
        ]
        assert declared(server.asked("tools/call")[0]) == {**ALL, **WITH_TASKS}
        assert len(server.asked("tools/call")) == 1


async def test_a_caller_who_answers_by_calling_again_answers_the_task_and_no_call_is_made_again() -> None:
    answers = {
        "tools/call": [CREATED],
        "tasks/get": [task("input_required", inputRequests={"a": FORM, "b": FORM}), task("completed", result=DONE)],
        "tasks/update": [{"resultType": "complete"}],
    }
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        caller = day("Monday", declares=FORMS, in_rounds=True)
        asked = await call(world, interview=caller)
        assert asked.asks and asked.payload["inputRequests"] == {"a": FORM, "b": FORM}
        assert server.asked("tasks/cancel") == []
        responses = {"a": {"action": "accept", "content": {"day": "Monday"}}}
        brought = {"inputResponses": responses, "requestState": asked.payload["requestState"]}
        got = await world.call("t", {"n": 1, "mcpgw/answers": brought}, meta=TAKES_TASKS, interview=caller)
        assert got.payload == DONE
        [update] = server.asked("tasks/update")
        assert about(update) == {"taskId": ID, "inputResponses": responses}
        assert len(server.asked("tools/call")) == 1


async def test_a_caller_who_comes_back_with_some_answers_is_asked_for_the_others() -> None:
    asks = task("input_required", inputRequests={"a": FORM, "b": FORM})
    answers = {"tools/call": [CREATED], "tasks/get": [asks], "tasks/update": [{"resultType": "complete"}]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        caller = day("Monday", declares=FORMS, in_rounds=True)
        state = (await call(world, interview=caller)).payload["requestState"]
        for responses, left in (({}, ["a", "b"]), ({"b": {"action": "cancel"}}, ["a"])):
            brought = {"mcpgw/answers": {"inputResponses": responses, "requestState": state}}
            asked = await world.call("t", brought, meta=TAKES_TASKS, interview=caller)
            assert [*asked.payload["inputRequests"]] == left
        assert len(server.asked("tasks/update")) == 1


async def test_questions_before_the_task_and_in_it_compose() -> None:
    answers = {
        "tools/call": [{"resultType": "input_required", "inputRequests": {"who": FORM}, "requestState": "s"}, CREATED],
        "tasks/get": [task("input_required", inputRequests={"a": FORM}), task("completed", result=DONE)],
        "tasks/update": [{"resultType": "complete"}],
    }
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        caller = day("Monday", declares=FORMS)
        assert (await call(world, interview=caller)).payload == DONE
        assert len(caller.asked) == 2
        assert about(server.asked("tools/call")[1])["requestState"] == "s"


async def test_a_task_whose_question_is_not_answered_is_cancelled() -> None:
    answers = {"tools/call": [CREATED], "tasks/get": [task("input_required", inputRequests={"a": FORM})]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        with pytest.raises(UpstreamError, match="The caller's client is not there") as refused:
            await call(world, interview=Caller({}))
        assert refused.value.sent
        [cancel] = server.asked("tasks/cancel")
        assert about(cancel) == {"taskId": ID} and declared(cancel) == WITH_TASKS
        with pytest.raises(UpstreamError, match="told that it may ask nothing"):
            await call(world)
        assert len(server.asked("tasks/cancel")) == 2


async def test_the_task_of_a_caller_who_left_is_cancelled() -> None:
    async with (
        serving(TaskServer({"tools/call": [CREATED], "tasks/get": [task()]})) as server,
        pool_of(http(server.url)) as world,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: call(world))
            await server.until("tasks/get")
            tasks.cancel_scope.cancel()
        [cancel] = server.asked("tasks/cancel")
        assert about(cancel) == {"taskId": ID}


@pytest.mark.parametrize("cancelled", [{"resultType": "complete"}, {"error": {"code": -32602, "message": "no"}}])
async def test_a_task_that_never_ends_is_cancelled_when_the_time_of_its_call_is_over(cancelled: Message) -> None:
    answers = {"tools/call": [CREATED], "tasks/get": [task()], "tasks/cancel": [cancelled]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(TimeoutError):
            await call(world, timeout_s=0.5)
        assert len(server.asked("tasks/get")) <= 6, "it is not asked more often than ten times a second"
        assert len(server.asked("tasks/cancel")) == 1


async def test_a_server_that_does_not_even_take_the_cancellation_is_waited_for_two_seconds() -> None:
    answers = {"tools/call": [CREATED], "tasks/get": [{"silent": True}], "tasks/cancel": [{"silent": True}]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(TimeoutError):
            await call(world, timeout_s=0.3)
        assert len(server.asked("tasks/cancel")) == 1


async def test_a_task_is_not_looked_at_before_its_server_wants_it_to_be() -> None:
    answers = {"tools/call": [{**CREATED, "pollIntervalMs": 10**9}], "tasks/get": [task("completed", result=DONE)]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(TimeoutError):
            await call(world, timeout_s=0.3)
        assert server.asked("tasks/get") == []


async def test_a_task_that_has_ended_when_it_is_made_is_looked_at_at_once() -> None:
    answers = {
        "tools/call": [{**CREATED, "status": "completed", "pollIntervalMs": 10**9}],
        "tasks/get": [task("completed", result=DONE)],
    }
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        assert texts(await call(world, timeout_s=2)) == ["done"]


LIES: Mapping[str, tuple[Mapping[str, list[Message]], str]] = {
    "another task": ({"tasks/get": [{**task("completed", result=DONE), "taskId": "other"}]}, "told of another task"),
    "no id at all": ({"tools/call": [{"resultType": "task", "status": "working"}]}, "without an id"),
    "an endless id": ({"tools/call": [{**CREATED, "taskId": "x" * 513}]}, "without an id"),
    "no status": ({"tasks/get": [{"taskId": ID}]}, "in a form that its protocol does not know"),
    "a status of its own": ({"tasks/get": [task("dreaming")]}, "in a form that its protocol does not know"),
    "no result": ({"tasks/get": [task("completed")]}, "a task's result that is none"),
    "a list for a result": ({"tasks/get": [task("completed", result=[1])]}, "a task's result that is none"),
    "a task for a result": ({"tasks/get": [task("completed", result=CREATED)]}, "a task's result that is none"),
    "a question for a result": (
        {"tasks/get": [task("completed", result={"resultType": "input_required", "requestState": "s"})]},
        "a task's result that is none",
    ),
    "an error that is none": ({"tasks/get": [task("failed", error={"code": "x", "message": "y"})]}, "an error that is none"),
    "failed without one": ({"tasks/get": [task("failed")]}, "an error that is none"),
    "questions that are none": ({"tasks/get": [task("input_required", inputRequests=[])]}, "in a form that its protocol"),
    "cancelled by itself": ({"tasks/get": [task("cancelled")]}, "cancelled the task that it had made"),
    "vanished": ({"tasks/get": [{"error": {"code": -32602, "message": ID}}]}, r"what became of the task .*error -32602"),
    "a state of the gateway's": (
        {"tools/call": [{"resultType": "input_required", "requestState": 'mcpgw/task:["x"]'}]},
        "none of its own",
    ),
    "answers not taken": (
        {
            "tasks/get": [task("input_required", inputRequests={"a": FORM})],
            "tasks/update": [{"error": {"code": -32602, "message": ID}}],
        },
        r"does not take the answers .*error -32602",
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_server_that_breaks_the_extension_fails_its_call_and_nothing_else(lie: str) -> None:
    answers, told = LIES[lie]
    async with serving(TaskServer({"tools/call": [CREATED], **answers})) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(UpstreamError, match=told) as failed:
            await call(world, interview=day("Monday"))
        assert failed.value.sent and ID not in str(failed.value)
        server.left["tools/call"] = [DONE]
        assert texts(await call(world)) == ["done"]


async def test_a_task_that_nobody_said_may_be_made_is_cancelled_and_not_followed() -> None:
    async with serving(TaskServer({"tools/call": [CREATED]})) as server, pool_of(http(server.url)) as world:
        with pytest.raises(UpstreamError, match="told that its caller takes none"):
            await call(world, meta={})
        assert server.asked("tasks/get") == [] and len(server.asked("tasks/cancel")) == 1


async def test_a_proxy_that_fails_now_and_then_does_not_end_the_call() -> None:
    bad = {"status_line": "502 Bad Gateway"}
    answers = {"tools/call": [CREATED], "tasks/get": [bad, task("completed", result=DONE)]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        assert texts(await call(world)) == ["done"]


async def test_a_server_that_cannot_be_asked_about_its_task_any_more_may_have_had_an_effect() -> None:
    """What was not sent was the question about the task; the call had been taken."""
    async with (
        serving(TaskServer({"tools/call": [CREATED], "tasks/get": [task()]})) as server,
        pool_of(http(server.url)) as world,
    ):
        failures: list[UpstreamError] = []

        async def make() -> None:
            with pytest.raises(UpstreamError) as failed:
                await call(world)
            failures.append(failed.value)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(make)
                await server.until("tasks/get")
                world.pool.configure({})
        assert [failure.sent for failure in failures] == [True]


async def test_a_result_beyond_the_size_limit_ends_its_call_alone() -> None:
    long = {"content": [{"type": "text", "text": "x" * 20_000_001}]}
    answers = {"tools/call": [CREATED], "tasks/get": [task("completed", result=long)]}
    async with serving(TaskServer(answers)) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(20), pytest.raises(UpstreamError, match="size limit"):
            await call(world)
        server.left["tools/call"] = [DONE]
        assert texts(await call(world)) == ["done"]


@pytest.mark.parametrize(
    ("wanted_ms", "waited_s"),
    [(0, 0.1), (-1, 0.1), (250, 0.25), (10**9, 5.0), (10**400, 5.0), (1.5e300, 5.0), (None, 1.0), ("1", 1.0), (True, 1.0)],
)
def test_a_server_is_asked_as_often_as_it_likes_within_bounds(wanted_ms: object, waited_s: float) -> None:
    assert poll_s(wanted_ms) == waited_s


# --- 2025-11-25 ----------------------------------------------------------------------------------------------------------

REQUIRED = {"execution": {"taskSupport": "required"}}
CAN: Message = {"tools": {}, "tasks": {"cancel": {}, "requests": {"tools": {"call": {}}}}}


def legacy(answers: Mapping[str, list[Message]], tool: Message = REQUIRED, can: Message = CAN) -> TaskServer:
    server = TaskServer(answers, modern=False, tool=tool)
    server.can = can
    return server


def old(status: str = "working", **more: Any) -> Message:
    return {"taskId": ID, "status": status, **TIMES, "ttl": None, "pollInterval": 1, **more}


RESULT: Message = {"content": DONE["content"], "_meta": {"io.modelcontextprotocol/related-task": {"taskId": ID}}}


async def test_a_tool_that_works_only_as_a_task_is_called_as_one_and_its_result_fetched() -> None:
    answers = {"tools/call": [{"task": old()}], "tasks/get": [old(), old("completed")], "tasks/result": [RESULT]}
    async with serving(legacy(answers)) as server, pool_of(http(server.url)) as world:
        assert (await call(world)).payload == {"content": DONE["content"]}
        [asked] = server.asked("tools/call")
        assert about(asked) == {"name": "t", "arguments": {"n": 1}, "task": {"ttl": 3_600_000}}
        assert CLIENT_CAPABILITIES_META_KEY not in asked.body["params"]["_meta"]
        assert [about(one) for one in server.asked("tasks/get")] == [{"taskId": ID}] * 2
        assert about(server.asked("tasks/result")[0]) == {"taskId": ID}
        assert server.asked("tasks/cancel") == []


@pytest.mark.parametrize(
    ("tool", "can"),
    [
        ({"execution": {"taskSupport": "optional"}}, CAN),
        ({"execution": None}, CAN),
        ({}, CAN),
        (REQUIRED, {"tools": {}, "tasks": {}}),
    ],
)
async def test_every_other_tool_is_called_plainly(tool: Message, can: Message) -> None:
    async with serving(legacy({"tools/call": [RESULT]}, tool, can)) as server, pool_of(http(server.url)) as world:
        await call(world)
        assert "task" not in server.asked("tools/call")[0].body["params"]


async def test_a_server_that_answers_at_once_all_the_same_is_taken_at_its_word() -> None:
    async with serving(legacy({"tools/call": [{"content": DONE["content"]}]})) as server, pool_of(http(server.url)) as world:
        assert texts(await call(world)) == ["done"]


async def test_the_rest_of_a_results_metadata_is_passed_on() -> None:
    result = {**RESULT, "_meta": {**RESULT["_meta"], "x": 1}}
    answers = {"tools/call": [{"task": old("completed")}], "tasks/result": [result]}
    async with serving(legacy(answers)) as server, pool_of(http(server.url)) as world:
        assert (await call(world)).payload["_meta"] == {"x": 1}


async def test_a_server_that_asks_is_waited_for_on_the_stream_of_the_result() -> None:
    answers = {"tools/call": [{"task": old()}], "tasks/get": [old("input_required")], "tasks/result": [RESULT]}
    async with serving(legacy(answers)) as server, pool_of(http(server.url)) as world:
        assert texts(await call(world)) == ["done"]


async def test_a_server_that_does_not_wait_with_the_result_is_looked_at_again() -> None:
    not_yet = {"error": {"code": -32602, "message": "not yet"}}
    answers = {
        "tools/call": [{"task": old("input_required")}],
        "tasks/get": [old(), old("completed")],
        "tasks/result": [not_yet, RESULT],
    }
    async with serving(legacy(answers)) as server, pool_of(http(server.url)) as world:
        assert texts(await call(world)) == ["done"]


async def test_the_error_of_a_task_is_the_calls_without_the_tasks_id() -> None:
    error = {"error": {"code": -32603, "message": f"Task {ID} has no result"}}
    answers = {"tools/call": [{"task": old()}], "tasks/get": [old("failed")], "tasks/result": [error]}
    async with serving(legacy(answers)) as server, pool_of(http(server.url)) as world:
        got = await call(world)
        assert (got.kind, got.payload["message"]) == (ReplyKind.ERROR, "Task (task) has no result")


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ({"tasks/get": [old("cancelled")]}, "cancelled the task"),
        ({"tasks/get": [old("dreaming")]}, "in a form that its protocol does not know"),
        ({"tasks/get": [old("completed")], "tasks/result": [{"task": old()}]}, "a task's result that is none"),
        ({"tools/call": [{"task": {"status": "working"}}]}, "without an id"),
    ],
)
async def test_a_server_that_breaks_its_protocol_fails_its_call_alone(answers: Mapping[str, list[Message]], told: str) -> None:
    async with serving(legacy({"tools/call": [{"task": old()}], **answers})) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(UpstreamError, match=told):
            await call(world)


@pytest.mark.parametrize(("can", "cancelled"), [(CAN, 1), ({"tools": {}, "tasks": {"requests": CAN["tasks"]["requests"]}}, 0)])
async def test_a_task_is_cancelled_where_the_server_takes_that(can: Message, cancelled: int) -> None:
    answers = {"tools/call": [{"task": old()}], "tasks/get": [old()], "tasks/cancel": [old("cancelled")]}
    async with serving(legacy(answers, can=can)) as server, pool_of(http(server.url)) as world:
        with anyio.fail_after(5), pytest.raises(TimeoutError):
            await call(world, timeout_s=0.3)
        assert len(server.asked("tasks/cancel")) == cancelled
