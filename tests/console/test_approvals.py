"""The desk's pages: what an approver sees is what runs, only after a verdict, and never one's own."""

import html
import json

import pytest
from mcp_types import CallToolResult

from tests.console.bank import Bank
from tests.flows.gateway import words


async def test_a_held_transfer_is_seen_approved_and_runs_once(bank: Bank) -> None:
    approval_id = await bank.hold(11_01, memo="the rent")
    async with bank.person("carol") as carol:
        docket = (await carol.get("/approvals")).text
        assert approval_id in docket and "bank__transfer" in docket and "0 of 1 approved" in docket
        page = (await carol.get(f"/approvals/{approval_id}")).text
        assert "exactly as they will run" in page and "11.01" in page and "the rent" in page
        answer = await carol.decide(approval_id, comment="called the customer")
        assert (answer.status_code, answer.headers["location"]) == (303, "/approvals")
        after = (await carol.get("/approvals")).text
        assert f"Your approval of {approval_id} is recorded. It is approved." in after
        assert "is recorded. It is" not in (await carol.get("/approvals")).text, "a notice is shown once"
    assert bank.transfers(11_01) == 0
    first, second = await bank.transfer(11_01, memo="the rent"), await bank.transfer(11_01, memo="the rent")
    assert not first.is_error and not second.is_error, words(first)
    assert bank.transfers(11_01) == 1
    async with bank.person("carol") as carol:
        page = (await carol.get(f"/approvals/{approval_id}")).text
        assert "exact arguments were erased" in page and "called the customer" in page and "Your verdict" not in page
    [vote] = bank.folder.records("approval.voted", approval_id=approval_id)
    assert (vote["who"]["sub"], vote["who"]["method"]) == ("carol", "console")


async def test_a_denial_with_a_comment_ends_it_and_the_caller_does_not_see_the_comment(bank: Bank) -> None:
    approval_id = await bank.hold(11_02)
    async with bank.person("dora") as dora:
        assert (await dora.decide(approval_id, "deny", "wrong account\r\nask Paul")).status_code == 303
        page = (await dora.get(f"/approvals/{approval_id}")).text
        assert "wrong account\nask Paul" in page and "denied" in page
    assert bank.state(approval_id) == "denied"
    result = await bank.transfer(11_02)
    assert result.is_error and "wrong account" not in words(result)
    assert bank.transfers(11_02) == 0


async def test_nobody_decides_on_what_they_asked_for_themselves(bank: Bank) -> None:
    approval_id = await bank.hold(11_03, who="paula")
    async with bank.person("paula") as paula, bank.person("carol") as carol:
        page = (await paula.get(f"/approvals/{approval_id}")).text
        assert "somebody else must decide" in page, page
        assert "Your verdict" not in page
        assert "Look<" in (await paula.get("/approvals")).text
        form = {**await carol.form(approval_id), "token": await paula.token()}
        answer = await paula.post(f"/approvals/{approval_id}/verdict", form)
        assert answer.status_code == 403 and "somebody else must decide" in answer.text
    assert bank.state(approval_id) == "pending"
    assert bank.refusals()[-1]["actor"] == "mcpgw:keys#paula"


async def test_what_is_not_yours_looks_as_if_it_were_not_there(bank: Bank) -> None:
    approval_id = await bank.hold(11_04)
    async with bank.person("audrey") as audrey:
        assert "Nothing is waiting for you" in (await audrey.get("/approvals")).text
        there = await audrey.get(f"/approvals/{approval_id}")
        absent = await audrey.get("/approvals/apr_nosuchnosuchnosuchno")
        assert (there.status_code, absent.status_code) == (404, 404)
        alike = [page.text.replace(name, "ID") for page, name in ((there, approval_id), (absent, "apr_nosuchnosuchnosuchno"))]
        assert alike[0] == alike[1]
        form = {"token": await audrey.token(), "shown": "0" * 64, "verdict": "approve", "comment": ""}
        assert (await audrey.post(f"/approvals/{approval_id}/verdict", form)).status_code == 403
    assert bank.state(approval_id) == "pending"


async def test_the_requester_may_look_and_exact_reading_is_recorded_first(bank: Bank) -> None:
    approval_id = await bank.hold(11_05)
    async with bank.person("alice") as alice:
        assert "11.05" in (await alice.get(f"/approvals/{approval_id}")).text
    reading = bank.folder.records("evidence.read")[-1]
    assert (reading["actor"], reading["facts"]["approval_id"]) == ("mcpgw:keys#alice", approval_id)


async def test_the_held_answers_url_is_the_approvals_page(bank: Bank) -> None:
    held: CallToolResult = await bank.transfer(11_06)
    text = words(held)
    assert "/approvals/apr_" in text
    path = "/approvals/apr_" + text.partition("/approvals/apr_")[2].split()[0]
    async with bank.person("carol") as carol:
        assert "11.06" in (await carol.get(path)).text


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</pre><form action=/sign-out method=post><button>",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "'-alert(1)-'",
)


