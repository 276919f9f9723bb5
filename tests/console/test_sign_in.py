"""Coming in and going out: a key of a person, a session that ends with it, and no way to be sent elsewhere."""

import httpx2
import pytest

from tests.console.bank import Bank

PLAIN, HOST = "mcpgw-console", "__Host-mcpgw-console"


def cookie(response: httpx2.Response) -> tuple[str, str, set[str]]:
    """Return name, value and attributes of the one cookie that an answer sets."""
    [line] = response.headers.get_list("set-cookie")
    first, *attributes = line.split("; ")
    name, _, value = first.partition("=")
    return name, value, {attribute.lower() for attribute in attributes}


async def test_who_is_not_signed_in_is_asked_to_and_comes_back_to_where_the_link_led(bank: Bank) -> None:
    async with bank.person() as someone:
        asked = await someone.get("/approvals/apr_abc")
        assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?next=/approvals/apr_abc")
        form = (await someone.get(asked.headers["location"])).text
        assert 'name="next" value="/approvals/apr_abc"' in form and 'type="password"' in form
        welcome = await someone.sign_in(bank.key("carol"), "/approvals/apr_abc")
        assert (welcome.status_code, welcome.headers["location"]) == (303, "/approvals/apr_abc")
        assert (await someone.get("/sign-in?next=/approvals")).headers["location"] == "/approvals", "signed in already"
    signed_in = bank.folder.records("console.signed_in")[-1]
    assert signed_in["actor"] == "mcpgw:keys#carol" and signed_in["facts"]["address"] == "192.0.2.1"
    assert bank.key("carol") not in str(signed_in)


async def test_the_cookie_is_for_this_host_and_out_of_reach_of_scripts_and_other_sites(bank: Bank) -> None:
    async with bank.person() as someone:
        name, value, attributes = cookie(await someone.sign_in(bank.key("carol")))
    assert (name, attributes) == (PLAIN, {"httponly", "path=/", "samesite=strict"})
    assert len(value) >= 43 and bank.key("carol") not in value
    async with bank.person(scheme="https") as someone:
        name, _, attributes = cookie(await someone.sign_in(bank.key("carol")))
    assert (name, attributes) == (HOST, {"httponly", "path=/", "samesite=strict", "secure"})


async def test_over_https_a_cookie_that_http_could_have_planted_does_not_count(bank: Bank) -> None:
    async with bank.person() as someone:
        _, value, _ = cookie(await someone.sign_in(bank.key("carol")))
    async with bank.person(scheme="https") as someone:
        assert (await someone.get("/approvals", Cookie=f"{PLAIN}={value}")).status_code == 303
        assert (await someone.get("/approvals", Cookie=f"{HOST}={value}")).status_code == 200


async def test_a_wrong_key_opens_nothing_and_is_recorded_without_the_key(bank: Bank) -> None:
    wrong = bank.key("carol")[:-4] + "AAAA"
    async with bank.person(address="198.51.100.1") as someone:
        for key in (wrong, "", "hunter2", "a.b.c", "\0"):
            answer = await someone.sign_in(key)
            assert answer.status_code == 401 and "set-cookie" not in answer.headers
            assert answer.headers["www-authenticate"].startswith("Cookie ")
            assert 'role="alert"' in answer.text and (not key or key not in answer.text)
    refused = [record for record in bank.refusals() if record["origin"]["address"] == "198.51.100.1"]
    assert [record["outcome"]["code"] for record in refused] == ["unauthenticated"] * 5
    assert wrong not in str(refused)


async def test_an_agents_key_is_not_a_persons(bank: Bank) -> None:
    async with bank.person() as someone:
        answer = await someone.sign_in(bank.key("robot"))
        assert answer.status_code == 403 and "for an agent" in answer.text
        assert (await someone.get("/approvals")).status_code == 303
    assert bank.refusals()[-1]["actor"] == "mcpgw:keys#robot"


async def test_a_key_in_the_url_signs_nobody_in(bank: Bank) -> None:
    async with bank.person() as someone:
        answer = await someone.get(f"/sign-in?key={bank.key('carol')}")
        assert "set-cookie" not in answer.headers and bank.key("carol") not in answer.text
        assert not await someone.visits("/approvals")


