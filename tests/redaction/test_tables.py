"""A table's cells hold all of its text: nothing stands between them that nobody reads."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpgw.redaction.engine import Engine
from mcpgw.redaction.tables import tables
from tests.redaction.helpers import text_of


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('id,item\n1,pipe 5"\n2,SSN 219-09-9999 tube 6"\n3,x\n', 'id,item\n1,pipe 5"\n2,SSN <US_SSN> tube 6"\n3,x\n'),
        ('id,item,ssn\n1,5",219099998\n2,6",219099999\n3,x,\n', 'id,item,ssn\n1,5",<US_SSN>\n2,6",<US_SSN>\n3,x,\n'),
        ('id\titem\n1\t5" or\n2\t6" for a@b.example\n3\tx\n', 'id\titem\n1\t5" or\n2\t6" for <EMAIL>\n3\tx\n'),
        ('id,note\n1,"two\nlines 219-09-9999"\n2,x\n', 'id,note\n1,"two\nlines <US_SSN>"\n2,x\n'),
    ],
)
def test_a_quote_that_holds_nothing_together_hides_no_line(engine: Engine, text: str, clean: str) -> None:
    assert text_of(engine, text) == clean


_pieces = st.sampled_from(["x", "1", '"', '""', ",", "\t", ";", "|", "\n", "\n", " ", "\r\n", "a b", '5"', "-"])


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["a,b\n", "a\tb\tc\n", "a;b\n", "|a|b|\n|---|---|\n", "a|b\n--+--\n"]), st.lists(_pieces, max_size=40))
def test_every_sign_below_a_tables_head_is_in_a_cell_or_between_two(head: str, pieces: list[str]) -> None:
    text = head + "".join(pieces)
    for table in [table for table in tables(text) if table.start == 0]:
        read = {at for row in table.rows for cell in row for at in range(cell.start, cell.end)}
        unread = "".join(text[at] for at in range(table.start + len(head), table.end) if at not in read)
        assert not unread.strip(" \t\r\n,;|"), (text, unread)
