"""What goes into the vault: raw payloads of the tools that the catalog names, without credentials, sealed to keys of others."""

from dataclasses import replace
from typing import Final

from mcpgw.core.answers import ANSWERS, STATE, shown_reply, without_state
from mcpgw.core.errors import RedactionError, VaultError
from mcpgw.core.model import (
    Call,
    CleanReply,
    Commitment,
    JsonObject,
    RawReply,
    ShownCall,
    Target,
)
from mcpgw.ledger.vault import LeftOut, Recipients, Sheet, seal
from mcpgw.ports import Vault
from mcpgw.redaction import PresidioRedactor
from mcpgw.settings import Settings

_STATE_ENTITY: Final = "REQUEST_STATE"
"""What a server's state is left out as."""


def vault(settings: Settings, redactor: PresidioRedactor) -> Vault:
    """Return the vault of these settings: one that keeps nothing, unless they say otherwise."""
    section = settings.vault
    if section.mode == "off":
        return NoVault()
    return SealingVault(redactor, Recipients(section.recipients), section.max_bytes)


class NoVault:
    """`ports.Vault` of a gateway that keeps no raw payload in any form."""

    async def seal_arguments(self, shown: ShownCall) -> ShownCall:
        return shown

    async def seal_reply(self, call: Call, reply: RawReply, clean: CleanReply) -> CleanReply:
        return clean


class SealingVault:
    """`ports.Vault` that encrypts in this process's memory, so that nothing raw is ever written."""

    def __init__(self, redactor: PresidioRedactor, recipients: Recipients, max_bytes: int) -> None:
        self._redactor = redactor
        self._recipients = recipients
        self._max_bytes = max_bytes

    async def seal_arguments(self, shown: ShownCall) -> ShownCall:
        call = shown.call
        readable = without_state(call.arguments)
        state = () if readable == call.arguments else (LeftOut(_STATE_ENTITY, f"{ANSWERS}.{STATE}", 1),)
        return replace(shown, sealed=await self._sealed("arguments", call, readable, state, shown.raw))

    async def seal_reply(self, call: Call, reply: RawReply, clean: CleanReply) -> CleanReply:
        readable = shown_reply(reply.payload)
        state = () if readable is reply.payload else (LeftOut(_STATE_ENTITY, STATE, 1),)
        return replace(clean, sealed=await self._sealed("result", call, readable, state, clean.raw))

    async def _sealed(
        self, slot: str, call: Call, payload: JsonObject, state: tuple[LeftOut, ...], raw: Commitment
    ) -> tuple[bytes, ...]:
        """Return the payload as one sealed file; nothing if it is not to be kept. `state`: what was left out of it before."""
        if not isinstance(call.target, Target) or not call.target.vault:
            return ()
        try:
            bare = await self._redactor.bare(payload, call.target.vault_except, envelope=slot == "result")
            left_out = (*state, *(LeftOut(line.entity, line.path, line.count) for line in bare.left_out))
            sheet = Sheet(
                slot=slot,
                call_id=call.id,
                body=bare.body[: self._max_bytes],
                size=raw.size,
                salt=b"" if left_out else raw.salt,
                left_out=left_out,
                cut=max(0, len(bare.body) - self._max_bytes),
            )
            return (seal(sheet, self._recipients),)
        except RedactionError as error:
            raise VaultError(str(error), hint=error.hint) from None
        except ValueError:
            raise VaultError("it cannot be encrypted") from None
