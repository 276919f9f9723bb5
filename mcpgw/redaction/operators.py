"""What is written in the place of a value."""

import hashlib
import re

from mcpgw.redaction.config import Operator, Profile
from mcpgw.redaction.findings import Finding

_ALNUM = re.compile(r"[^\W_]")


def replacement(profile: Profile, hash_key: bytes, entity: str, value: str) -> str | None:
    """Return the text that stands for a masked value, or None where the profile keeps it."""
    match profile.operator(entity):
        case Operator.KEEP:
            return None
        case Operator.DROP:
            return ""
        case Operator.PARTIAL:
            kept = _tail(value)
            return f"<{entity}:{kept}>" if kept else f"<{entity}>"
        case Operator.HASH:
            mac = hashlib.blake2b(
                f"{entity}\0{''.join(_ALNUM.findall(value)).casefold()}".encode("utf-8", "surrogatepass"),
                key=hash_key,
                digest_size=8,
            )
            return f"<{entity}:{mac.hexdigest()}>"
        case _:
            return f"<{entity}>"


def _tail(value: str) -> str:
    """The last four ASCII letters and digits, but never more than a quarter of them."""
    signs = [char for char in value if char.isascii() and char.isalnum()]
    keep = min(4, len(signs) // 4)
    return "".join(signs[len(signs) - keep :])


def apply(text: str, spans: list[tuple[int, int, Finding]], profile: Profile, hash_key: bytes) -> tuple[str, list[Finding]]:
    """Return the text with every span replaced, and what was done; a kept one's detector begins with `keep:`."""
    out: list[str] = []
    done: list[Finding] = []
    position = 0
    for start, end, finding in spans:
        new = replacement(profile, hash_key, finding.entity, text[start:end])
        if new is None:
            done.append(finding._replace(detector=f"keep:{finding.detector}"))
            continue
        out += (text[position:start], new)
        position = end
        done.append(finding)
    out.append(text[position:])
    return "".join(out), done
