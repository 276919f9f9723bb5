"""Findings that overlap become one, named by the surer; memory is bounded."""

from collections import OrderedDict

from mcpgw.redaction.findings import Finding, resolve
from mcpgw.redaction.memory import ENTRIES, remember


def test_overlapping_findings_are_masked_as_one_under_the_better_name() -> None:
    weak, strong = Finding(0, 6, "A", "a", 0.5), Finding(4, 9, "B", "b", 0.9)
    assert resolve([strong, weak]) == [Finding(0, 9, "B", "b", 0.9)]
    assert resolve([weak, Finding(6, 8, "C", "c", 0.1)]) == [weak, Finding(6, 8, "C", "c", 0.1)]


def test_an_empty_finding_masks_nothing() -> None:
    assert resolve([Finding(3, 3, "A", "a", 1.0)]) == []


def test_a_full_memory_forgets_the_oldest() -> None:
    memory: OrderedDict[int, int] = OrderedDict((n, n) for n in range(ENTRIES))
    remember(memory, -1, 1)
    assert len(memory) == ENTRIES and 0 not in memory and memory[-1] == 1
