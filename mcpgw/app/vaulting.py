"""What goes into the vault: raw payloads of the tools that the catalog names, without credentials, sealed to keys of others."""

from dataclasses import replace

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
        return replace(shown, sealed=await self._sealed("arguments", call, call.arguments, shown.raw))

    async def seal_reply(self, call: Call, reply: RawReply, clean: CleanReply) -> CleanReply:
        return replace(clean, sealed=await self._sealed("result", call, reply.payload, clean.raw))

    async def _sealed(self, slot: str, call: Call, payload: JsonObject, raw: Commitment) -> tuple[bytes, ...]:
        if not isinstance(call.target, Target) or not call.target.vault:
            return ()
        try:
            bare = await self._redactor.bare(payload, call.target.vault_except, envelope=slot == "result")
            sheet = Sheet(
                slot=slot,
                call_id=call.id,
                body=bare.body[: self._max_bytes],
                size=raw.size,
                salt=b"" if bare.left_out else raw.salt,
                left_out=tuple(LeftOut(line.entity, line.path, line.count) for line in bare.left_out),
                cut=max(0, len(bare.body) - self._max_bytes),
            )
            return (seal(sheet, self._recipients),)
        except RedactionError as error:
            raise VaultError(str(error), hint=error.hint) from None
        except ValueError:
            raise VaultError("it cannot be encrypted") from None
