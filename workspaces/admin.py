"""The operator's view of configurations and workspaces."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from accounts.admin_base import WithAudit
from accounts.admin_organizations import facts
from accounts.models import Organization
from portal.admin import RECONCILED, LookOnlyAdmin, link, link_to_list
from workspaces.models import (
    Catalog,
    CloudConfiguration,
    InstanceRole,
    LostThing,
    NetworkConfiguration,
    Offers,
    OrphanSearch,
    Secret,
    SecretGroup,
    Workspace,
    WorkspaceMembership,
)

SHOWN = 20
_STATE = [name for name in RECONCILED if name not in {"target", "handle"}]


@admin.register(CloudConfiguration)
class CloudConfigurationAdmin(WithAudit[CloudConfiguration], LookOnlyAdmin[CloudConfiguration]):
    """Connected clouds."""

    list_display = ["name", "organization", "provider", "way", "status", "created_at", "deleted_at"]
    list_filter = ["provider", "status", ("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["organization"]
    search_fields = ["name", "organization__name", "id"]
    date_hierarchy = "created_at"


@admin.register(NetworkConfiguration)
class NetworkConfigurationAdmin(WithAudit[NetworkConfiguration], LookOnlyAdmin[NetworkConfiguration]):
    """Networks of the customers' own."""

    list_display = ["name", "organization", "cloud_configuration", "region", "vpc", "deleted_at"]
    list_filter = [("deleted_at", admin.EmptyFieldListFilter)]
    list_select_related = ["organization", "cloud_configuration"]
    search_fields = ["name", "organization__name", "vpc", "id"]


@admin.register(Workspace)
class WorkspaceAdmin(WithAudit[Workspace], LookOnlyAdmin[Workspace]):
    """Workspaces, with what their reconciler is at. Wishes are made on the workspace's own pages."""

    list_display = ["name", "organization", "cloud_configuration", "status", "target", "due_at", "failure_code"]
    list_filter = ["status"]
    list_select_related = ["organization", "cloud_configuration"]
    search_fields = ["name", "organization__name", "id"]
    date_hierarchy = "created_at"
    readonly_fields = ["all_members", *RECONCILED]

    @admin.display(description="Members")
    def all_members(self, workspace: Workspace) -> SafeString:
        """The way to them."""
        number = WorkspaceMembership.objects.filter(workspace=workspace).count()
        return link_to_list(WorkspaceMembership, f"{number} in all", workspace__id__exact=workspace.pk)


@admin.register(WorkspaceMembership)
class WorkspaceMembershipAdmin(WithAudit[WorkspaceMembership], LookOnlyAdmin[WorkspaceMembership]):
    """Who is in which workspace. Owners and admins of its organization change that."""

    list_display = ["user", "workspace", "organization", "role", "joined_at"]
    list_filter = ["role"]
    list_select_related = ["user", "workspace__organization"]
    search_fields = ["user__email", "workspace__name", "workspace__organization__name"]

    @admin.display(description="Organization", ordering="workspace__organization__name")
    def organization(self, membership: WorkspaceMembership) -> str:
        """The workspace's."""
        return str(membership.workspace.organization)


@admin.register(SecretGroup)
class SecretGroupAdmin(WithAudit[SecretGroup], LookOnlyAdmin[SecretGroup]):
    """Groups of secrets."""

    list_display = ["name", "workspace", "created_by", "created_at"]
    list_select_related = ["workspace", "created_by"]
    search_fields = ["name", "workspace__name", "id"]


@admin.register(Secret)
class SecretAdmin(WithAudit[Secret], LookOnlyAdmin[Secret]):
    """That there are secrets, and who changed them when; nothing of what is in them."""

    list_display = ["name", "group", "workspace", "changed_by", "changed_at"]
    list_select_related = ["group__workspace", "changed_by"]
    search_fields = ["name", "group__name", "group__workspace__name", "id"]
    fields = ["group", "name", "changed_by", "changed_at", "created_at"]

    @admin.display(description="Workspace", ordering="group__workspace__name")
    def workspace(self, secret: Secret) -> str:
        """The group's."""
        return str(secret.group.workspace)


@admin.register(Catalog)
class CatalogAdmin(WithAudit[Catalog], LookOnlyAdmin[Catalog]):
    """Catalogs; nothing of what is sealed in them."""

    list_display = ["name", "workspace", "kind", "changed_by", "changed_at", "tested_at"]
    list_filter = ["kind"]
    list_select_related = ["workspace", "changed_by"]
    search_fields = ["name", "workspace__name", "id"]
    fields = ["name", "workspace", "kind", "description", "changed_by", "changed_at", "created_at"]


@admin.register(Offers)
class OffersAdmin(LookOnlyAdmin[Offers]):
    """What clouds offer, as far as it is kept, and whether it could be had."""

    list_display = ["cloud_configuration", "region", "fetched_at", "due_at", "failure_code"]
    list_select_related = ["cloud_configuration"]
    search_fields = ["cloud_configuration__name", "cloud_configuration__organization__name"]
    fields = ["cloud_configuration", "region", "fetched_at", "number_of_types", "zones", *_STATE]
    readonly_fields = ["number_of_types", "zones", *_STATE]

    @admin.display(description="Instance types")
    def number_of_types(self, offers: Offers) -> int:
        """How many there are."""
        return len(offers.types)


@admin.register(InstanceRole)
class InstanceRoleAdmin(WithAudit[InstanceRole], LookOnlyAdmin[InstanceRole]):
    """Customers' own roles for machines, with what their reconciler is at."""

    list_display = ["name", "workspace", "role", "status", "target", "due_at", "failure_code"]
    list_filter = ["status"]
    list_select_related = ["workspace"]
    search_fields = ["name", "role", "id", "workspace__name", "workspace__organization__name"]
    readonly_fields = RECONCILED


@admin.display(description="Workspaces")
def workspaces_of(organization: Organization) -> SafeString:
    """The first few by name, with the way to all."""
    rows = Workspace.objects.in_organization(organization)
    lines = format_html_join("", "<li>{}: {}</li>", ((link(row), row.status) for row in rows[:SHOWN]))
    every = link_to_list(Workspace, f"{rows.count()} in all", organization__id__exact=organization.pk)
    return format_html('<ul class="facts">{}<li>{}</li></ul>', lines, every)


facts.append(workspaces_of)


@admin.register(OrphanSearch)
class OrphanSearchAdmin(WithAudit[OrphanSearch], LookOnlyAdmin[OrphanSearch]):
    """Searches for what stands in accounts without a record."""

    list_display = ["configuration", "searched_at", "due_at", "failure_code"]
    list_select_related = ["configuration"]
    search_fields = ["configuration__name", "id"]
    readonly_fields = [name for name in RECONCILED if name != "target"]


@admin.register(LostThing)
class LostThingAdmin(WithAudit[LostThing], LookOnlyAdmin[LostThing]):
    """What these found."""

    list_display = ["kind", "provider_id", "region", "deployment", "daily", "status", "due_at", "failure_code"]
    list_filter = ["status", "kind"]
    search_fields = ["provider_id", "deployment", "id"]
    readonly_fields = [name for name in RECONCILED if name != "target"]
