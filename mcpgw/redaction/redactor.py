"""The redaction room's door: `ports.Redactor` on worker processes."""

from typing import Any

from mcpgw.core.errors import ConfigError, RedactionError
from mcpgw.core.model import (
    Call,
    CleanJson,
    CleanNotice,
    CleanReply,
    Manifest,
    Masked,
    Masking,
    RawNotice,
    RawReply,
    ShownCall,
    Target,
)
from mcpgw.redaction import paths, wire
from mcpgw.redaction.config import RedactionConfig, profile_hash
from mcpgw.redaction.payload import commit, payload_bytes
from mcpgw.redaction.pool import Pool


class PresidioRedactor:
    """Redacts calls, replies and notices. `start` before use, `aclose` after it.

    Guarantees: an answer is redacted wholly or not at all; nothing but `RedactionError` is raised; a call takes no longer than
    `timeout_s`; equal input under an equal configuration gives an equal answer, and redacting an answer again changes nothing.
    """

    def __init__(self, config: RedactionConfig) -> None:
        self._config = config
        self._pool = Pool(config)
        self._hashes: dict[Masking, str] = {}

    @property
    def ready(self) -> bool:
        """Whether the model is loaded in a living worker."""
        return self._pool.ready

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, for those who watch the machine."""
        return self._pool.pids

    async def start(self) -> None:
        """Start the workers and load the model.

        Raises:
            ConfigError: the model is not installed; the hint names the package.
            RedactionError: it could not be loaded in time.
        """
        await self._pool.start()

    async def revive(self) -> None:
        """Bring a worker back where it died while nobody was using it; calls do so by themselves.

        Raises:
            RedactionError: it is not there yet, and still loading; or it cannot work.
        """
        await self._redact(b"{}", Masking(), envelope=False)

    async def aclose(self) -> None:
        """End the workers. Redactions under way fail."""
        await self._pool.aclose()

    async def show(self, call: Call) -> ShownCall:
        """Return the call with arguments as they may be recorded."""
        masking = _masking(call)
        raw = self._bytes(dict(call.arguments))
        arguments, manifest = await self._redact(raw, masking, envelope=False)
        return ShownCall(call=call, arguments=CleanJson(arguments), raw=commit(raw), manifest=manifest)

    async def clean(self, call: Call, reply: RawReply) -> CleanReply:
        """Return the reply as the caller may see it."""
        raw = self._bytes(reply.payload)
        payload, manifest = await self._redact(raw, _masking(call), envelope=True)
        return CleanReply(kind=reply.kind, payload=CleanJson(payload), raw=commit(raw), manifest=manifest)

    async def clean_notice(self, call: Call, notice: RawNotice) -> CleanNotice:
        """Return the notification as the caller may see it."""
        params, _ = await self._redact(self._bytes(notice.params), _masking(call), envelope=True)
        return CleanNotice(method=notice.method, params=CleanJson(params))

    async def clean_text(self, text: str, masking: Masking) -> tuple[str, Manifest]:
        """Return one text as a client would receive it in a tool's result: what `mcpgw redact` measures."""
        raw = self._bytes({"content": [{"type": "text", "text": text}]})
        payload, manifest = await self._redact(raw, masking, envelope=True)
        return payload["content"][0]["text"], manifest

    def _bytes(self, payload: dict[str, Any]) -> bytes:
        raw = payload_bytes(payload)
        if len(raw) > self._config.max_bytes:
            limit = self._config.max_bytes
            raise RedactionError(
                f"it has {len(raw)} bytes, and at most {limit} are redacted", hint="Ask for less, or raise redaction.max_bytes."
            )
        return raw

    async def _redact(self, raw: bytes, masking: Masking, *, envelope: bool) -> tuple[dict[str, Any], Manifest]:
        try:
            named = self._hash(masking)
        except ConfigError as error:
            raise RedactionError(str(error), hint=error.hint) from None
        answer = await self._pool.run(wire.job(masking, raw, envelope=envelope))
        if "error" in answer:
            raise RedactionError(answer["error"], hint=answer["hint"])
        masked = tuple(Masked(*line) for line in answer["masked"])
        return answer["payload"], Manifest(profile=masking.profile, profile_hash=named, masked=masked)

    def _hash(self, masking: Masking) -> str:
        known = self._hashes.get(masking)
        if known is None:
            for path in (*masking.paths, *self._config.profile(masking.profile).paths):
                paths.parse(path)
            known = self._hashes[masking] = profile_hash(self._config, masking)
        return known


def _masking(call: Call) -> Masking:
    return call.target.masking if isinstance(call.target, Target) else Masking()
