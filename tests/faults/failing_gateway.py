"""`mcpgw serve` on a disk that fails when it is told to: `failing_gateway.py ORDERS`, in a gateway's folder.

ORDERS is a file of JSON, `{"failing": [operations], "error": name, "garbled": bool}`; while it is not there the disk works. The
gateway knows nothing of it: SQLite is given another file system for the whole process.
"""

import json
import sys
import time
from pathlib import Path

import apsw

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
from mcpgw.cli.main import run
from tests.ledger.disks import FailingDisk

_LOOK_S = 0.02
"""How old what is known of the orders may be: there are thousands of operations in a second."""


class OrderedDisk(FailingDisk):
    """Does as it is told by the file, looked at again and again."""

    def __init__(self, orders: Path) -> None:
        super().__init__(for_all=True)
        self._orders = orders
        self._looked = 0.0

    def before(self, operation: str, name: str) -> None:
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            told = json.loads(self._orders.read_text()) if self._orders.exists() else {}
            self.failing = frozenset(told.get("failing", ()))
            self.error = getattr(apsw, told.get("error", "IOError"))
            self.garbled = told.get("garbled", False)
        super().before(operation, name)


if __name__ == "__main__":
    disk = OrderedDisk(Path(sys.argv[1]))
    sys.argv = ["mcpgw", "serve"]
    run()
