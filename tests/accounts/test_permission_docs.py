"""The page about roles says what the tables in the code say."""

from __future__ import annotations

import io
from pathlib import Path

from django.conf import settings
from django.core.management import call_command

from accounts.permissions import LABELS, ORGANIZATION_MATRIX, WORKSPACE_MATRIX, OrganizationRole, Perm, WorkspaceRole

PAGE = Path(settings.BASE_DIR) / "docs" / "permissions.md"


def test_the_page_is_up_to_date() -> None:
    printed = io.StringIO()
    call_command("permissions", stdout=printed)
    assert PAGE.read_text() == printed.getvalue(), "manage.py permissions > docs/permissions.md"


def test_each_permission_is_in_one_table_with_a_label_and_on_the_page() -> None:
    assert set(ORGANIZATION_MATRIX) | set(WORKSPACE_MATRIX) == set(LABELS) == set(Perm)
    assert not set(ORGANIZATION_MATRIX) & set(WORKSPACE_MATRIX)
    lines = {line.split("|")[1].strip(): line for line in PAGE.read_text().splitlines() if line.startswith("| ")}
    for perm, label in LABELS.items():
        allowed = ORGANIZATION_MATRIX.get(perm) or WORKSPACE_MATRIX[perm]
        roles = OrganizationRole if perm in ORGANIZATION_MATRIX else WorkspaceRole
        assert lines[label].count("| yes ") == len(allowed)
        assert lines[label].count("| – ") == len(roles) - len(allowed)


def test_each_permission_is_demanded_somewhere() -> None:
    """A line of the tables that opens nothing would be a promise."""
    code = "\n".join(
        path.read_text()
        for app in ("accounts", "workspaces", "clusters", "jobs", "notebooks", "billing")
        for path in (Path(settings.BASE_DIR) / app).rglob("*.py")
        if path.name != "permissions.py"
    )
    assert [perm.name for perm in Perm if f"Perm.{perm.name}" not in code] == []
