"""Pages of clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone

from accounts.audit import actor_of
from accounts.permissions import Perm
from clusters import idleness, launching, lifetimes, pricing, services
from clusters.forms import SNOOZES, ClusterEditForm, ClusterFilter, ClusterForm, ScaleForm
from clusters.models import Cluster, ClusterStatus
from portal.clouds.base import Check
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.models import DeploymentEvent
from portal.paging import page
from workspaces import doctor, services_offers
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.clouds import cloud_of
from workspaces.models import Workspace

SHOWN = (
    *("number", "workspace_id", "name", "description", "status", "due_at", "failure_message", "progress_message"),
    *("instance_type", "instances", "release", "target", "busy_with", "auto_pause_minutes", "auto_stop_minutes"),
    *("spot", "last_activity_at", "last_activity", "last_activity_name", "last_activity_id", "snoozed_until"),
)
"""What a line of the list reads: half of the columns."""


@dataclass(frozen=True)
class Line:
    """A cluster of the list, with what comes next for it and what its last activity was."""

    cluster: Cluster
    outlook: idleness.Outlook | None
    last_signal: idleness.Signal | None


def find(workspace: Workspace, cluster: UUID) -> Cluster:
    """A cluster of this workspace, also one that is gone, whose page shows its history; 404 for any other."""
    return get_object_or_404(
        Cluster.objects.filter(workspace=workspace).select_related("created_by", "instance_role"), pk=cluster
    )


@workspace_view(Perm.WS_VIEW)
def clusters(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The clusters of a workspace, newest first."""
    form = ClusterFilter(request.GET, auto_id="filter_%s")
    rows = Cluster.objects.in_workspace(workspace)
    if form.is_valid():
        rows = rows.search(form.cleaned_data["q"])
        if form.cleaned_data["status"]:
            rows = rows.filter(status=form.cleaned_data["status"])
    shown = page(request, rows.only(*SHOWN))
    context = {"nav": "clusters", "page": shown, "lines": _lines(shown.rows), "filter_form": form}
    return render(request, "clusters/list.html", context)


@workspace_view(Perm.WS_VIEW)
def row(request: WorkspaceRequest, workspace: Workspace, cluster: UUID) -> HttpResponse:
    """One line of the list, refreshed."""
    (line,) = _lines([find(workspace, cluster)])
    return render(request, "clusters/_row.html", {"line": line})


def _lines(clusters: Sequence[Cluster]) -> list[Line]:
    alive, now = idleness.signals_of(clusters), timezone.now()
    return [Line(row, idleness.outlook(row, now, alive.get(row.pk, ())), idleness.last_signal(row)) for row in clusters]


@workspace_view(Perm.CLUSTER_EDIT, ("GET", "HEAD", "POST"))
def new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """CHECK shows what the cloud says to it; CREATE asks the same, and makes the cluster unless a check failed.
    REFRESH asks for the list of instance types again, and LOOK whether it has come."""
    form = ClusterForm(posted(request), workspace=workspace)
    action = request.POST.get("action", "create")
    if request.POST.get("waiting") and form.offered.fetching:
        return HttpResponse(status=204)
    checks: list[Check] | None = None
    if action in {"look", "refresh"}:
        if action == "refresh":
            services_offers.refresh(actor=actor_of(request), workspace=workspace)
        form = ClusterForm(posted(request), workspace=workspace)
        form.hide_errors()
    elif request.method == "POST" and form.is_valid():
        try:
            checks = doctor.ask(_question(workspace, form.cleaned_data))
            if action != "check" and not doctor.failed(checks):
                cluster = services.create_cluster(actor=actor_of(request), workspace=workspace, **form.cleaned_data)
                return done(request, "clusters:detail", workspace.pk, cluster.pk)
            if action != "check":
                form.add_error(None, doctor.STOPPED)
        except UserError as error:
            form.add_error(_OF_ERROR.get(error.code), f"{error.message} {error.hint}".strip())
    limits = launching.room(workspace, request.user)
    context = {"nav": "clusters", "offered": form.offered, "checks": checks, "limits": limits}
    return form_response(request, "clusters/new.html", form, **context)


_OF_ERROR = {
    "NameTaken": "name",
    "SpotNotOffered": "spot",
    "SpotCannotPause": "auto_pause_minutes",
    "ZoneNotOffered": "zone",
    "RoleNotUsable": "instance_role",
}
"""The fields that refusals are about."""


