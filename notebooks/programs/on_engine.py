"""What each engine of an attached notebook runs first, and what the notebook's magics call on it.

``activity/<number>.busy`` in PORTAL_OUTPUT is there while the engine runs a cell, since the file's time; the time of
``activity/last`` is that of the last cell's end. ``activity/<number>.ready`` says that the engine is there.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import site
import socket
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OUTPUT = Path(os.environ["PORTAL_OUTPUT"])
WORKERS = int(os.environ["PORTAL_WORKERS"])
IS_RANK = os.environ.get("BODO_SPAWN_MODE") == "0"
NUMBER = int(os.environ.get("PMI_RANK", "0")) if IS_RANK else WORKERS
PACKAGES = Path(os.environ["HOME"], "packages")
HOST = socket.gethostname()
PIP_OPTIONS = ("--disable-pip-version-check", "--no-input", "--no-color")
MOST_ROWS, MOST_BYTES = 100_000, 32 << 20
"""What of a query's result a notebook gets at most; the cluster keeps all of it."""

SHOWN_ROWS = 20


def begin(shell: Any) -> None:
    """Note from now on when cells run."""
    site.addsitedir(str(next(PACKAGES.glob("lib/python*/site-packages"))))  # also those that pip links to
    activity = OUTPUT / "activity"
    busy = activity / f"{NUMBER}.busy"

    def begun() -> None:
        busy.touch()

    def ended() -> None:
        busy.unlink(missing_ok=True)
        (activity / "last").touch()

    shell.events.register("pre_execute", begun)
    shell.events.register("post_execute", ended)
    (activity / f"{NUMBER}.ready").touch()


# --- the driver -----------------------------------------------------------------------------------------------------

_catalogs: dict[str, Any] = {}


def sql(text: str, catalog: str, output: str, values: dict[str, Any], shell: Any) -> dict[str, Any]:
    """Run a query over a catalog of the workspace, its files where there is no name, and keep the result as ``output``.

    ``values`` are those of ``@name`` in the query. Returns ``rows``, ``path`` (a folder of Parquet files for the
    ranks), and, as far as it is not too large, the ``whole`` result as Arrow bytes; else the first rows. What is wrong
    with the query is a ``message``.
    """
    import bodo
    import run_sql
    import sql_text

    found = None
    try:
        found = _catalogs.get(catalog) or run_sql.Catalog(_described(catalog))
        _catalogs[catalog] = found
        bodo.bodo_sql_style = "SNOWFLAKE" if found.kind == "SNOWFLAKE" else "SPARK"  # read once, when it is imported
        script = sql_text.statements(text)
        if not script:
            raise run_sql.RefusedError("The query is empty.")
        for each in script:
            for name in sql_text.parameters(each):
                if name not in values:
                    raise run_sql.RefusedError(
                        f"The query uses @{name}, but the notebook has no variable {name}"
                        " that is a text, a number, True, False or None."
                    )
        for each in script[:-1]:
            found.run(each, values, distinct=False)
        frame = found.run(script[-1], values, distinct=True)
    except run_sql.RefusedError as error:
        return {"message": str(error)}
    except Exception as error:
        return {"message": found.readable(error) if found else str(error)}
    return _keep(frame, output, shell)


def _described(name: str) -> dict[str, Any]:
    import run_sql

    described: list[dict[str, Any]] = json.loads(os.environ.get("PORTAL_CATALOGS", "[]"))
    known = {each["name"]: each for each in described}
    if not name:
        return {}
    if name not in known:
        names = ", ".join(known) or "none"
        raise run_sql.RefusedError(
            f"These engines know no catalog {name}. They know: {names}. One that is new needs a restart of the engines."
        )
    return known[name]


def _keep(frame: Any, output: str, shell: Any) -> dict[str, Any]:
    import pyarrow
    import sql_result

    place = Path(os.environ["TMPDIR"], "sql", output)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    rows = sql_result.write(frame, place)
    folder = place / "result"
    shell.user_ns[output] = frame
    size = sum(each.stat().st_size for each in folder.glob("*.parquet"))
    whole = rows <= MOST_ROWS and size <= MOST_BYTES
    table = pyarrow.concat_tables(read(folder, 0, rows if whole else min(rows, SHOWN_ROWS)))
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return {"rows": rows, "path": str(folder), "whole": whole, "arrow": sink.getvalue().to_pybytes()}


# --- the ranks ------------------------------------------------------------------------------------------------------


def load(path: str, output: str, shell: Any) -> None:
    """Give this rank its part of a query's result: the rows in their order, cut as Bodo cuts them."""
    import pyarrow
    from pyarrow import parquet

    rows = sum(parquet.read_metadata(part).num_rows for part in Path(path).glob("*.parquet"))
    size, rest = divmod(rows, WORKERS)
    first = NUMBER * size + min(NUMBER, rest)
    shell.user_ns[output] = pyarrow.concat_tables(read(Path(path), first, size + (rest > NUMBER))).to_pandas()


def read(folder: Path, first: int, count: int) -> list[Any]:
    """So many rows of Parquet files in their order, from the one of this number on, without reading the others."""
    from pyarrow import parquet

    found: list[Any] = []
    at = 0
    for part in sorted(folder.glob("*.parquet")):
        file = parquet.ParquetFile(part)
        if not found:
            found.append(file.schema_arrow.empty_table())
        for group in range(file.num_row_groups):
            length = file.metadata.row_group(group).num_rows
            begin, end = max(first, at), min(first + count, at + length)
            if begin < end:
                found.append(file.read_row_group(group).slice(begin - at, end - begin))
            at += length
    return found


# --- commands, on one rank of each node -----------------------------------------------------------------------------


def shell(command: str) -> int:
    """Run a command of the shell, and return its exit code."""
    return _run(["/bin/sh", "-c", command])


def pip(arguments: Sequence[str]) -> int:
    """Run pip over the cluster's own packages. The release's are seen, and never changed."""
    python = PACKAGES / "bin" / "python"
    if not python.exists():
        venv.create(PACKAGES, symlinks=True)
        released = next(Path(sys.prefix).glob("lib/python*/site-packages"))
        own = next(PACKAGES.glob("lib/python*/site-packages"))
        (own / "portal_release.pth").write_text(f"{released}\n")
    code = _run([str(python), "-m", "pip", *PIP_OPTIONS, *arguments])
    importlib.invalidate_caches()
    return code


def conda(arguments: Sequence[str]) -> int:
    """Run conda, where the machines have one; -1 where they have none."""
    program = shutil.which("conda")
    return _run([program, *arguments]) if program else -1


def _run(command: Sequence[str]) -> int:
    """Show what a command prints as it prints it."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
    return process.wait()


if __name__ == "__main__":
    import on_engine

    on_engine.begin(get_ipython())  # type: ignore[name-defined]  # noqa: F821
