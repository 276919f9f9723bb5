"""Questions of a server to the caller of a call: what stands between them, step by step, over the smallest doors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from mcpgw.core.answers import (
    ANSWERS,
    OPAQUE,
    Answers,
    Question,
    answers_of,
    capabilities,
    own_arguments,
    shown_reply,
    with_answers,
    without_state,
)
from mcpgw.core.entries import Interviewed
from mcpgw.core.errors import AuthenticationError, LedgerUnavailable, QuestionRefused, RedactionError
from mcpgw.core.model import (
    Allow,
    ApprovalRef,
    Call,
    CleanJson,
    CleanNotice,
    Commitment,
    Decision,
    Deny,
    Hold,
    Identity,
    IdentityKind,
    Intent,
    JsonObject,
    Manifest,
    Origin,
    RawJson,
    RawNotice,
    Ruling,
    Sealed,
    ShownCall,
    Target,
    TargetKind,
    UnknownTarget,
)
from mcpgw.core.terms import Terms
from mcpgw.interview import CallInterview

RULING = Ruling(rule_ids=("r",), reason="Because.", policy_hash="p")
ALICE = Identity(subject="alice", issuer="test", kind=IdentityKind.HUMAN, method="jwt")
TARGET = Target(
    kind=TargetKind.TOOL, name="s__t", server="s", server_fingerprint="f", upstream_name="t", definition={},
    definition_hash="d", questions=frozenset(Question),
)  # fmt: skip
CAN: JsonObject = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {"listChanged": True}}
CALL = Call(
    id="c",
    identity=ALICE,
    target=TARGET,
    arguments={"a": 1},
    origin=Origin(transport="http", protocol_version=""),
    declares=CAN,
)
APPROVED = ApprovalRef(id="apr", digest="d")
YES: JsonObject = {"action": "accept", "content": {"ssn": "078-05-1120"}}


def form(**more: Any) -> RawNotice:
    return RawNotice(method="elicitation/create", params=RawJson({"mode": "form", "message": "Who?", **more}))


def page(url: object) -> RawNotice:
    return form(mode="url", url=url)


@dataclass
class Doors:
    """Redactor, policy, journal and peer in one, each as the test wants it."""

    decision: Decision = field(default_factory=lambda: Allow(ruling=RULING))
    given: Callable[[], Mapping[str, JsonObject]] = field(default_factory=lambda: lambda: {"q": YES})
    caller: Callable[[], Identity] = field(default_factory=lambda: lambda: ALICE)
    clean: Callable[[RawNotice], dict[str, Any]] = field(default_factory=lambda: lambda notice: dict(notice.params))
    in_rounds: bool = False
    broken: bool = False
    log: list[tuple[str, JsonObject]] = field(default_factory=list)
    put: list[Mapping[str, CleanNotice]] = field(default_factory=list)
    judged: list[Call] = field(default_factory=list)

    async def show(self, call: Call) -> ShownCall:
        await anyio.lowlevel.checkpoint()
        clean = {ANSWERS: {"inputResponses": "(clean)"}}
        raw = Commitment(digest="", salt=b"", size=0)
        return ShownCall(call=call, arguments=CleanJson(clean), raw=raw, manifest=Manifest(profile="p", profile_hash="h"))

    async def clean_notice(self, call: Call, notice: RawNotice) -> CleanNotice:
        await anyio.lowlevel.checkpoint()
        return CleanNotice(method=notice.method, params=CleanJson(self.clean(notice)))

    def decide(self, call: Call) -> Decision:
        self.judged.append(call)
        return self.decision

    async def append(self, entry: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        if self.broken:
            raise LedgerUnavailable("the disk is full")
        assert isinstance(entry, Interviewed) and entry.intent.entry.shown.call.id == "c"
        self.log.append((entry.turn.value, entry.clean or entry.reason))

    async def identity(self) -> Identity:
        await anyio.lowlevel.checkpoint()
        return self.caller()

    async def answers(self, questions: Mapping[str, CleanNotice]) -> Mapping[str, JsonObject]:
        await anyio.lowlevel.checkpoint()
        self.put.append(questions)
        return self.given()

    def interview(self, call: Call = CALL, approval: ApprovalRef | None = None) -> CallInterview:
        shown = ShownCall(
            call=call,
            arguments=CleanJson({}),
            raw=Commitment(digest="", salt=b"", size=0),
            manifest=Manifest(profile="p", profile_hash="h"),
        )
        intent = Sealed(Intent(shown=shown, allow=Allow(ruling=RULING, approval=approval)), 0, "", "", 0)
        doors: Any = self
        return CallInterview(intent, doors, redactor=doors, policy=doors, journal=doors)


async def refusal(interview: CallInterview, question: RawNotice | None = None) -> str:
    with pytest.raises(QuestionRefused) as refused:
        await interview.ask({"q": question or form()})
    return str(refused.value)


async def test_question_and_answer_are_clean_and_durable_before_they_go_on() -> None:
    doors = Doors(clean=lambda notice: {**notice.params, "message": "<PERSON>?"})
    interview = doors.interview()
    assert await interview.ask({"q": form()}) == {"q": YES}
    asked = {"q": {"method": "elicitation/create", "params": {"mode": "form", "message": "<PERSON>?"}}}
    assert doors.log == [("asked", asked), ("answered", {"inputResponses": "(clean)"})]
    assert doors.put[0]["q"].params["message"] == "<PERSON>?"
    (judged,) = doors.judged
    assert own_arguments(judged.arguments) == {"a": 1} and answers_of(judged.arguments).responses == {"q": YES}
    assert interview.waited_ns > 0


async def test_nothing_is_asked_that_cannot_be_recorded() -> None:
    doors = Doors(broken=True)
    assert await refusal(doors.interview()) == "The gateway cannot write its record."
    assert not doors.put


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"decision": Deny(ruling=RULING)}, "The call may not go on with these answers: Because."),
        ({"decision": Hold(ruling=RULING, terms=Terms.simple(("group:x",)))}, "may not go on with these answers"),
        ({"caller": lambda: replace(ALICE, groups=frozenset({"new"}))}, "What the caller is entitled to changed meanwhile."),
    ],
)
async def test_an_answer_that_the_call_may_not_go_on_with_goes_no_further(change: dict[str, Any], why: str) -> None:
    doors = Doors(**change)
    assert why in await refusal(doors.interview())
    kinds = [kind for kind, _ in doors.log]
    assert kinds == ["asked", "unanswered"] and why in doors.log[1][1]


def raising(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


@pytest.mark.parametrize("broken", [False, True])
async def test_a_question_that_nobody_waits_for_any_more_is_on_record_as_unanswered(broken: bool) -> None:
    doors = Doors()
    asking = anyio.CancelScope()

    def leave() -> Mapping[str, JsonObject]:
        doors.broken = broken
        asking.cancel()
        return {"q": YES}

    doors.given = leave
    with asking:
        await doors.interview().ask({"q": form()})
    assert asking.cancelled_caught
    assert [turn for turn, _ in doors.log] == (["asked"] if broken else ["asked", "unanswered"])


async def test_a_question_that_is_taken_back_while_it_is_recorded_is_unanswered_too() -> None:
    asking = anyio.CancelScope()

    def clean(notice: RawNotice) -> dict[str, Any]:
        asking.cancel()
        return dict(notice.params)

    doors = Doors(clean=clean)
    with asking:
        await doors.interview().ask({"q": form()})
    assert asking.cancelled_caught and doors.put == []
    assert [turn for turn, _ in doors.log] == ["asked", "unanswered"]


async def test_a_question_that_fails_in_an_odd_way_is_on_record_as_unanswered() -> None:
    doors = Doors(given=lambda: {}["payload"])
    assert await refusal(doors.interview()) == "The gateway could not put the question."
    assert [turn for turn, _ in doors.log] == ["asked", "unanswered"] and "payload" not in str(doors.log[1])


async def test_whatever_goes_wrong_is_a_refusal_to_the_server_in_words_without_payload() -> None:
    late = Doors(given=raising(QuestionRefused("The caller did not answer in time.")))
    assert await refusal(late.interview()) == "The caller did not answer in time."
    assert [kind for kind, _ in late.log] == ["asked", "unanswered"]
    revoked = Doors(caller=raising(AuthenticationError("The key is revoked.")))
    assert await refusal(revoked.interview()) == "The key is revoked."

    def unclean(_: RawNotice) -> dict[str, Any]:
        raise RedactionError("it is too long")

    assert await refusal(Doors(clean=unclean).interview()) == "it is too long"
    assert (
        await refusal(Doors(given=raising(ValueError("078-05-1120"))).interview()) == "The gateway could not put the question."
    )


async def test_what_people_approved_is_not_added_to_unless_the_rule_says_so() -> None:
    strict = Doors().interview(approval=APPROVED)
    assert (strict.declares, strict.in_rounds) == ({}, False)
    assert "nobody approved" in await refusal(strict)
    in_rounds = Doors(in_rounds=True).interview(approval=APPROVED)
    assert in_rounds.in_rounds and in_rounds.declares, "the call that brings the answers is held as a call of its own"
    assert "nobody approved" in await refusal(in_rounds)
    lenient = replace(APPROVED, may_be_asked=True)
    held = Hold(ruling=RULING, terms=Terms.simple(("group:x",)))
    doors = Doors(in_rounds=True, decision=held)
    interview = doors.interview(approval=lenient)
    assert (interview.in_rounds, bool(interview.declares)) == (False, True)
    assert await interview.ask({"q": form()}) == {"q": YES}
    for other in (replace(RULING, policy_hash="new"), replace(RULING, rule_ids=("r", "another"))):
        doors.decision = replace(held, ruling=other)
        assert "may not go on" in await refusal(interview)
    assert Doors(in_rounds=True).interview().in_rounds, "a call that needed nobody is made again as it is"


@pytest.mark.parametrize(
    ("allowed", "can", "declared"),
    [
        (set(Question), CAN, {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {}}),
        ({Question.FORM}, CAN, {"elicitation": {"form": {}}}),
        ({Question.FORM, Question.URL}, {"elicitation": {}}, {"elicitation": {"form": {}}}),
        ({Question.URL}, {"elicitation": {}}, {}),
        ({Question.SAMPLING, Question.ROOTS}, {"sampling": True, "roots": None, "elicitation": 1}, {}),
        (set(), CAN, {}),
    ],
)
def test_a_server_may_ask_what_client_and_catalog_both_allow(
    allowed: set[Question], can: JsonObject, declared: JsonObject
) -> None:
    call = replace(CALL, target=replace(TARGET, questions=frozenset(allowed)), declares=can)
    assert Doors().interview(call).declares == declared


def test_a_name_that_nobody_publishes_asks_nothing() -> None:
    assert Doors().interview(replace(CALL, target=UnknownTarget(kind=TargetKind.TOOL, name="x"))).declares == {}


@pytest.mark.parametrize(
    "question",
    [
        RawNotice(method="tools/list", params=RawJson({})),
        form(mode="voice"),
        page("file:///etc/passwd"),
        page("https://bank.example@evil.example/"),
        page("https://"),
        page("http://[::1"),
        page(7),
    ],
)
async def test_what_was_not_declared_and_no_page_of_the_web_is_not_put(question: RawNotice) -> None:
    doors = Doors()
    assert "This caller cannot be asked for" in await refusal(doors.interview(), question)
    assert not doors.log


async def test_an_address_is_shown_as_it_is_or_not_at_all() -> None:
    doors = Doors(clean=lambda notice: {**notice.params, "url": "https://bank.example/<PERSON>"})
    assert "would lead elsewhere" in await refusal(doors.interview(), page("https://bank.example/Ann"))
    shown = Doors()
    await shown.interview().ask({"q": page("https://bank.example/pay")})
    assert shown.put[0]["q"].params["url"] == "https://bank.example/pay"


def test_what_can_be_asked_is_declared() -> None:
    assert capabilities(frozenset(Question)) == {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}
    assert capabilities(frozenset({Question.URL})) == {"elicitation": {"url": {}}}
    assert capabilities(frozenset({Question.ROOTS})) == {"roots": {}}


def test_answers_stand_among_the_arguments_and_come_apart_again() -> None:
    answers = Answers(responses={"q": YES}, state="opaque to us")
    together = with_answers({"a": 1}, answers)
    assert (own_arguments(together), answers_of(together)) == ({"a": 1}, answers)
    assert with_answers({"a": 1}, Answers()) == {"a": 1} and not answers_of({"a": 1})
    assert answers_of(with_answers({}, Answers(state="s"))) == Answers(state="s")
    assert answers_of(without_state(together)) == replace(answers, state=OPAQUE)
    assert without_state({"a": 1}) == {"a": 1}
    asking = {"resultType": "input_required", "requestState": "s"}
    assert shown_reply(asking) == {**asking, "requestState": OPAQUE}
    assert shown_reply({"requestState": "a field of its own"}) == {"requestState": "a field of its own"}
    assert shown_reply({"b": 1}) == {"b": 1}


ASKED = {"q": {"method": "elicitation/create", "params": {"mode": "form", "message": "Who?"}}}
ROOTS = {"q": {"method": "roots/list"}}
PAGE = {"q": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://bank.example/Ann"}}}


@pytest.mark.parametrize(
    ("raw", "clean", "why"),
    [
        ({"inputRequests": ASKED}, {"inputRequests": ASKED}, ""),
        ({"inputRequests": ROOTS}, {"inputRequests": ROOTS}, ""),
        ({"requestState": "s"}, {"requestState": OPAQUE}, ""),
        ({}, {}, "cannot be passed on"),
        ({"inputRequests": {}, "requestState": ""}, {"inputRequests": {}, "requestState": OPAQUE}, "cannot be passed on"),
        ({"inputRequests": [ASKED]}, {"inputRequests": [ASKED]}, "cannot be passed on"),
        ({"inputRequests": ASKED}, {"inputRequests": "<X>"}, "cannot be passed on"),
        ({"inputRequests": ASKED}, {"inputRequests": {"<PERSON>": ASKED["q"]}}, "cannot be passed on"),
        ({"inputRequests": {"q": 1}}, {"inputRequests": {"q": 1}}, "cannot be passed on"),
        ({"inputRequests": ROOTS}, {"inputRequests": {"q": {}}}, "cannot be passed on"),
        ({"inputRequests": {"q": {"method": "tools/list"}}}, {"inputRequests": {"q": {"method": "x"}}}, "asks for tools/list"),
        ({"inputRequests": PAGE}, {"inputRequests": ASKED}, "would lead elsewhere"),
    ],
)
def test_a_reply_that_asks_is_the_callers_only_if_the_question_could_be_put(
    raw: JsonObject, clean: JsonObject, why: str
) -> None:
    said = Doors(in_rounds=True).interview().objection(raw, clean)
    assert why in said and bool(said) == bool(why)
