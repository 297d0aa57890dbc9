"""Runs a query with BodoSQL, as a job in spawn mode.

Beside this file lie ``query.sql`` and ``parameters.json``, an object of the values of ``@name`` in the query. The
catalog is in PORTAL_CATALOG: ``{"name", "kind", "settings", "secret"}``; without it, the workspace's files are the
catalog. What the last statement gives goes to PORTAL_OUTPUT (see ``sql_result``). After an error, which is told as in
``outcome``, the exit code is 1.

Below the directory of a FILESYSTEM catalog, a Parquet file is a table, and so is a folder with Parquet files or
partitions in it; any other folder is a schema. ``CREATE TABLE … AS`` writes such a folder. Tables of Iceberg are found
by BodoSQL itself.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn

import outcome
import sql_result
import sql_text
from sql_text import Name

SUFFIXES = (".parquet", ".pq")
MOST_NAMED = 20
_NOISE = re.compile(
    r"^(Unable to (compile|parse) SQL Query\. Error message:\n|Sql\w*Exception\n+"
    r"|(Caused by: )?[a-z]+(\.\w+)+(Exception|Error): )",
    re.MULTILINE,
)
_MARKED = re.compile(r"\A.*?^ *\^+ *$\s*", re.MULTILINE | re.DOTALL)
_QUIET = "ignore:Total number of row groups"
"""Of no use to whoever did not make the files."""


class RefusedError(Exception):
    """What a person has to change."""


def main() -> int:
    """Run the query beside this file."""
    folder, output = Path(__file__).parent, Path(os.environ["PORTAL_OUTPUT"])
    described = json.loads(os.environ.pop("PORTAL_CATALOG", "{}"))
    try:
        values = json.loads((folder / "parameters.json").read_text())
        run((folder / "query.sql").read_text(), values, described, output)
    except RefusedError as error:
        return outcome.failed(str(error))
    return 0


def run(text: str, values: Mapping[str, Any], described: Mapping[str, Any], output: Path) -> None:
    """Run all statements of a script, and write the result of the last one."""
    script = sql_text.statements(text)
    if not script:
        raise RefusedError("The query is empty.")
    for each in script:
        check_parameters(each, values)
    catalog = Catalog(described)
    for number, each in enumerate(script, 1):
        started = time.monotonic()
        which = f"Statement {number} of {len(script)}: " if len(script) > 1 else ""
        try:
            last = number == len(script)
            frame = catalog.run(each, values, distinct=last)
            rows = sql_result.write(frame, output) if last else None
        except RefusedError as error:
            raise RefusedError(f"{which}{error}") from None
        except Exception as error:
            if type(error).__name__ not in ("BodoError", "ValueError", "RuntimeError", "Exception"):
                traceback.print_exc()  # not BodoSQL's own words: a mistake in it, or in us
            raise RefusedError(f"{which}{catalog.readable(error)}") from None
        found = "" if rows is None else "1 row, " if rows == 1 else f"{rows:,} rows, "
        print(f"{which}{found}{time.monotonic() - started:.1f} s", flush=True)


def check_parameters(statement: str, values: Mapping[str, Any]) -> None:
    """Say which parameter has no value, or one that SQL does not have."""
    for name in sql_text.parameters(statement):
        if name not in values:
            raise RefusedError(f"The query uses @{name}, but there is no value for this parameter.")
        if not isinstance(values[name], (str, int, float, bool, type(None))):
            raise RefusedError(f"The value of @{name} is not a text, a number, true, false or null.")


class Catalog:
    """Where a query finds its tables."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.kind = described.get("kind", "FILESYSTEM")
        self.settings, self.secret = described.get("settings", {}), described.get("secret", {})
        self.directory = Path(os.environ["PORTAL_BODOFS"], self.settings.get("directory", "")).resolve()
        self.aliases: dict[str, Path] = {}
        if self.kind == "FILESYSTEM" and not self.directory.is_dir():
            raise RefusedError(f"The folder of the catalog does not exist: {self.settings.get('directory')}")
        if self.kind != "SNOWFLAKE":
            os.environ.setdefault("BODO_SQL_STYLE", "SPARK")  # names as they are, and in any case
        if self.kind == "GLUE":
            os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = self.settings["region"]
            for name, value in self.secret.items():
                os.environ[f"AWS_{name.upper()}"] = value
        os.environ["PYTHONWARNINGS"] = ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), _QUIET]))

    def run(self, statement: str, values: Mapping[str, Any], *, distinct: bool) -> Any:
        """The result of one statement, as a frame. With ``distinct``, its columns must have names of their own."""
        import bodosql
        import pandas

        tables: dict[str, Path] = {}
        _entries.cache_clear()  # the statement before may have made a table
        is_table.cache_clear()
        if self.kind == "FILESYSTEM":
            statement, tables = sql_text.bind_tables(statement, partial(find_table, self.directory))
            self.aliases = tables
        paths = {name: bodosql.TablePath(str(path), "parquet") for name, path in tables.items()}
        context = bodosql.BodoSQLContext(paths, self._connected(bodosql))
        bound = {name: values[name] for name in sql_text.parameters(statement)}
        word, rest = sql_text.first_word(statement)
        if word == "EXPLAIN":
            return pandas.DataFrame({"plan": context.generate_plan(rest, bound).splitlines()})
        if distinct:
            refuse_repeated(columns_of(context, statement, bound))
        frame = context.sql(statement, bound)
        if distinct and frame is not None:
            refuse_repeated(frame.columns)
        return pandas.DataFrame({"status": ["Done."]}) if frame is None else frame

    def _connected(self, bodosql: Any) -> Any:
        settings = self.settings
        if self.kind == "SNOWFLAKE":
            more = {name: settings[name] for name in ("schema", "role", "port") if settings.get(name)}
            return bodosql.SnowflakeCatalog(
                settings["user"],
                self.secret["password"],
                settings["account"],
                settings["warehouse"],
                settings["database"],
                connection_params=more,
            )
        if self.kind == "GLUE":
            return bodosql.GlueCatalog(settings["warehouse"], settings["region"])
        return bodosql.FileSystemCatalog(str(self.directory), "parquet")

    def readable(self, error: Exception) -> str:
        """What went wrong, without the names of Java's classes, and with what tables there are.

        The lines of the query with marks under the mistake go to the log only.
        """
        message = _NOISE.sub("", str(error)).strip() or type(error).__name__
        for value in self.secret.values():
            message = message.replace(value, "***")
        for alias, path in self.aliases.items():
            message = message.replace(f'"{alias}"', ".".join(_without_suffix(path.relative_to(self.directory)).parts))
        if marked := _MARKED.match(message):
            print(marked[0].rstrip(), file=sys.stderr)
            message = message[marked.end() :] or "It is not SQL that BodoSQL reads."
        if self.kind == "FILESYSTEM" and re.search(r"Object '.*' not found", message):
            names = [name for _, name in zip(range(MOST_NAMED + 1), tables_below(self.directory), strict=False)]
            shown = ", ".join(names[:MOST_NAMED]) + (" …" if len(names) > MOST_NAMED else "")
            message += f"\nTables of this catalog: {shown}." if names else "\nThis catalog has no tables."
        return message


