"""The magics of the platform, in every kernel: ``%%px``, ``%%sql``, ``%psh``, ``%ppip``, ``%pconda``.

All of them need a cluster. Without one, each says so in a line and runs nothing.
"""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from portal_lab import attachment
from portal_lab.engines import BusyError, Engines, LostError, call, plain

OUTPUT = "LAST_SQL_OUTPUT"
DETACHED = (
    "This notebook is not attached to a cluster, so nothing ran. Choose a cluster in the toolbar, then run it again."
)
NOT_ON_RANKS = (
    "bodo.pandas starts workers of its own, which it cannot have where every rank runs the same code: the cell would"
    " hang, so nothing ran. Begin it with %%px --spawn, or use bodo.jit over pandas."
)
RESTART = "Press Restart engines in the toolbar; what they had in memory is lost."


@magics_class
class ClusterMagics(Magics):
    """What a notebook does on its cluster."""

    def __init__(self, shell: Any) -> None:
        super().__init__(shell=shell)
        self.kernel = attachment.own_kernel()
        self.engines: Engines | None = None

    @no_var_expand
    @line_cell_magic
    def px(self, line: str = "", cell: str | None = None) -> None:
        """Run code on every rank of the cluster, each with the same code: a Parallel Python cell.

        ``%%px --targets 0,2`` runs it on some ranks only. ``%%px --spawn`` runs it once, in the process that spreads
        the work over all cores by itself: for ``bodo.pandas``.
        """
        if cell is None:
            self._run("%px", line, None)
            return
        options = parse_argstring(_px_options, line)
        self._run("%%px", cell, options)

    @no_var_expand
    @magic_arguments()
    @argument("--catalog", default="", help="a catalog of the workspace; without it, the workspace's files")
    @argument("--output", default=OUTPUT, help="the variable for the result")
    @cell_magic
    def sql(self, line: str, cell: str) -> Any:
        """Run a query on all cores of the cluster: a SQL cell.

        The result is a variable on the cluster, of which each rank has its part, and in this notebook where it is not
        too large. ``@name`` in the query is the notebook's variable of that name.
        """
        options = parse_argstring(self.sql, line)
        if not options.output.isidentifier():
            raise UsageError(f"--output is a variable's name, and {options.output!r} is none.")
        engines = self._attached("%%sql")
        names = set(re.findall(r"@([A-Za-z_]\w*)", cell))
        values = {name: self.shell.user_ns[name] for name in names if plain(self.shell.user_ns.get(name, ...))}
        query = call("sql", cell, options.catalog, options.output, values, ...)
        try:
            engines.run(f"_portal_sql = {query}", engines.driver)
            found = engines.pull("_portal_sql", engines.workers)
            if "message" in found:
                raise UsageError(found["message"])
            engines.run(call("load", found["path"], options.output, ...), engines.ranks)
        except (LostError, BusyError) as problem:
            self._explain(problem)
        return self._shown(found, options.output)

    @no_var_expand
    @line_magic
    def psh(self, line: str) -> None:
        """Run a shell command on every node of the cluster."""
        self._on_nodes("%psh", "shell", line)

    @no_var_expand
    @line_magic
    def ppip(self, line: str) -> None:
        """Run pip on every node of the cluster: ``%ppip install humanize``."""
        self._on_nodes("%ppip", "pip", shlex.split(line))

    @no_var_expand
    @line_magic
    def pconda(self, line: str) -> None:
        """Run conda on every node of the cluster: ``%pconda list``."""
        self._on_nodes("%pconda", "conda", shlex.split(line))

    def _run(self, what: str, code: str, options: Any) -> None:
        engines = self._attached(what)
        targets = engines.ranks
        if options and options.targets:
            targets = _numbers(options.targets, engines.workers)
        if options and options.spawn:
            targets = engines.driver
        elif imports_bodo_pandas(self.shell.transform_cell(code)):
            raise UsageError(NOT_ON_RANKS)
        try:
            engines.run(code, targets)
        except (LostError, BusyError) as problem:
            self._explain(problem)

    def _on_nodes(self, what: str, function: str, argument: Any) -> None:
        engines = self._attached(what)
        try:
            hosts = engines.ask(call_constant("HOST"), engines.ranks)
            first = {host: hosts.index(host) for host in hosts}
            nodes = list(first.values())
            engines.run(f"_portal_code = {call(function, argument)}", nodes)
            codes = dict(zip(first, engines.ask("_portal_code", nodes), strict=True))
        except (LostError, BusyError) as problem:
            self._explain(problem)
        if -1 in codes.values() and function == "conda":
            raise UsageError("The machines of this cluster have no conda. Use %ppip.")
        failed = [f"{code} on {host}" for host, code in codes.items() if code]
        if failed:
            raise UsageError(f"{what} ended with the exit code {', '.join(failed)}.")

    def _attached(self, what: str) -> Engines:
        """The engines, connected; UsageError where there are none."""
        told = self._told(what)
        if self.engines and self.engines.attachment.engines != told.engines:
            self.engines.close()
            self.engines = None
        try:
            self.engines = self.engines or Engines(told, lambda: self._refuse_ended())
        except LostError as problem:
            self._explain(problem)
        return self.engines

    def _told(self, what: str) -> attachment.Attachment:
        told = attachment.read(self.kernel)
        if told is None and self.engines:
            self.engines.close()
            self.engines = None
        if told is None:
            raise UsageError(f"{what}: {DETACHED}")
        if told.state == "STARTING":
            raise UsageError(f"{what}: The engines on {told.cluster} are starting. Run it again in a few seconds.")
        if told.state == "ENDED":
            raise UsageError(f"{what}: {told.reason or f'The engines on {told.cluster} have ended.'} Nothing ran.")
        return told

    def _refuse_ended(self) -> None:
        """While a cell runs: the platform may know what we cannot see."""
        told = attachment.read(self.kernel)
        if told is None:
            raise UsageError("The notebook was detached from its cluster while the cell ran.")
        if told.state == "ENDED":
            raise UsageError(told.reason or f"The engines on {told.cluster} have ended.")
        if self.engines and told.engines != self.engines.attachment.engines:
            raise UsageError("The engines were restarted while the cell ran.")

    def _explain(self, problem: Exception) -> NoReturn:
        told = attachment.read(self.kernel)
        cluster = told.cluster if told else "the cluster"
        if isinstance(problem, BusyError):
            raise UsageError(
                f"Of the engines on {cluster}, {problem} still runs an earlier cell and does not hear an interrupt: it"
                f" may wait for ranks that are past that point. {RESTART}"
            ) from None
        if told and told.state == "ENDED" and told.reason:
            raise UsageError(told.reason) from None
        raise UsageError(f"The engines on {cluster} are lost. {problem} {RESTART}") from None

    def _shown(self, found: dict[str, Any], output: str) -> Any:
        import pyarrow

        frame = pyarrow.ipc.open_stream(found["arrow"]).read_all().to_pandas()
        if found["whole"]:
            self.shell.user_ns[output] = frame
            return frame
        self.shell.user_ns.pop(output, None)
        print(
            f"{found['rows']:,} rows, of which these are the first. {output} is too large for this notebook; in"
            " Parallel Python cells, each rank has its part."
        )
        return frame


@magic_arguments()
@argument("--spawn", action="store_true", help="run once, in the process that spreads work by itself")
@argument("--targets", default="", help="the ranks, such as 0,2")
def _px_options(line: str) -> None:
    """Options of %%px."""


def imports_bodo_pandas(code: str) -> bool:
    """Whether code imports what hangs on ranks."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return False  # the engines say where it is
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(each.name.startswith("bodo.pandas") for each in node.names):
            return True
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = {f"{node.module}.{each.name}" for each in node.names} | {node.module or ""}
            if any(name == "bodo.pandas" or name.startswith("bodo.pandas.") for name in names):
                return True
    return False


def call_constant(name: str) -> str:
    """The code for a constant of ``on_engine``."""
    return f"__import__('on_engine').{name}"


def _numbers(text: str, workers: int) -> list[int]:
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or found[0] < 0 or found[-1] >= workers:
        raise UsageError(f"--targets takes ranks from 0 to {workers - 1}, such as 0,1.")
    return found


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython in each kernel, by the configuration that the wheel brings along."""
    shell.register_magics(ClusterMagics(shell))
