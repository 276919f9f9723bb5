"""The way of a server's question to the caller of a call under way, and of the answer back: part of the corridor.

Both are redacted and durable before they go on, and policy judges the call once more with what was answered. What an approval
was given for has no answers in it, so the server of such a call asks nothing, unless the rule that held it says that it may.
"""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

import anyio

from mcpgw.core.answers import ANSWERS, STATE, Answers, Question, answers_of, with_answers
from mcpgw.core.entries import Interviewed, Turn
from mcpgw.core.errors import AuthenticationError, GatewayError, LedgerUnavailable, QuestionRefused, RedactionError
from mcpgw.core.model import (
    Call,
    CleanNotice,
    Decision,
    Deny,
    Hold,
    Intent,
    JsonObject,
    RawJson,
    RawNotice,
    Sealed,
    Target,
)
from mcpgw.ports import Journal, Peer, Policy, Redactor

logger = logging.getLogger(__name__)

_ELICIT: Final = "elicitation/create"
_METHODS: Final[Mapping[str, Question]] = {"sampling/createMessage": Question.SAMPLING, "roots/list": Question.ROOTS}
_ELSEWHERE: Final = "The address holds what may not be shown, and would lead elsewhere without it."
_OVER: Final = "The server took the question back, or the call ended, before it was answered."
_FAILED: Final = "The gateway could not put the question."
_NOT_APPROVED: Final = "The call was approved as it was, and what its caller answers now nobody approved."


class CallInterview:
    """Implements `ports.Interview` for one permitted call."""

    def __init__(self, intent: Sealed[Intent], peer: Peer, *, redactor: Redactor, policy: Policy, journal: Journal) -> None:
        self._intent = intent
        self._call = intent.entry.shown.call
        self._allow = intent.entry.allow
        self._peer = peer
        self._redactor = redactor
        self._policy = policy
        self._journal = journal
        approvals = (self._allow.approval,) if self._allow.approval else ()
        self._is_bound = any(not approval.may_be_asked for approval in approvals)
        """People approved it, and no more than it."""
        self.in_rounds = peer.in_rounds and (self._is_bound or not approvals)
        """A call that is made again with answers is judged, and held, as a call of its own."""
        self.waited_ns = 0
        """How long its caller took to answer, in all."""
        self.declares = {} if self._is_bound and not self.in_rounds else _declared(self._call)

    async def ask(self, questions: Mapping[str, RawNotice]) -> Mapping[str, JsonObject]:
        """See `ports.Interview.ask`."""
        try:
            return await self._ask(questions)
        except QuestionRefused as refused:
            logger.info("call %s: a question of its server is not answered: %s", self._call.id, refused)
            raise
        except LedgerUnavailable:
            raise QuestionRefused("The gateway cannot write its record.") from None
        except (RedactionError, AuthenticationError) as error:
            raise QuestionRefused(str(error)) from error
        except Exception:
            # A question is an extra to its call: whatever is wrong with it is refused to the server, which then goes on or not.
            logger.exception("call %s: a question of its server failed", self._call.id)
            raise QuestionRefused(_FAILED) from None

    def objection(self, raw: JsonObject, clean: JsonObject) -> str:
        """Return why a reply that asks for input cannot be the caller's, in words for the caller; empty if it can."""
        requests, shown = raw.get("inputRequests", {}), clean.get("inputRequests", {})
        if not isinstance(requests, Mapping) or not isinstance(shown, Mapping) or requests.keys() != shown.keys():
            return "The server asks for input in a way that cannot be passed on."
        if not (requests or raw.get(STATE)):  # nothing to answer and nothing to bring back: a client would go round for nothing
            return "The server asks for input in a way that cannot be passed on."
        for key, request in requests.items():
            if not _is_question(request) or not _is_question(shown[key]):
                return "The server asks for input in a way that cannot be passed on."
            question = RawNotice(method=request["method"], params=RawJson(dict(request.get("params", {}))))
            if not _is_declared(self.declares, question):
                return f"The server asks for {question.method[:64]}, for which this caller cannot be asked by it."
            if shown[key].get("params", {}).get("url") != question.params.get("url"):
                return _ELSEWHERE
        return ""

    async def _ask(self, questions: Mapping[str, RawNotice]) -> Mapping[str, JsonObject]:
        if self._is_bound:
            raise QuestionRefused(_NOT_APPROVED)
        for question in questions.values():
            self._must_be_declared(question)
        clean = {key: await self._clean(question) for key, question in questions.items()}
        put = {key: {"method": question.method, "params": question.params} for key, question in clean.items()}
        await self._record(Turn.ASKED, put)
        began = time.perf_counter_ns()
        try:
            answers = Answers(responses=await self._peer.answers(clean))
            return await self._answered(answers)
        except anyio.get_cancelled_exc_class():
            with suppress(LedgerUnavailable):  # nobody is left to be told of it, and the call's own outcome meets the same
                await self._record(Turn.UNANSWERED, {}, _OVER)
            raise
        except Exception as error:
            # Broad, because the question is on record: whatever became of it has to be as well. It is passed on.
            await self._record(Turn.UNANSWERED, {}, str(error) if isinstance(error, GatewayError) else _FAILED)
            raise
        finally:
            self.waited_ns += time.perf_counter_ns() - began

    async def _answered(self, answers: Answers) -> Mapping[str, JsonObject]:
        call = self._call
        if await self._peer.identity() != call.identity:
            raise QuestionRefused("What the caller is entitled to changed meanwhile.")
        shown = await self._redactor.show(replace(call, arguments=with_answers({}, answers)))
        answers = answers_of(shown.call.arguments)
        decision = self._policy.decide(replace(call, arguments=with_answers(call.arguments, answers)))
        if not self._still_stands(decision):
            raise QuestionRefused(f"The call may not go on with these answers: {decision.ruling.reason}")
        await self._record(Turn.ANSWERED, shown.arguments[ANSWERS])
        return answers.responses

    def _still_stands(self, decision: Decision) -> bool:
        """Whether the call may go on: it needs no more people than those who agreed already."""
        if isinstance(decision, Deny):
            return False
        if isinstance(decision, Hold):
            before = self._allow.ruling
            return (
                self._allow.approval is not None
                and before.policy_hash == decision.ruling.policy_hash
                and (before.rule_ids == decision.ruling.rule_ids)
            )
        return True

    def _must_be_declared(self, question: RawNotice) -> None:
        if not _is_declared(self.declares, question):
            raise QuestionRefused(f"This caller cannot be asked for {question.method[:64]} by this server.")

    async def _clean(self, question: RawNotice) -> CleanNotice:
        clean = await self._redactor.clean_notice(self._call, question)
        if clean.params.get("url") != question.params.get("url"):
            raise QuestionRefused(_ELSEWHERE)
        return clean

    async def _record(self, turn: Turn, clean: JsonObject, reason: str = "") -> None:
        with anyio.CancelScope(shield=True):  # a question that commits unseen would have no end
            await self._journal.append(Interviewed(intent=self._intent, turn=turn, clean=dict(clean), reason=reason))


