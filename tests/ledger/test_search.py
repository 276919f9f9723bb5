"""An auditor's questions: what is found is what one would find by reading every record, page by page, on either store."""

import itertools
import json
import random
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import pytest
from ledger_parts import Open, intent, opened, outcome, person, refusal, reply, settled, spend, vote
from stores import Kept

from mcpgw.core.entries import Event
from mcpgw.core.model import (
    CleanJson,
    Identity,
    Intent,
    Manifest,
    Masked,
    RefusalCode,
    Ruling,
)
from mcpgw.core.question import Place, Question, cursor, place_of
from mcpgw.ledger.journal import Ledger
from mcpgw.ledger.record import Members, parse, unpack
from mcpgw.ledger.search import TEXT_SLOTS, find, within_session
from mcpgw.ledger.store import Named, Query, Reading, StoredPayload, StoredRecord

SECOND_NS = 10**9
BEGIN_NS = 1_773_532_800 * SECOND_NS
"""2026-03-15T00:00Z."""
PEOPLE, TOOLS, RULES = (
    ("alice", "bob", "zoë"),
    ("bank__transfer", "bank__balance", "crm__look[up]"),
    ("r1", "large-\\transfers"),
)
WORDS = ("Straße 7", 'a "quoted" line\nand another', "\u202ehidden", "nothing")


class Clock:
    """A second for each record, give or take two: as hosts do that are not quite of one mind."""

    def __init__(self) -> None:
        self._random = random.Random(7)
        self._seconds = itertools.count()

    def __call__(self) -> int:
        return BEGIN_NS + (next(self._seconds) + self._random.randint(-2, 2)) * SECOND_NS


def made(rng: random.Random) -> Intent:
    who = rng.choice(PEOPLE)
    one = intent(who, rng.choice(TOOLS))
    groups = frozenset(rng.sample(("tellers", "leads", 'group with \\ and "'), rng.randint(0, 2)))
    identity: Identity = replace(person(who), groups=groups)
    masked = tuple(Masked(entity, "$.a", "pattern@1", 1) for entity in rng.sample(("US_SSN", "EMAIL"), rng.randint(0, 2)))
    shown = replace(
        one.shown,
        call=replace(one.shown.call, identity=identity),
        arguments=CleanJson({"memo": rng.choice(WORDS)}),
        manifest=Manifest(profile="default", profile_hash="ff" * 32, masked=masked),
    )
    ruling = Ruling(rule_ids=(rng.choice(RULES),), reason="", policy_hash="ee" * 32)
    return replace(one, shown=shown, allow=replace(one.allow, ruling=ruling))


async def tell(ledger: Ledger, numbers: range) -> None:
    rng = random.Random(numbers.start)
    for number in numbers:
        match number % 7:
            case 3:
                await ledger.append(refusal(rng.choice(PEOPLE), code=rng.choice([RefusalCode.DENIED, RefusalCode.UNKNOWN])))
            case 5:
                approval_id = f"a{number}"
                await ledger.append(opened(approval_id, key=approval_id, deadline_ns=2**62))
                await ledger.append(vote(approval_id, comment=rng.choice(WORDS)))
                await ledger.append(settled(approval_id, ballots=1))
                await ledger.append(outcome(await ledger.append(spend(approval_id))))
            case 6:
                await ledger.append(Event(kind="policy.activated", actor="os:admin", facts={"hash": "ab", "n": number}))
            case _:
                await ledger.append(outcome(await ledger.append(made(rng)), reply(rng.choice(WORDS))))


@pytest.fixture
async def store(anyio_backend: str, open_ledger: Open, kept: Kept) -> "Iterator[Reading]":
    async with open_ledger(clock=Clock(), session_idle_s=2.0) as ledger:
        await tell(ledger, range(30))
        await ledger.close_idle_sessions()
        await tell(ledger, range(30, 60))
    with closing(kept.database().connect_read_only()) as store:
        yield store


# --- what one would find by reading everything ---------------------------------------------------------------------------


@dataclass
class Told:
    """One record, read by hand."""

    record: StoredRecord
    members: Members
    text: str

    @property
    def results(self) -> list[object]:
        return [self.record.index[name] for name in ("decision", "outcome", "code")]


def read(store: Reading) -> list[Told]:
    payloads = store.payloads(0, 10_000)
    return [
        Told(one, parse(one.leaf), text(payload for payload in payloads if payload.seq == one.seq))
        for one in store.records(0, 10_000)
    ]


def expected(store: Reading, question: Question) -> list[int]:
    return among(read(store), question)


