"""The odd server behind a mood: `moody_server.py FILE [options]`. The file says `good`, `crash` (ends at once) or `hang`."""

import sys
import time
from pathlib import Path

import odd_server

mood = Path(sys.argv.pop(1)).read_text().strip()
if mood == "crash":
    sys.exit("the moody server is in a bad mood")
if mood == "hang":
    time.sleep(3600)
odd_server.main()
