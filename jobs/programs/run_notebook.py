"""Executes a notebook, as a job in spawn mode: ``run_notebook.py NOTEBOOK [name=value …]``.

What the cells give goes to the log as it comes, and into a copy of the notebook in PORTAL_OUTPUT, which is saved after
each cell: it is there also when a cell fails, and then the exit code is 1 (see ``outcome``). Values are set in a cell
behind the one that is tagged ``parameters``, or in a first one where there is none. They are JSON where they can be
read so, else texts.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import outcome

INJECTED = "injected-parameters"
MOST_KEPT = 1 << 20
"""Characters of what a cell prints that are kept in the notebook; the log has all."""

MOST_TOLD = 300
"""Characters of an error that are told beside the cell; its traceback is in the log and in the notebook."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class RefusedError(Exception):
    """What a person has to change."""


def main(arguments: list[str]) -> int:
    """Execute the notebook, and say how it went."""
    try:
        execute(Path(arguments[0]), dict(value_of(argument) for argument in arguments[1:]))
    except RefusedError as error:
        return outcome.failed(str(error))
    return 0


def execute(path: Path, values: dict[str, Any]) -> None:
    """Execute all cells; the copy has what they gave, however it ends. Raises RefusedError."""
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError, DeadKernelError
    except ImportError:
        raise RefusedError("The Bodo environment of this cluster has no nbclient, which notebooks need.") from None
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as error:
        raise RefusedError(f"{path} is not a notebook: {error}") from None
    language = notebook.metadata.get("language_info", {}).get("name", "python")
    if language != "python":
        raise RefusedError(f"{path} is written in {language}; clusters run Python.")
    set_values(notebook, values)
    copy = Path(os.environ["PORTAL_OUTPUT"], path.name)

    class Client(NotebookClient):  # type: ignore[misc]
        """Shows outputs as they come, and saves after each cell."""

        kept = 0

        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            manager.transport_encryption = "required"  # other jobs of the machine could listen
            return manager

        async def async_start_new_kernel(self, **more: Any) -> None:
            # Instead of the handler that was just set, which shuts the kernel down and then fails at its absence.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)
            await super().async_start_new_kernel(**more)

        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            show(msg)
            if msg["msg_type"] == "stream":
                before, self.kept = self.kept, self.kept + len(msg["content"]["text"])
                if before > MOST_KEPT:
                    return None
                if self.kept > MOST_KEPT:
                    msg["content"]["text"] = "\n[The log of the run has what this cell prints from here on.]\n"
            return super().process_message(msg, cell, cell_index)

        async def async_execute_cell(self, cell: Any, cell_index: int, **more: Any) -> Any:
            self.kept = 0
            which = f"Cell {number_of(notebook, cell_index)}"
            try:
                return await super().async_execute_cell(cell, cell_index, **more)
            except CellExecutionError as error:
                told = _COLOURS.sub("", f"{error.ename}: {error.evalue}".removesuffix(": "))
                raise RefusedError(f"{which} failed: {told[:MOST_TOLD]}") from None
            except DeadKernelError:
                raise RefusedError(f"{which} ended the notebook's kernel: it crashed, or was killed.") from None
            finally:
                save(nbformat, notebook, copy)

    def leave() -> None:
        """The run was cancelled, or timed out; the kernel is asked to end as we are, and may have gone already."""
        save(nbformat, notebook, copy)
        os._exit(128 + signal.SIGTERM)

    folder = {"metadata": {"path": os.getcwd()}}
    client = Client(notebook, timeout=None, kernel_name="python3", resources=folder, coalesce_streams=True)
    try:
        client.execute()
    except DeadKernelError:
        raise RefusedError("The notebook's kernel ended before it could run a cell.") from None
    finally:
        save(nbformat, notebook, copy)


def value_of(argument: str) -> tuple[str, Any]:
    """``name=value`` as a name and a value. Raises RefusedError for anything else."""
    name, sign, text = argument.partition("=")
    if not sign or not name.isidentifier():
        raise RefusedError(f"{argument!r} is not an argument of a notebook: write name=value.")
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
    cell = new_code_cell(source, metadata={"tags": [INJECTED]})
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        cell.pop("id", None)
    notebook.cells.insert(place, cell)


def number_of(notebook: Any, index: int) -> int:
    """The number of a cell, counted as in the notebook that was given: from 1, texts included, ours left out."""
    ours = sum(INJECTED in cell.metadata.get("tags", []) for cell in notebook.cells[: index + 1])
    return index + 1 - ours


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