def among(log: list[Told], question: Question) -> list[int]:
    calls: dict[str, list[Told]] = {}
    for one in log:
        calls.setdefault(str(one.record.index["call_id"]), []).append(one)
    return [
        one.record.seq for one in log if matches(one, question, calls.get(str(one.record.index["call_id"]) or "none", [one]))
    ]


def matches(one: Told, asked: Question, call: list[Told]) -> bool:
    members, index = one.members, one.record.index
    who = str(index["principal"])
    plain = [
        not asked.who or fnmatchcase(who, asked.who) or fnmatchcase(who, f"*#{asked.who}"),
        not asked.group or asked.group in members.get("who", {}).get("groups", []),
        not asked.tool or fnmatchcase(str(index["target"]), asked.tool),
        asked.server in ("", index["server"]),
        not asked.kind or fnmatchcase(str(index["kind"]), asked.kind),
        asked.call in ("", index["call_id"]),
        asked.approval in ("", index["approval_id"]),
        asked.session in ("", index["session"]),
        asked.since_ns <= int(index["time_ns"]) <= asked.until_ns,
    ]
    if not all(plain):
        return False
    of_call = [
        [asked.rule in rules(part.members) for part in (one, *call)] if asked.rule else [],
        [asked.masked in masked(part.members) for part in (one, *call)] if asked.masked else [],
        [asked.decision in part.results for part in (one, *call)] if asked.decision else [],
        [asked.text.casefold() in part.text for part in (one, *call)] if asked.text else [],
    ]
    told = [found for found in of_call if found]
    return not told or (told[0][0] and all(any(found) for found in told))


def rules(members: Members) -> list[str]:
    return list(members.get("decision", {}).get("rules", []))


def masked(members: Members) -> set[str]:
    return {line[0] for manifest in members.get("masking", {}).values() for line in manifest["masked"]}


def text(payloads: Iterable[StoredPayload]) -> str:
    """All strings in clean payloads, as they were before they became JSON."""
    found: list[str] = []

    def walk(value: object) -> None:
        match value:
            case str():
                found.append(value)
            case dict():
                for name, one in value.items():
                    walk(name)
                    walk(one)
            case list():
                for one in value:
                    walk(one)

    for payload in payloads:
        if payload.slot in TEXT_SLOTS:
            walk(json.loads(unpack(payload.packed)))
    return "\n\n".join(found).casefold()


QUESTIONS = [
    Question(),
    Question(who="alice"),
    Question(who="https://idp.example#alice"),
    Question(who="https://idp.example#[ab]*"),
    Question(who="os:admin"),
    Question(who="al"),
    Question(who="zoë"),
    Question(group="tellers"),
    Question(group='group with \\ and "'),
    Question(tool="bank__t*"),
    Question(tool="crm__look[[]up]"),
    Question(server="crm"),
    Question(server="cr"),
    Question(kind="call.*"),
    Question(kind="policy.activated"),
    Question(kind="session.*"),
    Question(kind="call.outcome"),
    Question(kind="no.such"),
    Question(decision="deny"),
    Question(decision="unknown"),
    Question(decision="completed", who="bob"),
    Question(rule="r1"),
    Question(rule="large-\\transfers"),
    Question(masked="US_SSN"),
    Question(masked="US"),
    Question(text="STRASSE"),
    Question(text='"quoted" line\nand'),
    Question(text="\u202eHidden", kind="call.intent"),
    Question(text="memo"),
    Question(approval="a5"),
    Question(since_ns=BEGIN_NS + 20 * SECOND_NS, until_ns=BEGIN_NS + 40 * SECOND_NS),
    Question(until_ns=BEGIN_NS + 30 * SECOND_NS, tool="bank__transfer", who="alice"),
    Question(since_ns=2**62),
    Question(until_ns=1),
    # of one call's records, between them
    Question(rule="r1", decision="completed"),
    Question(rule="large-\\transfers", masked="EMAIL", text="straße"),
    Question(masked="US_SSN", decision="allow"),
    Question(decision="allow", text="quoted"),
    Question(decision="deny", text="[ssn]"),
    Question(rule="r1", text="quoted", kind="call.*", group="tellers"),
]


def test_what_is_found_is_what_reading_every_record_would_find(store: Reading) -> None:
    answers, log = {}, read(store)
    for question in QUESTIONS:
        found = find(store, question, limit=10_000)
        assert ([record.seq for record in found.records], found.rest) == (among(log, question), ()), question
        answers[question] = len(found.records)
    assert [question for question, count in answers.items() if not count] == [
        Question(who="al"),
        Question(server="cr"),
        Question(kind="no.such"),
        Question(masked="US"),
        Question(since_ns=2**62),
        Question(until_ns=1),
    ], "the others are there to be found"


