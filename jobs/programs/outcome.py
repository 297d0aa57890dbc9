"""How a program of ours says why it failed: in the log, and in a file that the page of the run shows.

Standard library only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

MOST = 2000
"""Characters of the file."""


def failed(message: str) -> int:
    """Say it, and return the exit code to end with."""
    print(message, file=sys.stderr, flush=True)
    Path(os.environ["PORTAL_OUTPUT"], ".failure").write_text(message[:MOST], errors="replace")
    return 1
