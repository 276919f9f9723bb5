"""What the redaction tests share: engines in this process, redactors on real worker processes, and a call."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mcpgw.core.model import (
    Call,
    Identity,
    IdentityKind,
    Masking,
    Origin,
    Target,
    TargetKind,
)
from mcpgw.redaction import PresidioRedactor, RedactionConfig
from mcpgw.redaction.engine import Engine
from mcpgw.redaction.judge import NoModel
from mcpgw.redaction.presidio import PresidioNamer


@pytest.fixture(scope="session")
def namer() -> PresidioNamer:
    return PresidioNamer("en_core_web_sm", "en", 0.5)


@pytest.fixture
def engine() -> Engine:
    """Patterns, keys and columns, without a model."""
    return Engine(RedactionConfig(model="none"), NoModel())


@pytest.fixture
def named_engine(namer: PresidioNamer) -> Engine:
    """With the language model."""
    return Engine(RedactionConfig(), namer)


@pytest.fixture(params=[0, 3_000], ids=["in a worker", "in the gateway"])
async def redactor(request: pytest.FixtureRequest) -> AsyncIterator[PresidioRedactor]:
    """One real worker without a model: it starts in a fraction of a second. What is small may stay in this process."""
    redactor = PresidioRedactor(RedactionConfig(model="none", inline_bytes=request.param))
    await redactor.start()
    yield redactor
    await redactor.aclose()


@pytest.fixture
def make_call() -> Callable[..., Call]:
    def make(arguments: dict[str, Any] | None = None, masking: Masking | None = None) -> Call:
        target = Target(
            kind=TargetKind.TOOL,
            name="bank__lookup",
            server="bank",
            server_fingerprint="f",
            upstream_name="lookup",
            definition={},
            definition_hash="h",
            masking=masking or Masking(),
        )
        identity = Identity(subject="teller", issuer="test", kind=IdentityKind.HUMAN, method="api_key")
        origin = Origin(transport="stdio", protocol_version="2025-11-25")
        return Call(id="1", identity=identity, target=target, arguments=arguments or {}, origin=origin)

    return make
