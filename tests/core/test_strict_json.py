"""JSON from strangers means one thing or is refused."""

import pytest

from mcpgw.core.strict_json import loads


@pytest.mark.parametrize("text", ['{"a": 1}', b'{"a": 1}', '{\n"a":1}'])
def test_what_everybody_reads_alike_is_read(text: str | bytes) -> None:
    assert loads(text) == {"a": 1}


@pytest.mark.parametrize(
    "text",
    ['{"a": 1, "a": 2}', "NaN", "-Infinity", '"\\ud800"', b'"\xff"', "[" * 100_000, "", "{}{}"],
    ids=["a key twice", "NaN", "infinity", "a lone surrogate", "no UTF-8", "too deep", "nothing", "two values"],
)
def test_what_two_readers_could_read_differently_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        loads(text)
