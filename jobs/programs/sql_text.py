"""Reading SQL just well enough to split it into statements, and to find the tables and parameters that it names.

BodoSQL knows tables of Parquet files by flat names only. Here ``sales.orders`` becomes the name under which that table
is registered, in the text of the query. Nothing is ever pasted into it but such names.

Standard library only.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))
    |(?P<string>'(?:[^'\\]|''|\\.)*'?)
    |(?P<quoted>"(?:[^"]|"")*"?)
    |(?P<parameter>@[^\W\d]\w*)
    |(?P<name>[^\W\d][\w$]*)
    |(?P<number>\d[\w.]*)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_BEFORE_TABLES = frozenset({"FROM", "JOIN"})
_BEFORE_TARGETS = frozenset({"TABLE", "INTO", "UPDATE", "EXISTS", "VIEW", "SCHEMA"})
_OTHER_CLAUSES = frozenset(
    {"SELECT", "WHERE", "GROUP", "ORDER", "HAVING", "QUALIFY", "LIMIT", "ON", "SET", "UNION", "INTERSECT", "EXCEPT"}
    | {"MINUS", "VALUES", "WINDOW", "WHEN"}
)
Table = TypeVar("Table")


@dataclass(frozen=True)
class Name:
    """One part of a name. Unless it is quoted, its case does not matter."""

    text: str
    quoted: bool = False


@dataclass(frozen=True)
class Chain:
    """A name of one or more parts, and where it stands. ``table`` says that a table must stand there."""

    parts: tuple[Name, ...]
    ends: tuple[int, ...]
    start: int
    table: bool


def statements(text: str) -> list[str]:
    """The statements of a script, without the semicolons; those that are only comments are left out."""
    found, start, empty = [], 0, True
    for match in _TOKEN.finditer(text):
        if match["sign"] == ";":
            found += [] if empty else [text[start : match.start()].strip()]
            start, empty = match.end(), True
        elif match.lastgroup != "space":
            empty = False
    return found if empty else [*found, text[start:].strip()]


def parameters(text: str) -> list[str]:
    """The names of the parameters, ``@name``, in their order."""
    return list(dict.fromkeys(match[0][1:] for match in _TOKEN.finditer(text) if match["parameter"]))


def first_word(text: str) -> tuple[str, str]:
    """The first word of a statement in upper case, and what follows it."""
    for match in _TOKEN.finditer(text):
        if match.lastgroup != "space":
            return match[0].upper(), text[match.end() :]
    return "", ""


def bind_tables(text: str, find: Callable[[Sequence[Name]], Table | None]) -> tuple[str, dict[str, Table]]:
    """Find the tables that a statement names, and write their names as they are to be registered.

    ``find`` gives the table of a name, or None where there is none. Returns the statement and the tables by their names
    in it. A table is known by the last part of its name, as in ``SELECT orders.id FROM sales.orders``, unless the query
    calls something else so.
    """
    chains = list(_chains(text))
    plain = {chain.parts[0].text.lower() for chain in chains if chain.table and len(chain.parts) == 1}
    tables: dict[str, Table] = {}
    known: dict[Table, str] = {}
    changes: list[tuple[int, int, str]] = []
    for chain in sorted(chains, key=lambda chain: (not chain.table, len(chain.parts))):
        longest, shortest = (len(chain.parts), 1) if chain.table else (len(chain.parts) - 1, 2)
        for length in range(longest, shortest - 1, -1):
            parts = chain.parts[:length]
            table = find(parts)
            if table is None or not (chain.table or table in known):  # elsewhere, a name is that of a column
                continue
            if table not in known:
                known[table] = _registered(parts, plain if length > 1 else set(), tables)
                tables[known[table]] = table
            if length > 1 or parts[0].text.lower() != known[table].lower():
                changes.append((chain.start, chain.ends[length - 1], f'"{known[table]}"'))
            break
    for start, end, name in sorted(changes, reverse=True):
        text = text[:start] + name + text[end:]
    return text, tables


def _registered(parts: Sequence[Name], taken: set[str], tables: dict[str, Table]) -> str:
    """A name that BodoSQL can use as a variable of the program that it generates."""
    taken = taken | {name.lower() for name in tables}
    short = parts[-1].text
    if short.isidentifier() and not keyword.iskeyword(short) and short.lower() not in taken:
        return short
    name = re.sub(r"\W", "_", "__".join(part.text for part in parts))
    name = name if name.isidentifier() and not keyword.iskeyword(name) else f"t_{name}"
    while name.lower() in taken:
        name += "_"
    return name


def _chains(text: str) -> Iterator[Chain]:
    """All names, with those of columns and functions among them."""
    tokens = [match for match in _TOKEN.finditer(text) if match.lastgroup != "space"]
    clauses = [""]
    before = ""
    index = 0
    while index < len(tokens):
        token = tokens[index]
        word = token[0].upper() if token["name"] else ""
        if word in _BEFORE_TABLES or word in _OTHER_CLAUSES or word in _BEFORE_TARGETS:
            clauses[-1] = word
        elif token["sign"] == "(":
            clauses.append("FROM" if _expects_table(before, clauses[-1]) else "")
        elif token["sign"] == ")" and len(clauses) > 1:
            clauses.pop()
        elif token["name"] or token["quoted"]:
            first = index
            while _continues(tokens, index):
                index += 2
            if before not in _BEFORE_TARGETS:
                named = tokens[first : index + 1 : 2]
                ends = tuple(each.end() for each in named)
                table = _expects_table(before, clauses[-1])
                yield Chain(tuple(_name(each) for each in named), ends, token.start(), table)
        before = word or token[0]
        index += 1


def _expects_table(before: str, clause: str) -> bool:
    return before in _BEFORE_TABLES or (before in (",", "(") and clause in _BEFORE_TABLES)


def _continues(tokens: Sequence[re.Match[str]], index: int) -> bool:
    following = tokens[index + 1 : index + 3]
    return len(following) == 2 and following[0][0] == "." and bool(following[1]["name"] or following[1]["quoted"])


def _name(token: re.Match[str]) -> Name:
    if token["quoted"]:
        return Name(token[0].strip('"').replace('""', '"'), quoted=True)
    return Name(token[0])
