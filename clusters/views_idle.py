"""Putting off the pause or stop of an idle cluster: from its page, and by the link in a mail."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from accounts import audit, limits
from accounts.access import public_view
from accounts.audit import actor_of
from accounts.models import User
from accounts.permissions import Perm
from clusters import idleness, services_idle, snooze_links
from clusters.forms import SnoozeForm, SnoozeLinkForm
from clusters.views import find
from portal.errors import UserError, client_address
from portal.forms import done, posted
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.models import Workspace


@workspace_view(Perm.CLUSTER_EDIT, ("POST",))
def snooze(request: WorkspaceRequest, workspace: Workspace, cluster: UUID) -> HttpResponse:
    """Let it run on for a while."""
    found = find(workspace, cluster)
    form = SnoozeForm(request.POST)
    if not form.is_valid():
        raise UserError("InvalidTime", "This is not one of the times.", "Go back and choose one.", status=422)
    services_idle.snooze_cluster(actor=actor_of(request), cluster=found, minutes=form.cleaned_data["minutes"])
    return done(request, "clusters:detail", workspace.pk, found.pk)


@workspace_view(Perm.CLUSTER_EDIT, ("POST",))
def snooze_end(request: WorkspaceRequest, workspace: Workspace, cluster: UUID) -> HttpResponse:
    """No longer."""
    found = find(workspace, cluster)
    services_idle.end_snooze(actor=actor_of(request), cluster=found)
    return done(request, "clusters:detail", workspace.pk, found.pk)


@public_view(("GET", "HEAD", "POST"))
def snooze_link(request: HttpRequest, snooze_key: str) -> HttpResponse:
    """What the link in a warning opens. Looking at it changes nothing: mail scanners open links, too."""
    if refused := limits.refuse(request, "snooze_link"):
        return refused
    link = snooze_links.opened(snooze_key)
    if isinstance(request.user, User) and request.user != link.user:
        raise UserError(
            "SnoozeLinkForAnother",
            f"You are signed in as {request.user.email}, and this link was sent to somebody else.",
            "Open the cluster's page to do it as yourself, or sign out to use the link.",
            status=403,
        )
    cluster = link.cluster
    signals = idleness.signals_of([cluster]).get(cluster.pk, ())
    outlook = idleness.outlook(cluster, timezone.now(), signals)
    services_idle.refuse_snooze(cluster, outlook, link.idle_since)
    form = SnoozeLinkForm(posted(request))
    if request.method == "POST" and form.is_valid():
        if refused := limits.refuse(request, "snooze", key=str(cluster.pk)):
            return refused
        services_idle.snooze_cluster(
            actor=audit.person(link.user, client_address(request)),
            cluster=cluster,
            minutes=form.cleaned_data["minutes"],
            idle_since=link.idle_since,
            via="link in a mail",
        )
        return redirect("clusters:snooze_link", snooze_key)
    context = {"cluster": cluster, "outlook": outlook, "form": form, "snooze_key": snooze_key}
    response = render(request, "clusters/snooze_link.html", context, status=422 if form.is_bound else 200)
    response.headers["X-Robots-Tag"] = "noindex, nofollow"
    return response