@pytest.mark.parametrize(("limit", "effort"), [(1, 2**62), (7, 2**62), (7, 5), (100, 30)])
def test_pages_hold_everything_once_also_while_records_are_appended(
    limit: int, effort: int, store: Reading, kept: Kept, open_ledger: Open
) -> None:
    for question in (
        Question(),
        Question(who="alice", decision="completed"),
        Question(text="straße"),
        Question(rule="r1", text="quoted"),
    ):
        due = expected(store, question)
        seen: list[int] = []
        place = Place(question=question, before=store.size())
        for _ in range(500):
            found = find(store, place.question, before=place.before, limit=limit, effort=effort)
            assert len(found.records) <= limit
            seen = [*(record.seq for record in found.records), *seen]
            if not found.rest:
                break
            assert found.rest[0] < place.before
            place = place_of(cursor(replace(place, before=found.rest[0]), given_to="me"), given_to="me")
        assert seen == due


async def test_a_page_is_the_same_after_more_was_appended(store: Reading, open_ledger: Open) -> None:
    question = Question(kind="call.*")
    first = find(store, question, before=store.size(), limit=5)
    second = find(store, question, before=first.rest[0], limit=5)
    async with open_ledger() as ledger:
        await tell(ledger, range(100, 105))
    again = find(store, question, before=first.rest[0], limit=5)
    assert [one.seq for one in again.records] == [one.seq for one in second.records]


def test_a_session_is_found_by_its_ends(store: Reading) -> None:
    sessions = {str(record.index["session"]) for record in store.records(0, 10_000)} - {""}
    assert len(sessions) > 3
    closed = 0
    for session in sessions:
        found = find(store, Question(session=session), limit=10_000)
        assert [one.seq for one in found.records] == expected(store, Question(session=session))
        query = within_session(store, session, Query())
        closed += query.before_seq < store.size()
        assert query.after_seq == found.records[0].seq - 1 and len(query.principals) == 2
    assert closed


def test_a_session_that_no_record_opened_is_looked_for_everywhere(store: Reading) -> None:
    assert within_session(store, "s1", Query()) == Query(session="s1")
    assert find(store, Question(session="s1"), limit=10).records == []


def test_names_and_extent_are_what_the_log_has(store: Reading) -> None:
    records = store.records(0, 10_000)
    for column in Named:
        assert {*store.names(column, ["*"], 1000)} - {"call.intent", "call.outcome"} == {
            str(one.index[column]) for one in records
        } - {"call.intent", "call.outcome"}
    assert len(store.names(Named.PRINCIPAL, ["*"], 2)) == 2
    since, until = BEGIN_NS + 10 * SECOND_NS, BEGIN_NS + 20 * SECOND_NS
    within = [one.seq for one in records if since <= int(one.index["time_ns"]) <= until]
    assert store.extent(since, until) == (min(within), max(within) + 1)
    assert store.extent(2**62, 2**63 - 1) == (0, 0)


def test_a_glob_over_more_names_than_are_listed_is_compared_record_by_record(
    store: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcpgw.ledger.search._MOST_NAMES", 2)
    for question in (Question(who="*"), Question(tool="*__*"), Question(who="*", tool="bank__*", decision="completed")):
        assert [one.seq for one in find(store, question, limit=10_000).records] == expected(store, question)


def test_a_damaged_leaf_or_payload_matches_nothing_that_only_it_could_tell(store: Reading, kept: Kept) -> None:
    (seq, *_) = expected(store, Question(text="straße", kind="call.intent"))
    (rule,) = rules(parse(store.records(seq, 1)[0].leaf))
    due = expected(store, Question(rule=rule))
    with kept.tampering() as admin:
        admin.execute(f"UPDATE payloads SET body = x'01ff' WHERE seq = {seq}")
    assert seq not in found_anew(kept, Question(text="straße"))
    with kept.tampering() as admin:
        leaf = f'"{rule}"'.encode().hex() + "ff"
        admin.execute(f"UPDATE records SET leaf = x'{leaf}' WHERE seq = {seq}")
    assert found_anew(kept, Question(rule=rule)) == [one for one in due if one != seq]


def found_anew(kept: Kept, question: Question) -> list[int]:
    """On a connection of its own: another library was at the file."""
    with closing(kept.database().connect_read_only()) as store:
        return [one.seq for one in find(store, question, limit=10_000).records]
