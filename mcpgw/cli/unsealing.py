"""Opening what the vault sealed, in the process of somebody who has a private key, and what it is then to be believed for."""

from mcpgw.ledger.record import Members
from mcpgw.ledger.replay import Opener, Raw
from mcpgw.ledger.unseal import Identities
from mcpgw.ledger.vault import NotSealed, Sheet


def opener(identities: Identities) -> Opener:
    """Return what opens sealed payloads with these keys, and says what they are to be believed for."""

    def opened(members: Members, slot: str, sealed: bytes) -> Raw:
        try:
            sheet = identities.open(sealed)
        except NotSealed as error:
            return Raw("", str(error))
        if (sheet.slot, sheet.call_id) != (slot.partition(".")[0], members["call"]):
            return Raw("", "it is the payload of another call: the record and the vault do not agree")
        return Raw(sheet.body.decode(errors="replace"), _note(sheet, members["payloads"][slot]["sha256"]))

    return opened


def _note(sheet: Sheet, sha256: str) -> str:
    if sheet.left_out:
        told = ", ".join(f"{one.entity} at {one.path}, {one.count} times" for one in sheet.left_out)
        return f"left out before sealing: {told}; so it cannot be proved"
    if sheet.cut:
        return f"the last {sheet.cut} bytes were cut off; so it cannot be proved"
    proves = sheet.proves(sha256)
    return "it is what the record commits to" if proves else "IT IS NOT WHAT THE RECORD COMMITS TO"
