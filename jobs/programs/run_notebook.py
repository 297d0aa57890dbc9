"""Executes a notebook, as a job in spawn mode: ``run_notebook.py NOTEBOOK [name=value …]``.

What the cells give goes to the log as it comes, and into a copy of the notebook in PORTAL_OUTPUT, which is saved after
each cell: it is there also when a cell fails, and then the exit code is 1. Values are set in a cell behind the one that
is tagged ``parameters``, or in a first one where there is none. They are JSON where they can be read so, else texts.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def main(arguments: list[str]) -> int:
    """Execute the notebook, and say how it went."""
    path = Path(arguments[0])
    try:
        values = dict(value_of(argument) for argument in arguments[1:])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, DeadKernelError
    except ImportError:
        print("The Bodo environment of this cluster has no nbclient, which notebooks need.", file=sys.stderr)
        return 1
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        print(f"{path} is not a notebook: {error}", file=sys.stderr)
        return 1
    set_values(notebook, values)
    copy = Path(os.environ["PORTAL_OUTPUT"], path.name)

    class Client(NotebookClient):  # type: ignore[misc]
        """Shows outputs as they come, and saves after each cell."""

        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            manager.transport_encryption = "required"  # other jobs of the machine could listen
            return manager

        async def _async_cleanup_kernel(self) -> None:
            if self.km is not None:  # after a request to end, it comes here twice
                await super()._async_cleanup_kernel()

        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            show(msg)
            return super().process_message(msg, cell, cell_index)

        async def async_execute_cell(self, cell: Any, cell_index: int, **more: Any) -> Any:
            try:
                return await super().async_execute_cell(cell, cell_index, **more)
            finally:
                save(nbformat, notebook, copy)

    signal.signal(signal.SIGTERM, _leave)  # so that the kernel is shut down, and the copy saved
    try:
        Client(notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": os.getcwd()}}).execute()
    except CellExecutionError:
        return 1  # its traceback was shown as it came
    except DeadKernelError:
        print("The notebook's kernel died: a cell crashed it, or it was killed.", file=sys.stderr)
        return 1
    finally:
        save(nbformat, notebook, copy)
    return 0


def value_of(argument: str) -> tuple[str, Any]:
    """``name=value`` as a name and a value. Raises ValueError for anything else."""
    name, sign, text = argument.partition("=")
    if not sign or not name.isidentifier():
        raise ValueError(f"{argument!r} is not an argument of a notebook: write name=value.")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text


def set_values(notebook: Any, values: dict[str, Any]) -> None:
    """Add the cell that sets the values."""
    if not values:
        return
    from nbformat.v4 import new_code_cell

    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    place = next((index + 1 for index, found in enumerate(tags) if "parameters" in found), 0)
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    cell = new_code_cell(source, metadata={"tags": ["injected-parameters"]})
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        cell.pop("id", None)
    notebook.cells.insert(place, cell)


def show(message: Any) -> None:
    """Write what a cell says to the log."""
    content = message["content"]
    match message["msg_type"]:
        case "stream":
            stream = sys.stderr if content["name"] == "stderr" else sys.stdout
            print(content["text"], end="", file=stream, flush=True)
        case "execute_result" | "display_data":
            print(content["data"].get("text/plain", ""), flush=True)
        case "error":
            print(_COLOURS.sub("", "\n".join(content["traceback"])), file=sys.stderr, flush=True)


def save(nbformat: Any, notebook: Any, path: Path) -> None:
    """Write the notebook whole or not at all."""
    half = path.with_name(f".{path.name}")
    nbformat.write(notebook, half)
    half.replace(path)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
