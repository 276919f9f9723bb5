"""A whole OpenID provider as a process of its own: discovery, keys, a login, its token, and its rotation by restart."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import anyio
import pytest

from mcpgw.core.errors import AuthenticationError
from mcpgw.identity import Issuer, JwtIssuers

CLIENT = "mcp-desktop"
CALLBACK = "http://127.0.0.1/callback"


@contextmanager
def provider(port: int) -> Iterator[None]:
    command = Path(sys.executable).with_name("oidc-provider-mock")
    user = '{"sub": "alice", "groups": ["tellers"], "email": "alice@example.com"}'
    process = subprocess.Popen(
        [command, "--port", str(port), "--user-claims", user], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


async def reachable(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(f"{url}/jwks") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await anyio.sleep(0.05)  # a process that starts has no event to wait for


async def log_in(url: str) -> str:
    """Walk the authorization-code flow as a browser and its client would; return the token."""
    ask = {"client_id": CLIENT, "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid email"}
    async with aiohttp.ClientSession() as session:
        form = {"sub": "alice"}
        async with session.post(f"{url}/oauth2/authorize", params=ask, data=form, allow_redirects=False) as response:
            code = parse_qs(urlsplit(response.headers["Location"]).query)["code"][0]
        login = {"Authorization": aiohttp.encode_basic_auth(CLIENT, "secret")}
        grant = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK}
        async with session.post(f"{url}/oauth2/token", data=grant, headers=login) as response:
            answer = await response.json()
    token: str = answer["id_token"]  # this provider's access tokens are opaque
    return token


@pytest.mark.slow
async def test_a_login_at_a_real_provider_opens_the_gateway_and_survives_its_rotation(port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    issuer = Issuer(url=url, audiences=(CLIENT,), accept_id_tokens=True, keys_retry_s=0.001)
    tokens = JwtIssuers([issuer])
    with anyio.fail_after(60):
        with provider(port):
            await reachable(url)
            first = await log_in(url)
            identity = await tokens.authenticate(first)
            assert identity.principal == f"{url}#alice"
            with pytest.raises(AuthenticationError, match="audience"):
                await JwtIssuers([Issuer(url=url, audiences=("https://gateway.example/mcp",))]).authenticate(first)
        assert (await tokens.authenticate(first)).subject == "alice"  # the provider is down; its keys are at hand
        with provider(port):  # with a new key
            await reachable(url)
            second = await log_in(url)
            assert (await tokens.authenticate(second)).subject == "alice"
            with pytest.raises(AuthenticationError, match="signature"):
                await tokens.authenticate(first)
