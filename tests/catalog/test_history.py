"""The versions of a definition, from what stood in the catalog after each recorded change."""

from typing import Any

from mcpgw.catalog.history import Stood, tell, versions

NAMED = "tool bank__pay"


def stood(time_ns: int, description: str, *, accepted: bool = True) -> Stood:
    definition = {"name": "pay", "description": description}
    targets: dict[str, Any] = {NAMED: {"definition": definition, "definition_hash": f"hash of {description}"}}
    return Stood(
        time_ns=time_ns, actor="os:ann", was_accepted=accepted, targets={**(targets if description else {}), "server bank": "f"}
    )


def test_a_version_stands_until_the_next_and_says_who_accepted_it_and_what_it_changed() -> None:
    told = [stood(1, "Pays."), stood(2, "Pays."), stood(3, "Pays twice."), stood(4, ""), stood(5, "Pays.", accepted=False)]
    found = versions(NAMED, told)
    assert [(one.hash, one.since_ns, one.until_ns, one.accepted_by) for one in found] == [
        ("hash of Pays.", 1, 3, "os:ann"),
        ("hash of Pays twice.", 3, 4, "os:ann"),
        ("", 4, 5, "os:ann"),
        ("hash of Pays.", 5, 0, ""),
    ]
    assert {"    - Pays.", "    + Pays twice."} <= set(found[1].lines)
    heads = [line for line in tell(found, str) if not line.startswith(" ")]
    assert heads[2].startswith("4  gone") and heads[3] == "5  hash of Pays  found in the files, and stands"


def test_what_never_stood_has_no_history() -> None:
    assert versions("tool bank__other", [stood(1, "Pays.")]) == ()
