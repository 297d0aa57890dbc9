"""Pages of cloud configurations, workspaces and their settings. Files are in ``views_files``."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import Organization
from accounts.permissions import WORKSPACE_ADMINS_BY_ROLE, Perm
from accounts.sessions import still
from portal import events
from portal.clouds.base import Check
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.models import DeploymentEvent
from workspaces import doctor, hooks, services
from workspaces.access import WorkspaceRequest, enter_workspace, workspace_view
from workspaces.clouds import cloud_of
from workspaces.forms import WorkspaceForm, WorkspaceSettingsForm
from workspaces.models import CloudConfiguration, Workspace

BESIDE = {
    "NameTaken": "name",
    "ConfigurationGone": "cloud_configuration",
    "ConfigurationNotReady": "cloud_configuration",
    "NetworkGone": "network",
}
"""Beside which field a refusal of a new workspace stands."""


@organization_view(Perm.ORG_VIEW)
def workspaces(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The workspaces that the person may enter."""
    everything = request.organization_role in WORKSPACE_ADMINS_BY_ROLE
    rows = Workspace.objects.in_organization(organization).visible_to(request.user, everything=everything)
    context = {
        "nav": "workspaces",
        "workspaces": rows.select_related("cloud_configuration"),
        "configurations_exist": CloudConfiguration.objects.in_organization(organization).exists(),
    }
    return render(request, "workspaces/list.html", context)


@organization_view(Perm.CLOUD_MANAGE, ("GET", "HEAD", "POST"))
def workspace_new(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """CHECK shows what the cloud says to it; CREATE asks the same, and makes the workspace unless a check failed."""
    form = WorkspaceForm(posted(request), organization=organization)
    checks: list[Check] | None = None
    if request.method == "POST" and form.is_valid():
        only_asks = request.POST.get("action") == "check"
        try:
            checks = _checks(organization, form.cleaned_data)
            if not only_asks and not doctor.failed(checks):
                services.create_workspace(actor=actor_of(request), organization=organization, **form.cleaned_data)
                return done(request, "workspaces:list", organization.pk)
            if not only_asks:
                form.add_error(None, doctor.STOPPED)
        except UserError as error:
            add_error(form, error, BESIDE)
    return form_response(request, "workspaces/new.html", form, nav="workspaces", checks=checks)


def _checks(organization: Organization, values: dict[str, Any]) -> list[Check]:
    """What the launch doctor says about a workspace that is not there yet; nothing where its cloud has no checks."""
    cloud, spec = cloud_of(values["cloud_configuration"]), Workspace(organization=organization, **values).spec()
    return doctor.ask(lambda: cloud.check_workspace(spec)) if cloud.features.workspace_checks else []


def add_error(form: Any, error: UserError, fields: dict[str, str]) -> None:
    """Put a refusal beside the field it is about."""
    form.add_error(fields.get(error.code), f"{error.message} {error.hint}".strip())


@workspace_view(Perm.WS_VIEW, ready=False)
def workspace_row(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """One line of the list, refreshed."""
    return render(request, "workspaces/_row.html", {"workspace": workspace})


@workspace_view(Perm.WS_VIEW)
def enter(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Enter a workspace: its files come first."""
    for follow in hooks.entered:
        follow(request, workspace)
    return redirect("workspaces:files", workspace.pk)


@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"), ready=False)
def settings(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Name, the steps of the deployment, and deletion."""
    form = WorkspaceSettingsForm(posted(request), initial={"name": workspace.name})
    if request.method == "POST" and form.is_valid():
        try:
            services.rename_workspace(actor=actor_of(request), workspace=workspace, name=form.cleaned_data["name"])
            messages.success(request, "Saved.")
            return done(request, "workspaces:settings", workspace.pk)
        except UserError as error:
            add_error(form, error, {"NameTaken": "name"})
    context = {
        "nav": "settings",
        "form": form,
        "removal": [
            "The shared filesystem with every file in it",
            "The logs of all runs",
            "The values of all secrets, and the passwords and keys of catalogs",
            "The definitions of its clusters and runs; what they cost stays on the bill",
        ],
        "blocking_clusters": len(services.clusters_in(workspace)),
        "events": DeploymentEvent.objects.of(workspace.pk)[:50],
    }
    return render(request, "workspaces/settings.html", context, status=422 if form.errors else 200)


@workspace_view(Perm.WS_MANAGE, ("POST",), ready=False)
def delete(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Ask for the removal of a workspace with all its files."""
    services.delete_workspace(actor=actor_of(request), workspace=workspace)
    messages.success(request, f"The workspace {workspace.name} is being deleted.")
    return done(request, "workspaces:list", workspace.organization_id)


@workspace_view(Perm.WS_VIEW, ("GET",), ready=False)
def workspace_events(request: WorkspaceRequest, workspace: Workspace) -> HttpResponseBase:
    """The event stream of a workspace's pages; it ends within seconds of losing the membership."""
    return events.stream(workspace.pk, still(request, lambda again: enter_workspace(again, workspace.pk)))
