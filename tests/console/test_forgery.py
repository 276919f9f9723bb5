"""What another page, another session or a browser by itself may send: no verdict comes of it, and it is recorded."""

from collections.abc import Callable

import pytest

from tests.console.bank import Bank

Form = dict[str, str]

HEADERS = {
    "a foreign origin": {"Origin": "https://evil.example"},
    "an opaque origin": {"Origin": "null"},
    "another port": {"Origin": "http://127.0.0.1:1"},
    "another scheme": {"Origin": "https://127.0.0.1"},
    "a look-alike": {"Origin": "http://127.0.0.1.evil.example"},
    "no origin": {"Origin": ""},
    "cross-site": {"Sec-Fetch-Site": "cross-site"},
    "a sibling site": {"Sec-Fetch-Site": "same-site"},
    "typed by hand": {"Sec-Fetch-Site": "none"},
    "rebound DNS": {"Host": "evil.example", "Origin": "http://evil.example"},
    "text": {"Content-Type": "text/plain"},
    "JSON": {"Content-Type": "application/json"},
    "multipart": {"Content-Type": "multipart/form-data; boundary=x"},
}
FORMS: dict[str, Callable[[Form, Form], Form]] = {
    "no token": lambda mine, other: {**mine, "token": ""},
    "no token field": lambda mine, other: {name: value for name, value in mine.items() if name != "token"},
    "a token of another session": lambda mine, other: {**mine, "token": other["token"]},
    "a token cut short": lambda mine, other: {**mine, "token": mine["token"][:-1]},
    "a token beyond ASCII": lambda mine, other: {**mine, "token": "\u0430" * 43},
}
INCOMPLETE: dict[str, Callable[[Form], Form]] = {
    "nothing was seen": lambda mine: {**mine, "shown": ""},
    "no verdict": lambda mine: {**mine, "verdict": ""},
    "another verdict": lambda mine: {**mine, "verdict": "approved"},
}


@pytest.mark.parametrize("case", HEADERS)
async def test_a_form_that_is_not_from_a_page_of_ours_does_nothing(bank: Bank, case: str) -> None:
    approval_id = await bank.hold(14_00, memo=case)
    async with bank.person("carol") as carol:
        form, before = await carol.form(approval_id), len(bank.refusals())
        if case == "no origin":
            answer = await carol.http.post(f"/approvals/{approval_id}/verdict", data=form)
        else:
            answer = await carol.post(f"/approvals/{approval_id}/verdict", form, **HEADERS[case])
        assert answer.status_code in (403, 415, 421), answer.text
    assert bank.state(approval_id) == "pending"
    assert len(bank.refusals()) == before + 1


@pytest.mark.parametrize("case", FORMS)
async def test_a_form_without_the_sessions_own_token_does_nothing(bank: Bank, case: str) -> None:
    approval_id = await bank.hold(14_01, memo=case)
    async with bank.person("carol") as carol, bank.person("dora") as dora:
        form = FORMS[case](await carol.form(approval_id), await dora.form(approval_id))
        answer = await carol.post(f"/approvals/{approval_id}/verdict", form)
        assert answer.status_code == 403 and "does not belong to your session" in answer.text
        assert (await carol.post("/sign-out", {"token": form.get("token", "")})).status_code == 403
        assert await carol.visits("/approvals")
    assert bank.state(approval_id) == "pending"
    assert bank.refusals()[-1]["actor"] == "mcpgw:keys#carol"


async def test_a_token_of_the_same_persons_other_session_does_not_count_either(bank: Bank) -> None:
    approval_id = await bank.hold(14_02)
    async with bank.person("carol") as here, bank.person("carol") as there:
        form = await here.form(approval_id)
        assert (await there.post(f"/approvals/{approval_id}/verdict", form)).status_code == 403
    assert bank.state(approval_id) == "pending"


async def test_signing_in_cannot_be_done_by_another_page(bank: Bank) -> None:
    async with bank.person() as someone:
        form = {"key": bank.key("carol"), "next": "/"}
        for headers in HEADERS.values():
            answer = await someone.http.post("/sign-in", data=form, headers={name: v for name, v in headers.items() if v})
            assert answer.status_code in (403, 415, 421) and "set-cookie" not in answer.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_only_a_posted_form_decides(bank: Bank, method: str) -> None:
    approval_id = await bank.hold(14_03, memo=method)
    async with bank.person("carol") as carol:
        form = await carol.form(approval_id)
        answer = await carol.http.request(
            method, f"/approvals/{approval_id}/verdict", params=form, headers={"Origin": carol.url}
        )
        assert answer.status_code == 405
        override = {"X-HTTP-Method-Override": "POST", "_method": "POST"}
        assert (await carol.http.get(f"/approvals/{approval_id}", params=form, headers=override)).status_code == 200
    assert bank.state(approval_id) == "pending"


@pytest.mark.parametrize("hint", [{"Sec-Purpose": "prefetch;prerender"}, {"Sec-Purpose": "prefetch"}, {"Purpose": "prefetch"}])
async def test_a_page_that_a_browser_fetches_on_a_guess_is_not_given_and_not_recorded_as_read(
    bank: Bank, hint: dict[str, str]
) -> None:
    approval_id = await bank.hold(14_04)
    async with bank.person("carol") as carol:
        read = len(bank.folder.records("evidence.read"))
        assert (await carol.get(f"/approvals/{approval_id}", **hint)).status_code == 403
        assert len(bank.folder.records("evidence.read")) == read


@pytest.mark.parametrize("case", INCOMPLETE)
async def test_a_form_that_does_not_say_what_was_seen_and_decided_does_nothing(bank: Bank, case: str) -> None:
    approval_id = await bank.hold(14_05, memo=case)
    async with bank.person("carol") as carol:
        form = INCOMPLETE[case](await carol.form(approval_id))
        assert (await carol.post(f"/approvals/{approval_id}/verdict", form)).status_code == 400
    assert bank.state(approval_id) == "pending"


async def test_a_verdict_on_something_else_than_what_is_bound_is_refused(bank: Bank) -> None:
    one, other = await bank.hold(14_06), await bank.hold(14_07)
    async with bank.person("carol") as carol:
        answer = await carol.post(f"/approvals/{one}/verdict", await carol.form(other))
        assert answer.status_code == 409 and "is not what" in answer.text
    assert (bank.state(one), bank.state(other)) == ("pending", "pending")


async def test_a_form_counts_once(bank: Bank) -> None:
    approval_id = await bank.hold(14_08)
    async with bank.person("carol") as carol:
        form = await carol.form(approval_id, "deny")
        assert (await carol.post(f"/approvals/{approval_id}/verdict", form)).status_code == 303
        again = await carol.post(f"/approvals/{approval_id}/verdict", {**form, "verdict": "approve"})
        assert again.status_code == 409 and "denied already" in again.text
    assert bank.state(approval_id) == "denied"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"token=a&token=b", 400), (b"token=%ff", 400), (b"token=\xc3\xa9", 400), (b"token", 400),
        (b"&".join([b"a=1"] * 40), 400),
        (b"comment=" + b"x" * 70_000, 413), (b"", 403),
    ],
)  # fmt: skip
async def test_a_form_that_can_be_read_in_two_ways_or_is_too_large_is_refused(bank: Bank, body: bytes, status: int) -> None:
    async with bank.person("carol") as carol:
        headers = {"Origin": carol.url, "Content-Type": "application/x-www-form-urlencoded"}
        assert (await carol.http.post("/sign-out", content=body, headers=headers)).status_code == status
        assert await carol.visits("/approvals")
