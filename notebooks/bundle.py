"""The programs of a notebook's engines, put together for the cluster."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = ("engines.py", "on_engine.py")
OF_QUERIES = ("run_sql.py", "sql_text.py", "sql_result.py", "outcome.py")
"""What runs the queries of jobs runs those of notebooks, too."""

PROGRAM = OWN[0]


def put_programs(folder: Path) -> None:
    """Copy them into a folder, which is made where it is not there."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in OWN:
        shutil.copyfile(ROOT / "notebooks" / "programs" / name, folder / name)
    for name in OF_QUERIES:
        shutil.copyfile(ROOT / "jobs" / "programs" / name, folder / name)
