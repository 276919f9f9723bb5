"""Live reload with real files: edits come into force, invalid ones do not, and both are told."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from mcpgw.catalog.registry import Change, Registry
from mcpgw.catalog.watch import watch
from mcpgw.core.model import TargetKind
from tests.catalog.conftest import STDIO, Accept, Write, tool, tools


@asynccontextmanager
async def watching(registry: Registry) -> AsyncIterator[Callable[[], "anyio.Event"]]:
    """Run the watch; the function given makes an event that the next change sets."""
    events: list[anyio.Event] = []

    def told(_: Change) -> None:
        for event in events:
            event.set()

    def next_change() -> anyio.Event:
        events.append(anyio.Event())
        return events[-1]

    registry.on_change(told)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch, registry)
            yield next_change
            tasks.cancel_scope.cancel()


def alarm(registry: Registry) -> anyio.Event:
    """Return an event that the next change of `registry.problem` sets."""
    event = anyio.Event()
    registry.on_problem(lambda _: event.set())
    return event


def take_away(folder: Path) -> None:
    folder.rmdir()


def bring_back(folder: Path) -> None:
    folder.mkdir()


async def test_a_new_file_and_an_acceptance_come_into_force(folder: Path, write: Write, accepting: Accept) -> None:
    registry = Registry(folder)

    async with watching(registry) as next_change:
        change = next_change()
        write("bank", STDIO)
        await change.wait()
        assert list(registry.servers) == ["bank"]

        registry.update_definitions("bank", tools(tool("pay")))
        change = next_change()
        accepting({"bank": tools(tool("pay"))})
        await change.wait()
        assert [target.name for target in registry.targets(TargetKind.TOOL)] == ["bank__pay"]


async def test_a_file_that_goes_takes_its_server_along(folder: Path, write: Write, accepting: Accept) -> None:
    path = write("bank", STDIO + 'unavailable = "list"')
    accepting({"bank": tools(tool("pay"))})
    registry = Registry(folder)
    assert len(registry.targets(TargetKind.TOOL)) == 1

    async with watching(registry) as next_change:
        change = next_change()
        path.unlink()
        await change.wait()
        assert list(registry.targets(TargetKind.TOOL)) == []


async def test_an_invalid_edit_is_refused_loudly_and_the_old_catalog_stays(
    folder: Path, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write("bank", STDIO)
    registry = Registry(folder)

    async with watching(registry) as next_change:
        rung = alarm(registry)
        write("bank", STDIO.replace("command", "comand"))
        await rung.wait()
        assert "catalog/bank.toml:2: unknown key `comand`. Did you mean `command`?" in registry.problem
        assert list(registry.servers) == ["bank"]
        assert registry.servers["bank"].command == "server"
        assert any(record.levelno == logging.ERROR and "comand" in record.message for record in caplog.records)

        change = next_change()
        write("bank", STDIO.replace("server", "other"))
        await change.wait()
        assert registry.problem == ""
        assert registry.servers["bank"].command == "other"


async def test_what_changed_before_the_watch_began_counts_too(folder: Path, write: Write) -> None:
    registry = Registry(folder)
    write("bank", STDIO)

    async with watching(registry) as next_change:
        await next_change().wait()
        assert list(registry.servers) == ["bank"]


async def test_a_file_swapped_behind_a_symbolic_link_is_noticed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(STDIO)
    (tmp_path / "two.toml").write_text(STDIO.replace("server", "other"))
    (tmp_path / "now").symlink_to(tmp_path / "one.toml")
    (folder / "bank.toml").symlink_to(tmp_path / "now")
    registry = Registry(folder)

    async with watching(registry) as next_change:
        change = next_change()
        (tmp_path / "next").symlink_to(tmp_path / "two.toml")
        (tmp_path / "next").replace(tmp_path / "now")
        await change.wait()
        assert registry.servers["bank"].command == "other"


async def test_a_dangling_link_is_refused_and_not_ignored(folder: Path, tmp_path: Path) -> None:
    registry = Registry(folder)

    async with watching(registry):
        rung = alarm(registry)
        (folder / "bank.toml").symlink_to(tmp_path / "nowhere.toml")
        await rung.wait()
        assert "catalog/bank.toml: cannot be read" in registry.problem


async def test_a_folder_in_which_nothing_changes_is_not_read_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    registry = Registry(folder)

    with caplog.at_level(logging.INFO), anyio.move_on_after(2.5):
        await watch(registry)

    assert caplog.text.count("servers in force") == 1


async def test_where_no_notice_can_be_had_the_folder_is_looked_at_all_the_same(folder: Path, write: Write) -> None:
    registry = Registry(folder)
    take_away(folder)
    rung = alarm(registry)

    async with watching(registry) as next_change:
        await rung.wait()
        assert registry.problem == "catalog/: there is no such folder. Run mcpgw init."

        change = next_change()
        bring_back(folder)
        write("bank", STDIO)
        await change.wait()
        assert list(registry.servers) == ["bank"]