def columns_of(context: Any, statement: str, bound: Mapping[str, Any]) -> list[str]:
    """The names of the columns that a statement will give, as BodoSQL's planner knows them; none where it cannot say.

    BodoSQL tells them after the run only, which may take hours. So we ask as it does itself (``execute_cpp_backend`` in
    its context.py, 2026.7 to 2026.10); that takes half a second.
    """
    try:
        from bodosql.context import create_java_dynamic_parameter_type_list, create_java_named_parameter_type_map
        from bodosql.imported_java_classes import JavaEntryPoint

        planner = context._create_planner_and_parse_query(statement, True)
        if JavaEntryPoint.isDDLProcessedQuery(planner):
            return []
        parameters = (create_java_dynamic_parameter_type_list([]), create_java_named_parameter_type_map(bound))
        plan = JavaEntryPoint.getOptimizedPlan(planner, statement, *parameters).getLeft()
        return [str(name) for name in plan.getRowType().getFieldNames()]
    except Exception:
        return []  # whatever is wrong with the statement, running it says so


def refuse_repeated(names: Iterable[object]) -> None:
    """Raises RefusedError where two columns have one name: Parquet files cannot hold both."""
    twice = sql_result.repeated(list(names))
    if twice is not None:
        raise RefusedError(f"Two columns are called {twice}. Give each its own name, as in b.id AS other_id.")


def find_table(directory: Path, parts: Sequence[Name]) -> Path | None:
    """The Parquet file or folder of a name, or None. Each file of a folder that is a table is one by itself as well."""
    folder = directory
    for part in parts[:-1]:
        found = _named(part, {entry.name: entry for entry in _entries(folder) if entry.is_dir()})
        if found is None:
            return None
        folder = found
    tables = [entry for entry in _entries(folder) if is_table(entry)]
    return _named(parts[-1], {_without_suffix(entry).name: entry for entry in tables})


def tables_below(directory: Path, schema: str = "") -> Any:
    """The names of all tables."""
    for entry in sorted(_entries(directory)):
        name = f"{schema}{_without_suffix(entry).name}"
        if is_table(entry):
            yield name
        if entry.is_dir() and (not is_table(entry) or any(is_folder(each) for each in _entries(entry))):
            yield from tables_below(entry, f"{name}.")


@cache
def is_table(path: Path) -> bool:
    """A Parquet file, or a folder with such files or partitions in it."""
    if not path.is_dir():
        return path.name.endswith(SUFFIXES)
    return any(each.name.endswith(SUFFIXES) or ("=" in each.name and each.is_dir()) for each in _entries(path))


def is_folder(path: Path) -> bool:
    """A folder that is no partition."""
    return path.is_dir() and "=" not in path.name


@cache
def _entries(folder: Path) -> list[Path]:
    """What counts in a folder. Links do not: they may lead anywhere."""
    try:
        found = [entry for entry in os.scandir(folder) if entry.name[0] not in "._" and not entry.is_symlink()]
    except OSError:
        return []
    return [Path(entry.path) for entry in found]


def _named(name: Name, found: Mapping[str, Path]) -> Path | None:
    if name.text in found or name.quoted:
        return found.get(name.text)
    return next((found[each] for each in sorted(found) if each.lower() == name.text.lower()), None)


def _without_suffix(path: Path) -> Path:
    return path.with_suffix("") if path.name.endswith(SUFFIXES) else path


def leave(code: int) -> NoReturn:
    """End at once. All is written, and the workers have answered for all that they were asked. The usual way out lets
    MPI take leave of each of them, and now and then its launcher fails at that and kills us: a query that has succeeded
    would look as if it had crashed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    try:
        ended = main()
    except Exception:
        traceback.print_exc()
        ended = outcome.failed("The program that runs queries failed; its log on stderr says how.")
    leave(ended)