def _declared(call: Call) -> dict[str, JsonObject]:
    """Return the client capabilities by which the server may ask: the caller's own, where the catalog lets it."""
    allowed = call.target.questions if isinstance(call.target, Target) else frozenset()
    declared: dict[str, JsonObject] = {}
    elicitation = call.declares.get("elicitation")
    if isinstance(elicitation, Mapping):
        modes = elicitation or {"form": {}}  # before there were two, an empty object meant forms
        kept = [mode for mode in (Question.FORM, Question.URL) if mode in allowed and mode in modes]
        if kept:
            declared["elicitation"] = {mode.value: {} for mode in kept}
    if Question.SAMPLING in allowed and isinstance(sampling := call.declares.get("sampling"), Mapping):
        declared["sampling"] = sampling
    if Question.ROOTS in allowed and isinstance(call.declares.get("roots"), Mapping):
        declared["roots"] = {}  # without `listChanged`: changes are not passed on
    return declared


def _is_question(request: object) -> bool:
    """Whether it is a request as `inputRequests` has them (2026-07-28)."""
    if not isinstance(request, Mapping):
        return False
    return isinstance(request.get("method"), str) and isinstance(request.get("params", {}), Mapping)


def _is_declared(declared: JsonObject, question: RawNotice) -> bool:
    if question.method != _ELICIT:
        kind = _METHODS.get(question.method)
        return kind is not None and kind.value in declared
    mode = question.params.get("mode", "form")
    if mode not in declared.get("elicitation", {}):
        return False
    return mode == Question.FORM or _is_web_address(question.params.get("url"))


def _is_web_address(url: object) -> bool:
    """A client opens it: nothing but the web, and nobody's name before the host."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False
