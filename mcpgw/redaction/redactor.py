"""The redaction room's door: `ports.Redactor` on worker processes."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mcpgw.core.answers import STATE, shown_reply, without_state
from mcpgw.core.errors import ConfigError, RedactionError
from mcpgw.core.model import (
    Call,
    CleanJson,
    CleanNotice,
    CleanReply,
    Json,
    JsonObject,
    Manifest,
    Masked,
    Masking,
    MaskingRule,
    RawNotice,
    RawReply,
    ShownCall,
    Target,
)
from mcpgw.redaction import paths, seams, tokens, wire
from mcpgw.redaction.config import FOR_VAULT, VAULT_NEVER, RedactionConfig, TokenScope, profile_hash
from mcpgw.redaction.memory import remember
from mcpgw.redaction.near import Near
from mcpgw.redaction.payload import commit, payload_bytes
from mcpgw.redaction.pool import Pool
from mcpgw.redaction.reader import ANYONE, Reader, holder_of, scope_of
from mcpgw.redaction.tokens import TokenStore

_MAX_STREAMS = 1_024
"""Streams whose last text is remembered at once; beyond it, the one that was silent longest is forgotten."""


class NoTokens:
    """The store of a gateway whose settings use no tokens: it keeps nothing and knows nothing."""

    async def keep(self, holder: str, issued: Mapping[str, Json]) -> None:
        raise RedactionError("there is no store of tokens")

    async def values(self, holder: str, tokens: Sequence[str]) -> Mapping[str, Json]:
        return {}


NO_TOKENS = NoTokens()


@dataclass(frozen=True, slots=True)
class Bare:
    """A raw payload without credentials."""

    body: bytes = field(repr=False)
    left_out: tuple[Masked, ...]
    """What was removed; where it is nothing, the body is the raw payload to the byte."""


class PresidioRedactor:
    """Redacts calls, replies and notices. `start` before use, `aclose` after it.

    Guarantees: an answer is redacted wholly or not at all; nothing but `RedactionError` is raised; it takes no longer than
    `timeout_s` once it is its turn, and no caller keeps the others from theirs; equal input under an equal configuration gives
    an equal answer, and redacting an answer again changes nothing.
    """

    def __init__(self, config: RedactionConfig, tokens: TokenStore = NO_TOKENS) -> None:
        self._config = config
        self._tokens = tokens
        self._pool = Pool(config)
        self._near = Near(config)
        self._hashes: dict[Masking, str] = {}
        self._streams: OrderedDict[tuple[str, str], str] = OrderedDict()
        """The end of what was streamed last, raw, by call and method."""

    @property
    def ready(self) -> bool:
        """Whether what comes now would be redacted: at once, when its turn comes, or when a late worker is replaced."""
        return self._pool.ready

    @property
    def complete(self) -> bool:
        """Whether every worker is alive, with its model loaded. Where one is not, `revive` helps."""
        return self._pool.complete

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the workers, for those who watch the machine."""
        return self._pool.pids

    @property
    def idle(self) -> int:
        """How many workers wait for something to redact."""
        return self._pool.idle

    @property
    def waiting(self) -> int:
        """How many redactions wait for a free worker."""
        return self._pool.waiting

    async def begin(self) -> None:
        """Start the workers, which load their model while the caller does something else. `start` waits for them."""
        await self._pool.begin()

    async def start(self) -> None:
        """Start the workers, unless they were, and wait for their model.

        Raises:
            ConfigError: the model is not installed; the hint names the package.
            RedactionError: it could not be loaded in time.
        """
        self._near.warm()
        await self._pool.start()

    async def revive(self) -> None:
        """Bring a worker back where it died while nobody was using it; calls do so by themselves.

        Raises:
            RedactionError: it is not there yet, and still loading; or it cannot work.
        """
        await self._asked(b"{}", Masking(), ANYONE, envelope=False)

    async def aclose(self) -> None:
        """End the workers. Redactions under way fail."""
        await self._pool.aclose()

    async def show(self, call: Call) -> ShownCall:
        """Return the call as it will run, with arguments as they may be recorded.

        Tokens that the caller was given stand for their values in `call.arguments` if the target is entitled to them, and for
        themselves in the clean arguments. The commitment is to the arguments that will run.
        """
        given = self._bytes(without_state(call.arguments))
        arguments, manifest, _ = await self._redact(
            given, _masking(call), self._reader(call), caller=call.identity.principal, envelope=False
        )
        call, restored = await self._restored(call)
        return ShownCall(
            call=call,
            arguments=CleanJson(arguments),
            raw=commit(self._bytes(dict(call.arguments))),
            manifest=replace(manifest, masked=(*manifest.masked, *restored)),
        )

    async def clean(self, call: Call, reply: RawReply) -> CleanReply:
        """Return the reply as the caller may see it; tokens in it can be used from now on."""
        for stream in [stream for stream in self._streams if stream[0] == call.id]:
            del self._streams[stream]
        raw = self._bytes(reply.payload)
        shown = shown_reply(reply.payload)
        seen = raw if shown is reply.payload else self._bytes(shown)
        payload, manifest, issued = await self._redact(
            seen, _masking(call), self._reader(call), caller=call.identity.principal, envelope=True
        )
        await self._keep(call, issued)
        state = reply.payload.get(STATE)
        return CleanReply(
            kind=reply.kind,
            payload=CleanJson(payload),
            raw=commit(raw),
            manifest=manifest,
            state=state if isinstance(state, str) else "",
        )

    async def clean_notice(self, call: Call, notice: RawNotice) -> CleanNotice:
        """Return the notification as the caller may see it."""
        stream = (call.id, notice.method)
        reader = replace(self._reader(call), before=self._streams.get(stream, ""))
        params, _, issued = await self._redact(
            self._bytes(notice.params), _masking(call), reader, caller=call.identity.principal, envelope=True
        )
        remember(self._streams, stream, f"{reader.before}{seams.streamed(notice.params)}"[-seams.REACH :], _MAX_STREAMS)
        await self._keep(call, issued)
        return CleanNotice(method=notice.method, params=CleanJson(params))

    async def bare(self, payload: JsonObject, without: Sequence[str], *, envelope: bool) -> Bare:
        """Return a raw payload for the vault: as it came, but for credentials and what stands at the places `without`.

        Raises:
            RedactionError: it cannot be searched for them wholly and in time, or a place is none.
        """
        raw = self._bytes(dict(payload))
        rules = tuple(MaskingRule(path=place, operator="mask") for place in (*VAULT_NEVER, *without))
        clean, manifest, _ = await self._redact(raw, Masking(profile=FOR_VAULT, rules=rules), ANYONE, envelope=envelope)
        body = payload_bytes(clean)
        removed = tuple(line for line in manifest.masked if not line.detector.startswith("keep:"))
        return Bare(body, removed or (() if body == raw else (Masked("MASKED", "", FOR_VAULT, 1),)))

    async def clean_text(self, text: str, masking: Masking) -> tuple[str, Manifest]:
        """Return one text as a client would receive it in a tool's result: what `mcpgw redact` measures."""
        raw = self._bytes({"content": [{"type": "text", "text": text}]})
        payload, manifest, _ = await self._redact(raw, masking, Reader(scope="measured"), envelope=True)
        return payload["content"][0]["text"], manifest

    # --- tokens ----------------------------------------------------------------------------------------------------------

    def _reader(self, call: Call) -> Reader:
        return Reader(
            members=call.identity.names & self._named(_masking(call)),
            scope=scope_of(call, self._config.token_scope) if self._config.hash_key else "",
            known=call.restored,
        )

    def _named(self, masking: Masking) -> frozenset[str]:
        """Whom anything under this masking names: nobody else's groups have to reach a worker."""
        profile = self._config.profiles.get(masking.profile)
        audiences = () if profile is None else profile.audiences
        return frozenset(
            member
            for members in (*(a.members for a in audiences), *(r.unmasked_for for r in masking.rules))
            for member in members
        )

    async def _restored(self, call: Call) -> tuple[Call, tuple[Masked, ...]]:
        """Return the call with the values of its tokens, and what the record says of them."""
        if not isinstance(call.target, Target) or not call.target.restore_tokens:
            return call, ()
        found = tokens.tokens_in(call.arguments)
        if not found:
            return call, ()
        if tokens.too_many(found):
            raise RedactionError(f"it holds {len(found)} tokens", hint="Send fewer in one call.")
        values = await self._tokens.values(self._holder(call), found)
        restoration = tokens.Restoration(values)
        arguments = restoration.arguments(call.arguments, call.target.definition.get("inputSchema"))
        return replace(call, arguments=arguments, restored=dict(values), sent=call.arguments), restoration.masked

    async def _keep(self, call: Call, issued: Mapping[str, Json]) -> None:
        if issued:
            await self._tokens.keep(self._holder(call), issued)

    def _holder(self, call: Call) -> str:
        """Return who can use a token: the identity, and under the scope of a session that session alone."""
        session = call.origin.session if self._config.token_scope is TokenScope.SESSION else ""
        return f"{session}:{holder_of(call.identity)}"

    # --- redaction -------------------------------------------------------------------------------------------------------

    def _bytes(self, payload: dict[str, Any]) -> bytes:
        raw = payload_bytes(payload)
        if len(raw) > self._config.max_bytes:
            limit = self._config.max_bytes
            raise RedactionError(
                f"it has {len(raw)} bytes, and at most {limit} are redacted", hint="Ask for less, or raise redaction.max_bytes."
            )
        return raw

    async def _redact(
        self, raw: bytes, masking: Masking, reader: Reader, *, caller: str = "", envelope: bool
    ) -> tuple[dict[str, Any], Manifest, Mapping[str, Json]]:
        try:
            named = self._hash(masking)
        except ConfigError as error:
            raise RedactionError(str(error), hint=error.hint) from None
        answer = self._near.answer(raw, masking, reader, envelope=envelope) if self._pool.ready else None
        if answer is None:
            answer = await self._asked(raw, masking, reader, caller, envelope=envelope)
        if "error" in answer:
            raise RedactionError(answer["error"], hint=answer["hint"])
        masked = tuple(Masked(*line) for line in answer["masked"])
        manifest = Manifest(profile=masking.profile, profile_hash=named, masked=masked)
        return answer["payload"], manifest, answer.get("issued", {})

    async def _asked(self, raw: bytes, masking: Masking, reader: Reader, caller: str = "", *, envelope: bool) -> Any:
        return await self._pool.run(wire.job(masking, raw, envelope=envelope, reader=reader), caller)

    def _hash(self, masking: Masking) -> str:
        known = self._hashes.get(masking)
        if known is None:
            for path in (*masking.paths, *self._config.profile(masking.profile).paths, *(r.path for r in masking.rules)):
                paths.parse_place(path)
            known = self._hashes[masking] = profile_hash(self._config, masking)
        return known


def _masking(call: Call) -> Masking:
    return call.target.masking if isinstance(call.target, Target) else Masking()