@pytest.mark.parametrize("text", HOSTILE)
async def test_hostile_text_is_shown_and_does_nothing(bank: Bank, text: str) -> None:
    approval_id = await bank.hold(11_07, memo=text)
    async with bank.person("carol") as carol, bank.person("dora") as dora:
        shown = html.escape(text.replace('"', '\\"')).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
        for path in ("/approvals", f"/approvals/{approval_id}"):
            page = (await carol.get(path)).text
            assert shown in page
            assert page.count("<script") == 1 and "<img src=x" not in page and "49" not in page.split(approval_id)[0][-80:]
        assert (await carol.decide(approval_id, "deny", text)).status_code == 303
        page = (await dora.get(f"/approvals/{approval_id}")).text
        assert page.count("<script") == 1 and "<img src=x" not in page


async def test_characters_that_deceive_are_written_out(bank: Bank) -> None:
    approval_id = await bank.hold(11_08, memo="p\u0430ypal \u202ekcehc\u200b")
    async with bank.person("carol") as carol:
        page = (await carol.get(f"/approvals/{approval_id}")).text
    assert "p\\u0430ypal \\u202ekcehc\\u200b" in page and "\u202e" not in page
    assert "U+202E RIGHT-TO-LEFT OVERRIDE, once" in page


async def test_a_comment_that_is_too_long_is_refused_in_words(bank: Bank) -> None:
    approval_id = await bank.hold(11_09)
    async with bank.person("carol") as carol:
        answer = await carol.decide(approval_id, "approve", "x" * 2_001)
        assert answer.status_code == 422 and "2000 are the most" in answer.text
        assert (await carol.decide(approval_id, "approve", "\U0001f600" * 2_000)).status_code == 303
    assert bank.state(approval_id) == "approved"


async def test_other_arguments_are_compared_on_a_second_page_and_then_proposed(bank: Bank) -> None:
    approval_id = await bank.hold(11_60, memo="the rent")
    async with bank.person("carol") as carol:
        page = (await carol.get(f"/approvals/{approval_id}")).text
        written = html.unescape(page.split('name="arguments"')[1].split(">", 1)[1].split("</textarea>")[0])
        assert json.loads(written)["amount"] == 11.6
        less = json.dumps({**json.loads(written), "amount": 5.6, "memo": "<b>\u202erent"})
        form = {**await carol.form(approval_id), "arguments": less, "comment": "only so much"}
        second = await carol.post(f"/approvals/{approval_id}/proposal", form)
        assert second.status_code == 200 and "11.6" in second.text and "5.6" in second.text
        assert "&lt;b&gt;\\u202erent" in second.text and "<b>" not in second.text and "only so much" in second.text
        assert bank.state(approval_id) == "pending", "nothing is proposed by looking"
        answer = await carol.post(f"/approvals/{approval_id}/proposal/confirm", form)
        assert answer.status_code == 303
        assert f"Your proposal is recorded. {approval_id} is denied" in (await carol.get("/approvals")).text
        page = (await carol.get(f"/approvals/{approval_id}")).text
        assert "it can be taken up until" in page and "only so much" in page
        assert (await carol.post(f"/approvals/{approval_id}/proposal/confirm", form)).status_code == 409, "once"
    assert bank.transfers(11_60) == 0
    told = await bank.transfer(11_60, memo="the rent")
    assert told.is_error and (told.meta or {})["mcpgw/proposal"]["arguments"] == json.loads(less)


PROPOSED: dict[str, tuple[dict[str, str], int]] = {
    "no JSON": ({"arguments": "{"}, 400),
    "no object": ({"arguments": "[1]"}, 400),
    "a key twice": ({"arguments": '{"amount": 1, "amount": 9}'}, 400),
    "nothing": ({"arguments": ""}, 400),
    "what it has already": ({}, 422),
    "without the page": ({"shown": ""}, 400),
    "of another page": ({"shown": "0" * 64}, 409),
    "without the session's token": ({"token": "x"}, 403),
}


@pytest.mark.parametrize("case", PROPOSED)
async def test_a_proposal_that_says_nothing_or_comes_from_elsewhere_changes_nothing(bank: Bank, case: str) -> None:
    approval_id = await bank.hold(11_61, memo=case)
    changed, status = PROPOSED[case]
    async with bank.person("carol") as carol, bank.person("alice") as alice:
        page = (await carol.get(f"/approvals/{approval_id}")).text
        written = html.unescape(page.split('name="arguments"')[1].split(">", 1)[1].split("</textarea>")[0])
        form = {**await carol.form(approval_id), "arguments": written, **changed}
        for path in ("proposal", "proposal/confirm"):
            answer = await carol.post(f"/approvals/{approval_id}/{path}", form)
            assert answer.status_code in (status, 409 if "page" in case else status), (path, answer.text)
        theirs = {**form, "token": await alice.token(), "arguments": '{"amount": 1}'}
        assert (await alice.post(f"/approvals/{approval_id}/proposal/confirm", theirs)).status_code in (400, 403)
        cross = await carol.post(f"/approvals/{approval_id}/proposal/confirm", form, Origin="https://evil.example")
        assert cross.status_code == 403
    assert bank.state(approval_id) == "pending"