async def test_a_session_id_that_somebody_else_chose_is_never_used(bank: Bank) -> None:
    async with bank.person() as someone:
        planted = {"Cookie": f"{PLAIN}=chosen-by-somebody-else"}
        form = {"key": bank.key("carol"), "next": "/"}
        _, value, _ = cookie(await someone.post("/sign-in", form, **planted))
        assert value != "chosen-by-somebody-else"
        assert (await someone.get("/approvals", **planted)).status_code == 303
        again = await someone.post("/sign-in", form, Cookie=f"{PLAIN}={value}")
        assert cookie(again)[1] != value
        assert (await someone.get("/approvals", Cookie=f"{PLAIN}={value}")).status_code == 303, "the old one ended"


async def test_signing_out_ends_the_session_for_whoever_kept_the_cookie(bank: Bank) -> None:
    async with bank.person() as someone:
        _, value, _ = cookie(await someone.sign_in(bank.key("carol")))
        answer = await someone.post("/sign-out", {"token": await someone.token()})
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        assert (await someone.get("/approvals", Cookie=f"{PLAIN}={value}")).status_code == 303
    assert bank.folder.records("console.signed_out")[-1]["actor"] == "mcpgw:keys#carol"


async def test_a_revoked_key_ends_its_sessions_at_the_next_step(bank: Bank) -> None:
    key = bank.folder.key("eve", "payments-leads", "auditors")
    approval_id = await bank.hold(13_01)
    async with bank.person("eve") as eve:
        form = await eve.form(approval_id)
        await bank.folder.acli("keys", "revoke", key.split("_")[1])
        answer = await eve.post(f"/approvals/{approval_id}/verdict", form)
        assert answer.status_code == 401 and "was revoked" in answer.text
        assert (await eve.get("/approvals")).status_code == 303
    assert bank.state(approval_id) == "pending"
    assert bank.refusals()[-2]["outcome"]["code"] == "unauthenticated"


async def test_attempts_are_limited_by_address(bank: Bank) -> None:
    async with bank.person(address="2001:db8::1") as someone:
        answers = [(await someone.sign_in("mcpgw_wrong_key")).status_code for _ in range(11)]
        assert answers == [401] * 10 + [429]
        late = await someone.sign_in(bank.key("carol"))
        assert late.status_code == 429 and 0 < int(late.headers["retry-after"]) <= 300
    async with bank.person(address="2001:db8::ffff") as neighbour:
        assert (await neighbour.sign_in(bank.key("carol"))).status_code == 429, "the same network"
    async with bank.person(address="2001:db8:0:1::1") as somebody_else:
        assert (await somebody_else.sign_in(bank.key("carol"))).status_code == 303


ELSEWHERE = (
    "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "/\t/evil.example",
    "javascript:alert(1)", "/approvals/../../x", "/sign-out", "/%2f/evil.example", "http:/evil.example", " //evil.example",
    "/log\r\nSet-Cookie: a=b",
    "/approvals?next=//evil.example\\", "///evil.example", "/@evil.example", "/approvals//evil.example",
)  # fmt: skip


@pytest.mark.parametrize("wish", ELSEWHERE)
async def test_nobody_is_sent_elsewhere_after_signing_in(bank: Bank, wish: str) -> None:
    async with bank.person() as someone:
        form = await someone.http.get("/sign-in", params={"next": wish})
        assert 'name="next" value="/"' in form.text
        assert (await someone.sign_in(bank.key("carol"), wish)).headers["location"] == "/"
        assert (await someone.http.get("/sign-in", params={"next": wish})).headers["location"] == "/"


async def test_a_link_on_another_site_leads_on_by_a_page_of_ours(bank: Bank) -> None:
    """The browser keeps a strict cookie to itself while it follows redirects that another site began."""
    async with bank.person() as someone:
        page = await someone.get("/approvals/apr_abc", **{"Sec-Fetch-Site": "cross-site"})
        assert page.status_code == 200 and 'content="0;url=/sign-in?next=/approvals/apr_abc"' in page.text
        assert "set-cookie" not in page.headers
