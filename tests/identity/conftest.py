"""An issuer of our own on loopback: real HTTP, real signatures, and every way to misbehave."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import pytest
from aiohttp import web
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "https://gateway.example/mcp"

SigningKey = RSAKey | ECKey | OKPKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class IssuerServer:
    """`documents` are served by path; `requests` is what was asked for, in order."""

    def __init__(self, keys: Mapping[str, SigningKey]) -> None:
        self.url = ""
        self.keys = dict(keys)
        self.published = ["rsa"]
        self.documents: dict[str, Any] = {}
        self.requests: list[str] = []
        self.down = False
        self.gate = anyio.Event()
        self.gate.set()

    def jwk(self, name: str, **extra: Any) -> dict[str, Any]:
        return {**self.keys[name].as_dict(private=False), "kid": name, **extra}

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, "jti": "t-1", **changes}
        return {name: value for name, value in claims.items() if value is not ...}

    def token(self, *, key: str = "rsa", header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A token as this issuer signs it; `...` leaves a claim out."""
        algorithm = {"RSA": "RS256", "EC": "ES256", "OKP": "Ed25519"}[self.keys[key].key_type]
        head = {"alg": algorithm, "kid": key, "typ": "at+jwt", **(header or {})}
        head = {name: value for name, value in head.items() if value is not ...}
        return self.sign(head, json.dumps(self.claims(**changes)).encode(), key)

    def sign(self, header: Mapping[str, Any], payload: bytes, key: str = "rsa") -> str:
        """Sign any bytes under any header, however odd."""
        return self.sign_raw(json.dumps(header).encode(), payload, key, header.get("alg", ""))

    def sign_raw(self, header: bytes, payload: bytes, key: str, algorithm: str) -> str:
        signing_input = f"{b64(header)}.{b64(payload)}"
        return f"{signing_input}.{b64(JWSRegistry.algorithms[algorithm].sign(signing_input.encode(), self.keys[key]))}"

    def confused(self) -> str:
        """HS256 with the public key as the shared secret: what a verifier that believes the header falls for."""
        header = json.dumps({"alg": "HS256", "kid": "rsa", "typ": "at+jwt"}).encode()
        signing_input = f"{b64(header)}.{b64(json.dumps(self.claims()).encode())}"
        mac = hmac.digest(self.keys["rsa"].as_pem(private=False), signing_input.encode(), "sha256")
        return f"{signing_input}.{b64(mac)}"

    encode = staticmethod(b64)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        await self.gate.wait()
        if self.down:
            return web.Response(status=503)
        found = self.documents.get(request.path)
        if found is None and request.path == "/.well-known/openid-configuration":
            found = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        if found is None and request.path == "/jwks":
            found = {"keys": [self.jwk(name) for name in self.published]}
        if isinstance(found, web.Response):
            return found
        return web.Response(status=404) if found is None else web.json_response(found)


@pytest.fixture(scope="session")
def signing_keys() -> dict[str, SigningKey]:
    return {
        "rsa": RSAKey.generate_key(2048),
        "next": RSAKey.generate_key(2048),
        "foreign": RSAKey.generate_key(2048),
        "ec": ECKey.generate_key("P-256"),
        "ed": OKPKey.generate_key("Ed25519"),
    }


@pytest.fixture
async def issuer_server(signing_keys: dict[str, SigningKey]) -> AsyncIterator[IssuerServer]:
    server = IssuerServer(signing_keys)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.gate.set()
        await runner.cleanup()
