"""Write the hashes of its script and style into the policy of mcpgw/ledger/evidence/verify.html: nothing else may run there."""

import base64
import hashlib
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "mcpgw/ledger/evidence/verify.html"


def with_hashes(page: str) -> str:
    """Return the page with a policy that allows its own script and style."""
    for tag in ("script", "style"):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        made = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        page = re.sub(rf"{tag}-src 'sha256-[^']*'", lambda _, tag=tag, made=made: f"{tag}-src 'sha256-{made}'", page, count=1)
    return page


def main() -> int:
    before = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_hashes(before), encoding="utf-8")
    print("nothing to do" if PAGE.read_text(encoding="utf-8") == before else "the policy was brought up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