def _question(workspace: Workspace, values: dict[str, Any]) -> Callable[[], Sequence[Check]]:
    """What the launch doctor asks about a cluster that is not there yet."""
    cloud, spec = cloud_of(workspace.cloud_configuration), Cluster(workspace=workspace, **values).spec()
    return lambda: cloud.check_cluster(spec)


def live_context(request: WorkspaceRequest, workspace: Workspace, cluster: Cluster) -> dict[str, Any]:
    """What the live part of a cluster's page shows."""
    may = Perm.CLUSTER_EDIT in request.permissions
    actions = [
        {
            "name": action.name,
            "label": action.label,
            "url": reverse("clusters:action", args=[workspace.pk, cluster.pk, action.name]),
            "allowed": may and not services.refusal_of(cluster, action),
            "reason": services.refusal_of(cluster, action),
            "danger": action.danger,
            "confirm": action.confirm,
        }
        for action in services.ACTIONS.values()
        if cluster.status != ClusterStatus.TERMINATED
    ]
    return {
        "nav": "clusters",
        "cluster": cluster,
        "nodes": cluster.nodes,
        "ending": (ending := lifetimes.ends_soon(cluster)),
        "work": lifetimes.work_on(cluster) if ending and cluster.busy_with else None,
        "events": DeploymentEvent.objects.of(cluster.pk)[:200],
        "transitions": cluster.transitions.order_by("-seq")[:100],
        "actions": actions,
        "can_scale": may and services.can_scale(cluster),
        "scale_form": ScaleForm(initial={"instances": cluster.instances}),
        "line": _lines([cluster])[0],
        "saved": pricing.saved_this_month(cluster),
        "snoozes": SNOOZES,
        "features": cloud_of(workspace.cloud_configuration).features,
        "now": timezone.now(),
    }


@workspace_view(Perm.WS_VIEW)
def detail(request: WorkspaceRequest, workspace: Workspace, cluster: UUID) -> HttpResponse:
    """A cluster with its nodes, its steps and its ledger."""
    return render(request, "clusters/detail.html", live_context(request, workspace, find(workspace, cluster)))


@workspace_view(Perm.WS_VIEW)
def live(request: WorkspaceRequest, workspace: Workspace, cluster: UUID) -> HttpResponse:
    """The live part of a cluster's page, refreshed."""
    return render(request, "clusters/_live.html", live_context(request, workspace, find(workspace, cluster)))


@workspace_view(Perm.CLUSTER_EDIT, ("GET", "HEAD", "POST"))
def edit(request: WorkspaceRequest, workspace: Workspace, cluster: UUID) -> HttpResponse:
    """Change a cluster's definition."""
    found = find(workspace, cluster)
    stopped = found.status == ClusterStatus.STOPPED
    initial = {field: getattr(found, field) for field in services.CHANGEABLE_STOPPED}
    form = ClusterEditForm(posted(request), workspace=workspace, stopped=stopped, initial=initial)
    if request.method == "POST" and form.is_valid():
        try:
            services.update_cluster(actor=actor_of(request), cluster=found, **form.cleaned_data)
            messages.success(request, "Saved.")
            return done(request, "clusters:detail", workspace.pk, found.pk)
        except UserError as error:
            field = _OF_ERROR.get(error.code)
            form.add_error(field if field in form.fields else None, f"{error.message} {error.hint}".strip())
    return form_response(request, "clusters/edit.html", form, nav="clusters", cluster=found)


@workspace_view(Perm.CLUSTER_EDIT, ("POST",))
def action(request: WorkspaceRequest, workspace: Workspace, cluster: UUID, action: str) -> HttpResponse:
    """Pause, resume, restart, stop or delete."""
    found = find(workspace, cluster)
    if action not in services.ACTIONS:
        raise Http404
    services.act(actor=actor_of(request), cluster=found, action=services.ACTIONS[action])
    return done(request, "clusters:detail", workspace.pk, found.pk)


@workspace_view(Perm.CLUSTER_EDIT, ("POST",))
def scale(request: WorkspaceRequest, workspace: Workspace, cluster: UUID) -> HttpResponse:
    """Another number of instances."""
    found = find(workspace, cluster)
    form = ScaleForm(request.POST)
    if not form.is_valid():
        text = "; ".join(str(error) for errors in form.errors.values() for error in errors)
        raise UserError("InvalidNumber", text, "Enter a number of instances from 1 up.", status=422)
    services.scale_cluster(actor=actor_of(request), cluster=found, instances=form.cleaned_data["instances"])
    return done(request, "clusters:detail", workspace.pk, found.pk)
