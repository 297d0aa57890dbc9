"""Reading SQL: statements, parameters, and the tables that a query names."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[2] / "jobs" / "programs" / "sql_text.py"


def load() -> Any:
    """As it is in a job: a file beside others, of no package."""
    import sys

    spec = importlib.util.spec_from_file_location("sql_text_of_jobs", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sql_text = load()
TABLES = {"customers", "orders", "sales.orders", "sales.my-returns", "archive.orders"}


def find(parts: Sequence[Any]) -> str | None:
    name = ".".join(part.text if part.quoted else part.text.lower() for part in parts)
    return name if name in TABLES else None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("select 1", ["select 1"]),
        ("select 1; ; select ';' -- ;\n; /* ; */", ["select 1", "select ';' -- ;"]),
        ("-- nothing", []),
        ('select "a;b"', ['select "a;b"']),
    ],
)
def test_statements(text: str, expected: list[str]) -> None:
    assert sql_text.statements(text) == expected


def test_parameters_are_not_in_texts_or_comments() -> None:
    assert sql_text.parameters("select @a, '@b', @a /* @c */ -- @d\n + @e") == ["a", "e"]


@pytest.mark.parametrize(
    ("text", "bound", "tables"),
    [
        ("select * from customers", "select * from customers", {"customers": "customers"}),
        ("select orders.id from sales.orders", 'select orders.id from "orders"', {"orders": "sales.orders"}),
        (
            "select 1 from orders, archive.orders",
            'select 1 from orders, "archive__orders"',
            {"orders": "orders", "archive__orders": "archive.orders"},
        ),
        ('from sales."my-returns" r', 'from "sales__my_returns" r', {"sales__my_returns": "sales.my-returns"}),
        ("select 'from sales.orders'", "select 'from sales.orders'", {}),
        ("create table sales.orders as select 1", "create table sales.orders as select 1", {}),
        ("select sales.orders from (select 1) sales", "select sales.orders from (select 1) sales", {}),
    ],
)
def test_tables(text: str, bound: str, tables: dict[str, str]) -> None:
    assert sql_text.bind_tables(text, find) == (bound, tables)
