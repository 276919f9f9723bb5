"""Answers to an upstream's questions, as part of what a call asks for (multi round-trip requests of 2026-07-28).

A server may answer a call with questions; its client then makes the call again and brings the answers along. They are told to
the server and decide what it does, so they are arguments: judged, recorded, shown to approvers and bound by an approval like
all others, under a name that no caller can use for an argument of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

RESERVED: Final = "mcpgw/"
"""No argument of a caller has a name that begins so."""
ANSWERS: Final = "mcpgw/answers"
"""Among the arguments: what goes to the server beside them."""
INPUT_REQUIRED: Final = "input_required"
"""The `resultType` of a result that asks for input."""
OPAQUE: Final = "(opaque)"
_RESPONSES: Final = "inputResponses"
STATE: Final = "requestState"
"""Of a result that asks for input, and of the call that brings it: what a server gives to be sent back."""


class Question(StrEnum):
    """What a server may ask the caller in the middle of a call, where the catalog lets it."""

    FORM = "form"
    """Elicitation of values."""
    URL = "url"
    """Elicitation by a page that the user is sent to."""
    SAMPLING = "sampling"
    """A completion by the client's model."""
    ROOTS = "roots"
    """The folders that the client works on."""


def capabilities(questions: frozenset[Question]) -> dict[str, Any]:
    """Return the `ClientCapabilities` of somebody who can be asked all of these."""
    modes: dict[str, Any] = {mode.value: {} for mode in (Question.FORM, Question.URL) if mode in questions}
    others: dict[str, Any] = {kind.value: {} for kind in (Question.SAMPLING, Question.ROOTS) if kind in questions}
    return {**({"elicitation": modes} if modes else {}), **others}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What a call brings along for its server. Empty for a call that answers nothing."""

    responses: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """By the server's own keys; each is the result of what was asked (`ElicitResult` and its like), exact."""
    state: str = field(default="", repr=False)
    """What the server gave to be sent back. Opaque."""

    def __bool__(self) -> bool:
        return bool(self.responses or self.state)


def with_answers(arguments: Mapping[str, Any], answers: Answers) -> dict[str, Any]:
    """Return the arguments of a call that brings answers along; without any, the arguments alone."""
    if not answers:
        return dict(arguments)
    return {**arguments, ANSWERS: {_RESPONSES: dict(answers.responses), **({STATE: answers.state} if answers.state else {})}}


def own_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the caller's own, without the answers."""
    return {name: value for name, value in arguments.items() if name != ANSWERS}


def answers_of(arguments: Mapping[str, Any]) -> Answers:
    """Return the answers among the arguments; empty where there are none."""
    brought = arguments.get(ANSWERS, {})
    return Answers(responses=brought.get(_RESPONSES, {}), state=brought.get(STATE, ""))


def asks_for_input(payload: Mapping[str, Any]) -> bool:
    """Whether a server's result is a question, and no answer yet."""
    return payload.get("resultType") == INPUT_REQUIRED


def shown_reply(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a server's result as it can be looked at: a state, which nobody can read, is only said to be there."""
    return {**payload, STATE: OPAQUE} if STATE in payload and asks_for_input(payload) else payload


def without_state(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as they can be looked at: the server's state, which nobody can read, is only said to be there."""
    if not answers_of(arguments).state:
        return dict(arguments)
    return {**arguments, ANSWERS: {**arguments[ANSWERS], STATE: OPAQUE}}
