"""Who may do what: one table for organizations, one for workspaces. Pages show these tables, views obey them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from django.db import models


class OrganizationRole(models.TextChoices):
    """A person's role in an organization."""

    OWNER = "OWNER", "Owner"
    ADMIN = "ADMIN", "Admin"
    BILLING = "BILLING", "Billing"
    MEMBER = "MEMBER", "Member"


class WorkspaceRole(models.TextChoices):
    """A person's role in a workspace, as it is named on the wire."""

    ADMIN = "BodoAdmin", "Admin"
    DEVELOPER = "BodoDeveloper", "Developer"
    VIEWER = "BodoViewer", "Viewer"


class Perm(StrEnum):
    """A permission; the first group is held in an organization, the second in a workspace."""

    ORG_VIEW = "org_view"
    ORG_MANAGE = "org_manage"
    PEOPLE_MANAGE = "people_manage"
    AUDIT_VIEW = "audit_view"
    CLOUD_MANAGE = "cloud_manage"
    USAGE_VIEW = "usage_view"
    BILLING_MANAGE = "billing_manage"
    BUDGET_LIFT = "budget_lift"

    WS_VIEW = "ws_view"
    FILES_EDIT = "files_edit"
    CLUSTER_EDIT = "cluster_edit"
    JOB_EDIT = "job_edit"
    NOTEBOOK_USE = "notebook_use"
    WS_MANAGE = "ws_manage"


LABELS: dict[Perm, str] = {
    Perm.ORG_VIEW: "See the organization and its people",
    Perm.ORG_MANAGE: "Delete the organization, change its owners and its single sign-on",
    Perm.PEOPLE_MANAGE: "Manage people, invitations and API tokens, unlock users",
    Perm.AUDIT_VIEW: "See the audit log",
    Perm.CLOUD_MANAGE: "Manage cloud configurations and their usage alarms, create workspaces",
    Perm.USAGE_VIEW: "See usage and its cost",
    Perm.BILLING_MANAGE: "Manage budgets, connect an AWS Marketplace subscription",
    Perm.BUDGET_LIFT: "Lift a budget for the rest of a month",
    Perm.WS_VIEW: "See files, clusters, runs, logs, templates, schedules, catalogs and the names of secrets",
    Perm.FILES_EDIT: "Upload, edit and delete files",
    Perm.CLUSTER_EDIT: "Create, change and delete clusters",
    Perm.JOB_EDIT: "Submit and cancel runs, manage templates and schedules",
    Perm.NOTEBOOK_USE: "Use notebooks, each their own",
    Perm.WS_MANAGE: "Manage the workspace: members, instance roles, catalogs, secrets, API tokens, settings, deletion",
}

_EVERYBODY = frozenset(OrganizationRole)
ORGANIZATION_MATRIX: dict[Perm, frozenset[OrganizationRole]] = {
    Perm.ORG_VIEW: _EVERYBODY,
    Perm.ORG_MANAGE: frozenset({OrganizationRole.OWNER}),
    Perm.PEOPLE_MANAGE: frozenset({OrganizationRole.OWNER, OrganizationRole.ADMIN}),
    Perm.AUDIT_VIEW: frozenset({OrganizationRole.OWNER, OrganizationRole.ADMIN}),
    Perm.CLOUD_MANAGE: frozenset({OrganizationRole.OWNER, OrganizationRole.ADMIN}),
    Perm.USAGE_VIEW: frozenset({OrganizationRole.OWNER, OrganizationRole.ADMIN, OrganizationRole.BILLING}),
    Perm.BILLING_MANAGE: frozenset({OrganizationRole.OWNER, OrganizationRole.BILLING}),
    Perm.BUDGET_LIFT: frozenset({OrganizationRole.OWNER}),
}

_EDITORS = frozenset({WorkspaceRole.ADMIN, WorkspaceRole.DEVELOPER})
WORKSPACE_MATRIX: dict[Perm, frozenset[WorkspaceRole]] = {
    Perm.WS_VIEW: frozenset(WorkspaceRole),
    Perm.FILES_EDIT: _EDITORS,
    Perm.CLUSTER_EDIT: _EDITORS,
    Perm.JOB_EDIT: _EDITORS,
    Perm.NOTEBOOK_USE: _EDITORS,
    Perm.WS_MANAGE: frozenset({WorkspaceRole.ADMIN}),
}

WORKSPACE_ADMINS_BY_ROLE = frozenset({OrganizationRole.OWNER, OrganizationRole.ADMIN})
"""Organization roles that act as workspace ADMIN in every workspace."""


def organization_permissions(role: str) -> frozenset[Perm]:
    """What a role may do in its organization."""
    return frozenset(perm for perm, roles in ORGANIZATION_MATRIX.items() if role in roles)


def workspace_permissions(role: str) -> frozenset[Perm]:
    """What a role may do in its workspace."""
    return frozenset(perm for perm, roles in WORKSPACE_MATRIX.items() if role in roles)


@dataclass(frozen=True)
class MatrixRow:
    """A line of the table that the people page shows."""

    label: str
    cells: list[bool]


def organization_matrix() -> list[MatrixRow]:
    """The organization table, roles in the order of ``OrganizationRole``."""
    return [
        MatrixRow(LABELS[p], [role in roles for role in OrganizationRole]) for p, roles in ORGANIZATION_MATRIX.items()
    ]


def workspace_matrix() -> list[MatrixRow]:
    """The workspace table, roles in the order of ``WorkspaceRole``."""
    return [MatrixRow(LABELS[p], [role in roles for role in WorkspaceRole]) for p, roles in WORKSPACE_MATRIX.items()]
