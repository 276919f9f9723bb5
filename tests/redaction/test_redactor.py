"""The door on real worker processes: what fails is refused, and the next call works."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from mcpgw.core.canonical import commitment
from mcpgw.core.errors import ConfigError, RedactionError
from mcpgw.core.model import (
    Call,
    Masked,
    Masking,
    RawJson,
    RawNotice,
    RawReply,
    ReplyKind,
    TargetKind,
    UnknownTarget,
)
from mcpgw.redaction import PresidioRedactor, Profile, RedactionConfig
from mcpgw.redaction.payload import payload_bytes
from tests.redaction.helpers import in_workers

MakeCall = Callable[..., Call]


def result(text: str) -> RawReply:
    return RawReply(kind=ReplyKind.RESULT, payload=RawJson({"content": [{"type": "text", "text": text}], "isError": False}))


async def test_a_reply_is_cleaned_committed_to_and_accounted_for(redactor: PresidioRedactor, make_call: MakeCall) -> None:
    raw = result("SSN 219-09-9999")
    clean = await redactor.clean(make_call(), raw)
    assert clean.payload == {"content": [{"type": "text", "text": "SSN <US_SSN>"}], "isError": False}
    assert clean.raw.digest == commitment(clean.raw.salt, payload_bytes(raw.payload))
    assert clean.raw.size == len(payload_bytes(raw.payload))
    assert clean.manifest.masked == (Masked("US_SSN", "content[*].text", "patterns@1", 1),)
    assert clean.manifest.profile == "default" and len(clean.manifest.profile_hash) == 64


async def test_arguments_errors_notices_and_resources_are_cleaned(redactor: PresidioRedactor, make_call: MakeCall) -> None:
    shown = await redactor.show(make_call({"ssn": "219-09-9999", "amount": 5}))
    assert shown.arguments == {"ssn": "<US_SSN>", "amount": 5}
    error = RawReply(
        kind=ReplyKind.ERROR, payload=RawJson({"code": -32000, "message": "no SSN 219-09-9999", "data": {"ssn": 219099999}})
    )
    assert (await redactor.clean(make_call(), error)).payload == {
        "code": -32000,
        "message": "no SSN <US_SSN>",
        "data": {"ssn": "<US_SSN>"},
    }
    notice = RawNotice(
        method="notifications/message", params=RawJson({"level": "info", "data": "for a@b.example", "logger": "x"})
    )
    assert (await redactor.clean_notice(make_call(), notice)).params == {"level": "info", "data": "for <EMAIL>", "logger": "x"}
    resource = {
        "type": "resource",
        "resource": {"uri": "bank://a/a%40b.example", "mimeType": "text/csv", "text": "ssn,n\n219099999,1\n219099998,2"},
    }
    link = {
        "type": "resource_link",
        "uri": "x://y",
        "name": "n",
        "title": "of Mr. Roe",
        "description": "SSN 219-09-9999",
        "_meta": {"k": "a@b.example"},
    }
    clean = await redactor.clean(make_call(), RawReply(kind=ReplyKind.RESULT, payload=RawJson({"content": [resource, link]})))
    embedded, linked = clean.payload["content"]
    assert embedded["resource"]["text"] == "ssn,n\n<US_SSN>,1\n<US_SSN>,2" and embedded["resource"]["uri"] == "bank://a/<EMAIL>"
    assert (linked["title"], linked["description"], linked["_meta"]) == ("of Mr. <PERSON>", "SSN <US_SSN>", {"k": "<EMAIL>"})


async def test_the_targets_own_columns_apply_and_an_unknown_target_has_none(
    redactor: PresidioRedactor, make_call: MakeCall
) -> None:
    call = make_call({"tier": "gold"}, Masking(columns=("tier",)))
    assert (await redactor.show(call)).arguments == {"tier": "<MASKED>"}
    unknown = Call(
        id="2",
        identity=call.identity,
        target=UnknownTarget(kind=TargetKind.TOOL, name="x"),
        arguments={"tier": "gold"},
        origin=call.origin,
    )
    assert (await redactor.show(unknown)).arguments == {"tier": "gold"}


async def test_odd_payloads_pass_whole(redactor: PresidioRedactor, make_call: MakeCall) -> None:
    odd = {"n": 10**400, "f": 1e308, "s": "lone \ud800 half", "e": "", "l": [], "o": {}, "\ud800": None}
    assert (await redactor.show(make_call(odd))).arguments == odd


REFUSED = [
    ({"a": 10**5000}, Masking(), "cannot be written as JSON"),
    ({"a": {1, 2}}, Masking(), "cannot be written as JSON"),
    ({"a": "x" * 5_000_000}, Masking(), "at most 4000000"),
    ({"a": "x"}, Masking(profile="absent"), "no redaction profile"),
    ({"a": "x"}, Masking(paths=("[",)), "not a path"),
]


@pytest.mark.parametrize(("arguments", "masking", "why"), REFUSED)
async def test_what_cannot_be_redacted_is_refused_in_words(
    redactor: PresidioRedactor, make_call: MakeCall, arguments: dict[str, object], masking: Masking, why: str
) -> None:
    with pytest.raises(RedactionError, match=why):
        await redactor.show(make_call(arguments, masking))


async def test_deep_nesting_is_refused_wherever_it_is_noticed(redactor: PresidioRedactor, make_call: MakeCall) -> None:
    for levels in (150, 900, 100_000):
        deep: list[object] = []
        for _ in range(levels):
            deep = [deep]
        with pytest.raises(RedactionError, match="nested"):
            await redactor.show(make_call({"a": deep}))
    assert (await redactor.show(make_call({"a": 1}))).arguments == {"a": 1}


async def test_a_hung_worker_is_killed_and_the_next_call_works(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers(timeout_s=1.5))
    await redactor.start()
    with anyio.fail_after(20):
        (pid,) = redactor.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(RedactionError, match="took too long"):
            await redactor.clean(make_call(), result("SSN 219-09-9999"))
        assert redactor.pids != (pid,)
        assert (await redactor.clean(make_call(), result("SSN 219-09-9999"))).payload["content"][0]["text"] == "SSN <US_SSN>"
        await redactor.aclose()


async def test_a_worker_that_dies_at_work_fails_its_call_alone(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers())
    await redactor.start()
    with anyio.fail_after(20):
        (pid,) = redactor.pids
        os.kill(pid, signal.SIGSTOP)
        async with anyio.create_task_group() as group:
            refused = anyio.Event()

            async def ask() -> None:
                with pytest.raises(RedactionError, match="ended while it was at work"):
                    await redactor.clean(make_call(), result("x"))
                refused.set()

            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            os.kill(pid, signal.SIGKILL)
            await refused.wait()
        assert (await redactor.clean(make_call(), result("SSN 219-09-9999"))).payload["content"][0]["text"] == "SSN <US_SSN>"
        await redactor.aclose()


async def test_a_worker_that_died_idle_is_replaced_before_the_next_call(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers())
    await redactor.start()
    with anyio.fail_after(20):
        os.kill(redactor.pids[0], signal.SIGKILL)
        while redactor.ready:
            await anyio.lowlevel.checkpoint()
        assert (await redactor.clean(make_call(), result("SSN 219-09-9999"))).payload["content"][0]["text"] == "SSN <US_SSN>"
        assert redactor.ready
        await redactor.aclose()


async def test_a_cancelled_call_leaves_a_working_redactor(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers())
    await redactor.start()
    with anyio.fail_after(20):
        os.kill(redactor.pids[0], signal.SIGSTOP)
        with anyio.move_on_after(0.05):
            await redactor.clean(make_call(), result("x"))
        assert (await redactor.clean(make_call(), result("SSN 219-09-9999"))).payload["content"][0]["text"] == "SSN <US_SSN>"
        await redactor.aclose()


async def test_a_late_job_leaves_it_ready_while_its_worker_is_replaced(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers(timeout_s=0.2))
    await redactor.start()
    assert redactor.ready and redactor.complete
    with anyio.fail_after(20):
        seen: list[bool] = []
        os.kill(redactor.pids[0], signal.SIGSTOP)
        async with anyio.create_task_group() as group:

            async def watch() -> None:
                while True:
                    seen.append(redactor.ready)
                    await anyio.sleep(0.001)

            group.start_soon(watch)
            with pytest.raises(RedactionError, match="took too long"):
                await redactor.clean(make_call(), result("x"))
            assert not redactor.complete
            await redactor.revive()
            group.cancel_scope.cancel()
        assert redactor.complete and all(seen)
        await redactor.aclose()


async def test_a_replacement_that_cannot_work_is_not_hoped_for_twice(
    make_call: MakeCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    redactor = PresidioRedactor(in_workers(timeout_s=0.2, wait_s=0.5))
    await redactor.start()
    with anyio.fail_after(20):
        os.kill(redactor.pids[0], signal.SIGSTOP)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(RedactionError, match="took too long"):
            await redactor.clean(make_call(), result("x"))
        assert redactor.ready
        while redactor.ready:
            with pytest.raises(RedactionError):
                await redactor.clean(make_call(), result("x"))
        await redactor.aclose()


async def test_many_calls_share_the_workers(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers(workers=2))
    await redactor.start()
    answers: list[str] = []

    async def ask(number: int) -> None:
        clean = await redactor.clean(make_call(), result(f"{number} SSN 219-09-9999"))
        answers.append(clean.payload["content"][0]["text"])

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(ask, number)
    assert sorted(answers) == sorted(f"{number} SSN <US_SSN>" for number in range(20))
    await redactor.aclose()


async def test_when_all_workers_are_busy_too_long_a_call_is_refused(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers(timeout_s=1, wait_s=0.3))
    await redactor.start()
    with anyio.fail_after(20):
        os.kill(redactor.pids[0], signal.SIGSTOP)
        reasons: list[str] = []

        async def ask() -> None:
            with pytest.raises(RedactionError) as refused:
                await redactor.clean(make_call(), result("x"))
            reasons.append(str(refused.value))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
        assert sorted(reasons) == ["it took too long (1 s)", "no worker was free (0.3 s)"]
        await redactor.aclose()


@pytest.mark.parametrize(("closed", "why"), [(False, "no worker was free"), (True, "not running")])
async def test_a_call_that_finds_no_free_worker_is_refused(make_call: MakeCall, closed: bool, why: str) -> None:
    redactor = PresidioRedactor(in_workers(timeout_s=1, wait_s=20 if closed else 0.3))
    await redactor.start()
    first, second = make_call(), make_call()
    second = replace(second, identity=replace(second.identity, subject="other"))
    with anyio.fail_after(20):
        os.kill(redactor.pids[0], signal.SIGSTOP)

        async def ask() -> None:
            with pytest.raises(RedactionError):
                await redactor.clean(first, result("x"))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            if closed:
                group.start_soon(redactor.aclose)
            with pytest.raises(RedactionError, match=why):
                await redactor.clean(second, result("x"))
        await redactor.aclose()


async def test_a_missing_model_is_named_with_what_to_install() -> None:
    redactor = PresidioRedactor(RedactionConfig(model="absent_model"))
    with pytest.raises(ConfigError, match="'absent_model' is not installed") as refused:
        await redactor.start()
    assert "pip install" in refused.value.hint
    assert not redactor.ready


async def test_a_package_that_is_no_model_is_refused() -> None:
    redactor = PresidioRedactor(RedactionConfig(model="json"))
    with pytest.raises(ConfigError, match="could not be loaded"):
        await redactor.start()


async def test_a_worker_without_memory_is_refused_at_the_start() -> None:
    redactor = PresidioRedactor(in_workers(memory_mb=8))
    with anyio.fail_after(20), pytest.raises((RedactionError, ConfigError)):
        await redactor.start()


async def test_a_start_that_takes_too_long_is_given_up() -> None:
    redactor = PresidioRedactor(RedactionConfig(start_timeout_s=0.05))
    with pytest.raises(RedactionError, match="not loaded within"):
        await redactor.start()


async def test_a_caller_who_takes_all_the_time_there_is_does_not_shut_the_others_out(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers(timeout_s=0.4))
    await redactor.start()
    greedy, others = make_call(), make_call()
    others = replace(others, identity=replace(others.identity, subject="other"))
    too_much = result("4111 1111 1111 1111 " * 190_000)

    async def ask_too_much() -> None:
        with pytest.raises(RedactionError):
            await redactor.clean(greedy, too_much)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(ask_too_much)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                clean = await redactor.clean(others, result("SSN 219-09-9999"))
                assert clean.payload["content"][0]["text"] == "SSN <US_SSN>"
            group.cancel_scope.cancel()
        await redactor.aclose()


async def test_a_caller_who_leaves_while_a_worker_is_replaced_costs_no_worker(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers())
    await redactor.start()
    with anyio.fail_after(20):
        for steps in range(10):
            if redactor.ready:
                os.kill(redactor.pids[0], signal.SIGKILL)
            while redactor.ready:
                await anyio.lowlevel.checkpoint()
            async with anyio.create_task_group() as group:
                group.start_soon(redactor.clean, make_call(), result("x"))
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()
        assert (await redactor.clean(make_call(), result("SSN 219-09-9999"))).payload["content"][0]["text"] == "SSN <US_SSN>"
        await redactor.aclose()


async def test_where_no_process_can_be_started_the_next_call_tries_again(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers())
    await redactor.start()
    await redactor.clean(make_call(), result("x"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with anyio.fail_after(20):
        os.kill(redactor.pids[0], signal.SIGKILL)
        while redactor.ready:
            await anyio.lowlevel.checkpoint()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            for _ in range(2):
                with pytest.raises(RedactionError):
                    await redactor.clean(make_call(), result("x"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await redactor.clean(make_call(), result("SSN 219-09-9999"))).payload["content"][0]["text"] == "SSN <US_SSN>"
        await redactor.aclose()


async def test_a_call_does_not_wait_for_ever_for_a_model_that_is_being_loaded(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(RedactionConfig(wait_s=0.05, inline_bytes=0))
    with anyio.fail_after(30):
        await redactor.begin()
        (pid,) = redactor.pids
        with pytest.raises(RedactionError, match="still being loaded"):
            await redactor.show(make_call({"a": 1}))
        await redactor.start()
        assert redactor.pids == (pid,), "it is not replaced for being asked too early"
        await redactor.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
async def test_closing_while_a_worker_is_replaced_leaves_no_process(make_call: MakeCall) -> None:
    for steps in range(8):
        redactor = PresidioRedactor(in_workers(timeout_s=0.1))
        with anyio.fail_after(20):
            await redactor.start()
            os.kill(redactor.pids[0], signal.SIGSTOP)
            async with anyio.create_task_group() as group:

                async def ask(redactor: PresidioRedactor = redactor) -> None:
                    with pytest.raises(RedactionError):
                        await redactor.clean(make_call(), result("x"))

                group.start_soon(ask)
                while redactor.complete:
                    await anyio.lowlevel.checkpoint()
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                await redactor.aclose()
        assert redactor.pids == () and workers_of_this_process() == []


def workers_of_this_process() -> list[str]:
    children = [pid for task in Path("/proc/self/task").glob("*/children") for pid in task.read_text().split()]
    return [pid for pid in children if b"mcpgw.redaction.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_one_text_is_cleaned_as_in_a_result(redactor: PresidioRedactor) -> None:
    text, manifest = await redactor.clean_text("SSN 219-09-9999", Masking())
    assert (text, [line.entity for line in manifest.masked]) == ("SSN <US_SSN>", ["US_SSN"])


async def test_calls_that_come_before_the_start_wait_for_it(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers())
    shown: list[object] = []

    async def ask() -> None:
        shown.append((await redactor.show(make_call({"ssn": "219-09-9999"}))).arguments)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await redactor.start()
        assert shown == [{"ssn": "<US_SSN>"}] * 2
        await redactor.aclose()


async def test_workers_that_were_begun_load_by_themselves_and_are_not_started_twice(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers(workers=2))
    with anyio.fail_after(20):
        await redactor.begin()
        begun = set(redactor.pids)
        assert len(begun) == 2 and not redactor.ready
        assert (await redactor.show(make_call({"ssn": "219-09-9999"}))).arguments == {"ssn": "<US_SSN>"}
        await redactor.start()
        assert set(redactor.pids) == begun and redactor.complete
        await redactor.aclose()


async def test_what_cannot_be_begun_is_told_by_the_start(monkeypatch: pytest.MonkeyPatch, make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers())
    with anyio.fail_after(20):
        with monkeypatch.context() as nowhere:
            nowhere.setattr(sys, "executable", "/nowhere/python")
            await redactor.begin()
            assert redactor.pids == () and not redactor.ready
            with pytest.raises(RedactionError, match="ended while it was loading"):
                await redactor.start()
        await redactor.start()
        assert redactor.ready
        await redactor.aclose()


async def test_a_call_learns_that_the_model_which_it_waited_for_cannot_be_loaded(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(RedactionConfig(model="absent_model"))

    async def ask() -> None:
        with pytest.raises(RedactionError):
            await redactor.show(make_call())

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ConfigError, match="is not installed"):
                await redactor.start()


async def test_before_start_and_after_close_everything_is_refused(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(in_workers(wait_s=0.05))
    with pytest.raises(RedactionError, match="not running"):
        await redactor.show(make_call())
    await redactor.start()
    await redactor.aclose()
    with pytest.raises(RedactionError, match="not running"):
        await redactor.show(make_call())


async def test_settings_reach_the_worker_whole(make_call: MakeCall) -> None:
    profiles = {"default": Profile(), "open": Profile(columns=("tier",), paths=("a.b",))}
    redactor = PresidioRedactor(in_workers(profiles=profiles, hash_key=b"x" * 16))
    await redactor.start()
    shown = await redactor.show(make_call({"tier": "gold", "a": {"b": 1}}, Masking(profile="open")))
    assert shown.arguments == {"tier": "<MASKED>", "a": {"b": "<MASKED>"}}
    await redactor.aclose()


async def test_the_model_works_in_a_worker(make_call: MakeCall) -> None:
    redactor = PresidioRedactor(RedactionConfig())
    with anyio.fail_after(30):
        await redactor.start()
        assert redactor.ready
        clean = await redactor.clean(make_call(), result("Marguerite Robaszkow visited the branch."))
        assert clean.payload["content"][0]["text"] == "<PERSON> visited the branch."
        await redactor.aclose()


def test_importing_the_room_loads_neither_spacy_nor_presidio() -> None:
    heavy = "('spacy', 'presidio_analyzer', 'numpy')"
    code = f"import mcpgw.redaction, sys; print([m for m in sys.modules if m.split('.')[0] in {heavy}])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_command_redacts_rows_as_a_client_would_get_them() -> None:
    rows = [{"id": "1", "text": "SSN 219-09-9999", "mime": "text/plain"}, {"id": "2", "text": "", "mime": "text/plain"}]
    source = "\n".join(map(json.dumps, rows)) + "\n\n"
    command = [sys.executable, "-m", "mcpgw", "redact", "--model", "none", "--manifest", "-C", os.devnull]
    out = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    first, second = map(json.loads, out.splitlines())
    masked = [{"entity": "US_SSN", "path": "content[*].text", "detector": "patterns@1", "count": 1}]
    assert (first, second) == ({"id": "1", "text": "SSN <US_SSN>", "masked": masked}, {"id": "2", "text": "", "masked": []})
    broken = subprocess.run(command, input="{}\n", capture_output=True, text=True, check=False)
    assert broken.returncode != 0 and "standard input:1" in broken.stderr
