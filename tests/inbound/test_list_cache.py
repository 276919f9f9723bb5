"""Remembered lists under the real policy: each credential is listed its own, whatever was remembered of others."""

from dataclasses import replace
from typing import Any

import aiohttp

from mcpgw.app.live import LivePolicy
from mcpgw.core.model import Audience, Identity
from mcpgw.policy import Defaults, Effect, Policy, Role, Rule, Scope
from tests.inbound.doors import MemoryCatalog, World, identity, target
from tests.inbound.raw import modern, post, routing
from tests.inbound.wire import listening

TOOLS = {
    "bank__pay": target("bank__pay"),
    "bank__read": target("bank__read"),
    "desk__decide": target("desk__decide", audience=Audience.DECIDERS),
}
ROLES = [Role("staff", ("group:staff",), ("read", "pay", "desk"))]
SCOPES = [
    Scope(name="read", tools=("bank__read",)),
    Scope(name="pay", tools=("bank__pay",)),
    Scope(name="desk", tools=("desk__decide",)),
]


def built(*rules: Rule) -> Policy:
    return Policy.build(ROLES, SCOPES, list(rules), Defaults(approvers=("group:leads",)))


class StandingCatalog(MemoryCatalog):
    """Lists the very same tuple for as long as nothing changed, as the registry does: else nothing would be remembered."""

    def targets(self, kind: Any) -> Any:
        made = tuple(super().targets(kind))
        known = vars(self).setdefault("made", {})
        if known.get(kind) != made:
            known[kind] = made
        return known[kind]


async def listed(http: aiohttp.ClientSession, key: str) -> list[str]:
    _, answer, _ = await post(http, modern("tools/list"), routing("tools/list"), key=key)
    return [tool["name"] for tool in answer["result"]["tools"]]


async def test_each_credential_is_listed_its_own_however_alike_it_is_and_whoever_asked_before() -> None:
    policy: Any = LivePolicy(built())
    world = World(catalog=StandingCatalog(dict(TOOLS)), policy=policy)
    alice: Identity = replace(identity("alice", "staff"), credential_id="wide")
    world.keys.keys = {
        "wide": alice,
        "narrow": replace(alice, scopes=frozenset({"read"}), credential_id="narrow"),
        "same-id": replace(alice, scopes=frozenset({"read"})),
        "other-scope": replace(alice, scopes=frozenset({"pay"})),
        "lead": replace(alice, groups=frozenset({"staff", "leads"})),
        "agent-of-lead": replace(alice, groups=frozenset({"staff", "leads"}), actors=("bot",)),
        "nobody": replace(alice, groups=frozenset()),
    }
    before = {
        "wide": ["bank__pay", "bank__read"],
        "narrow": ["bank__read"],
        "same-id": ["bank__read"],
        "other-scope": ["bank__pay"],
        "lead": ["bank__pay", "bank__read", "desk__decide"],
        "agent-of-lead": ["bank__pay", "bank__read"],
        "nobody": [],
    }
    async with listening(world) as live, aiohttp.ClientSession(live.url) as http:
        for order in (list(before), list(reversed(before))):
            for key in (*order, *order):
                assert await listed(http, key) == before[key], key
        policy.activate(built(Rule(id="no-pay", effect=Effect.DENY, tools=("bank__pay",))))
        for key, names in before.items():
            assert await listed(http, key) == [name for name in names if name != "bank__pay"], f"{key}, by the new policy"
        policy.activate(built())
        for key, names in before.items():
            assert await listed(http, key) == names, f"{key}, remembered before the catalog changes"
        world.catalog.tools["bank__write"] = replace(
            world.catalog.tools.pop("bank__read"), name="bank__write"
        )  # as many as before
        for key, names in before.items():
            assert await listed(http, key) == [name for name in names if name != "bank__read"], f"{key}, by the new catalog"
        world.keys.keys["wide"] = replace(alice, groups=frozenset())
        assert await listed(http, "wide") == [], "what a key is entitled to changed"
