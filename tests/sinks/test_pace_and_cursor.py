"""Pauses grow, stay bounded and differ; a cursor is old or new and moved by one process."""

from pathlib import Path

import pytest

from mcpgw.core.errors import ConfigError
from mcpgw.sinks.cursor import Cursor, CursorFile
from mcpgw.sinks.pace import Pace


def test_pauses_double_up_to_a_minute_with_jitter() -> None:
    pauses = [Pace().pause(failures) for failures in range(1, 200)]
    assert 0.25 <= pauses[0] <= 0.5
    assert all(30 <= pause <= 60 for pause in pauses[8:])
    assert len(set(pauses)) > 100


def test_what_the_receiver_asks_for_is_honoured_up_to_a_minute() -> None:
    assert Pace().pause(1, 20.0) == 20.0
    assert Pace().pause(1, 86_400.0) == 60.0


def test_a_cursor_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = CursorFile(tmp_path / "sinks", "soc")
    assert file.read() == Cursor()
    cursor = Cursor(seq=7, leaf_hash="ab", moved_ns=1, refused=2, problem="why", problem_since_ns=3)
    file.write(cursor)
    assert file.read() == cursor
    assert [path.name for path in (tmp_path / "sinks").iterdir()] == ["soc.json"]


@pytest.mark.parametrize("text", ["", "[]", '{"v": 2}', '{"seq": 1}', '{"v": 1, "sequence": 1}'])
def test_a_cursor_that_is_none_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "soc.json").write_text(text)
    with pytest.raises(ConfigError, match=r"soc\.json: the cursor cannot be understood") as caught:
        CursorFile(tmp_path, "soc").read()
    assert "first record" in caught.value.hint


def test_one_at_a_time_may_deliver(tmp_path: Path) -> None:
    one, two = CursorFile(tmp_path, "soc"), CursorFile(tmp_path, "soc")
    assert not one.is_taken()
    assert one.take()
    assert one.is_mine
    assert not two.take()
    assert two.is_taken()
    one.release()
    one.release()
    assert not two.is_taken()
    assert two.take()
    two.release()
