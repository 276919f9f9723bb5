"""Evidence packages: part of the log, taken away to be checked without it. Format `mcpgw-evidence/1`.

    README.html        for a person: who, when, what, which decisions and votes, what was masked, how to check
    manifest.json      `{"facts", "files"}`: what was asked for and what there is; size and SHA-256 of every other file
    manifest.sig       a signed note over `ORIGIN/evidence`, `manifest.json SHA256`; never to be taken for a checkpoint
    records.jsonl      the leaves that were asked for, one a line, and those that belong to them
    payloads.jsonl     their payloads, each with its salt
    payloads/          sealed raw payloads, where they were asked for: age files that only the vault's recipients open, named by
                       the record that commits to them (`12.arguments.age`)
    leaves.bin         the hash of every leaf of the range, 32 bytes each, also of those that are not shown
    nodes.bin          the hashes of all other subtrees that lead to the root (see `multiproof`)
    checkpoint         the signed root
    anchors/           checkpoints that were kept elsewhere, each with a proof that the log continues it or is continued by it
    policies/ catalog/ config/ identity/    what was in force, by the number of the record that brought it into force
    keys/ledger.pub    the log's public keys, for whoever has no copy of his own
    mapping.json       which controls these facts are evidence for
    verify.py, verify.html    verifiers that need nothing else

Everything in it is a function of the log, of the query and of who asks why: the same query has the same bytes, once the range
is over (its sessions closed, its approvals settled, its days summed up) and as long as the log's key is the same.

How it may change: a verifier refuses another number behind `mcpgw-evidence/`. A member that is added to the facts is ignored by
verifiers that do not know it; a member that is needed to tell good from bad makes a new number.
"""

from mcpgw.ledger.vault import SUFFIX

FORMAT = "mcpgw-evidence/1"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
README = "README.html"
RECORDS, PAYLOADS = "records.jsonl", "payloads.jsonl"
LEAVES, NODES = "leaves.bin", "nodes.bin"
CHECKPOINT = "checkpoint"
KEYS = "keys/ledger.pub"
SEALED = "payloads/"
"""Before the names of sealed payloads."""
MAPPING = "mapping.json"
VERIFIERS = ("verify.py", "verify.html")
FOLDERS = {"policy": "policies", "catalog": "catalog", "settings": "config", "issuers": "identity"}
"""By aspect: where the text of what was in force stands."""
FACTS_BEGIN = '<script type="application/json" id="facts">'
FACTS_END = "</script>"
"""Around the manifest's facts in the README: what a person reads is made of the same facts that are checked."""


def sealed_name(seq: int, slot: str) -> str:
    """Return where a package has a sealed payload of a record."""
    return f"{SEALED}{seq}.{slot.removesuffix(SUFFIX)}.age"
