"""``manage.py permissions``: who may do what, as docs/permissions.md has it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from accounts.permissions import (
    MatrixRow,
    OrganizationRole,
    WorkspaceRole,
    organization_matrix,
    workspace_matrix,
)

TEXT = """\
# Who may do what

This page is made from the two tables in `accounts/permissions.py`, which the views obey and the page *People, Roles*
shows: `manage.py permissions > docs/permissions.md`. A test fails when it is out of date, and another one walks every
address as every role, in their own and in another tenant.

## In an organization

{organization}

## In a workspace

{workspace}

API tokens of a workspace carry these roles as {wire}.

## Rules beyond the tables

- Owners and admins of an organization act as admin in each of its workspaces.
- An invitation to a workspace adds somebody who is not in the organization to it as {least}.
- An organization keeps at least one owner who can sign in: the last one can neither leave, nor be removed, nor be given
  another role.
- Only owners make owners, and only they change or remove one.
- Another tenant's things are not found (404). A missing permission is refused (403) on a page that names the role
  needed and the people who can give it.
- The operator's staff has pages of its own under `/admin/`. Everything done there is in the audit log as *Staff*.
"""


class Command(BaseCommand):
    """Print the page."""

    help = "Print the permission tables as Markdown, which is docs/permissions.md."

    def handle(self, *args: Any, **options: Any) -> None:
        """It ends with one line break."""
        self.stdout.write(page(), ending="")


def page() -> str:
    """The whole document."""
    return TEXT.format(
        organization=_table(OrganizationRole, organization_matrix()),
        workspace=_table(WorkspaceRole, workspace_matrix()),
        wire=", ".join(f"`{role}`" for role in WorkspaceRole),
        least=OrganizationRole.MEMBER.label.lower(),
    )


def _table(roles: type[OrganizationRole | WorkspaceRole], rows: list[MatrixRow]) -> str:
    head = ["", *(str(role.label) for role in roles)]
    lines = [head, ["---", *[":---:" for _ in roles]]]
    lines += [[row.label, *("yes" if cell else "–" for cell in row.cells)] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)
