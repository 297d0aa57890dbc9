"""Pages of a person's own notebook server in a workspace. None of them is open to staff who act as somebody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings as portal_settings
from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from accounts.audit import actor_of
from accounts.impersonation import not_while_impersonating
from accounts.permissions import Perm
from notebooks import services, services_entry
from notebooks.forms import NotebookForm
from notebooks.idle import NOTICE
from notebooks.models import NotebookServer, S
from portal.clouds.base import Target
from portal.errors import UserError
from portal.forms import done, form_page, posted
from portal.models import DeploymentEvent
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.models import Workspace


def _own(request: WorkspaceRequest, workspace: Workspace) -> NotebookServer | None:
    """The viewer's server; 404 where the workspace has no notebooks."""
    if not workspace.has_notebooks:
        raise Http404
    return NotebookServer.objects.select_related("workspace").of(workspace, request.user)


def _own_or_refused(request: WorkspaceRequest, workspace: Workspace) -> NotebookServer:
    server = _own(request, workspace)
    if server is None:
        raise UserError("NoNotebookYet", "You have no notebook server here.", "Open “My notebook” and start it.")
    return server


def _live(request: WorkspaceRequest, workspace: Workspace) -> dict[str, Any]:
    server = _own(request, workspace)
    stops_at = server.stops_at if server else None
    return {
        "nav": "notebook",
        "server": server,
        "ending_soon": stops_at is not None and stops_at - timezone.now() < NOTICE,
        "events": DeploymentEvent.objects.of(server.pk)[:50] if server else [],
    }


@not_while_impersonating
@workspace_view(Perm.NOTEBOOK_USE)
def mine(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The state of my server, and the way in."""
    return render(request, "notebooks/mine.html", _live(request, workspace))


@not_while_impersonating
@workspace_view(Perm.NOTEBOOK_USE)
def live(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The same, refreshed."""
    return render(request, "notebooks/_live.html", _live(request, workspace))


@not_while_impersonating
@workspace_view(Perm.NOTEBOOK_USE, ("POST",))
def start(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Make my server, or start it again."""
    server = _own(request, workspace)
    if server is None:
        services.provide(actor=actor_of(request), workspace=workspace)
    else:
        services.start(actor=actor_of(request), server=server)
    return done(request, "notebooks:mine", workspace.pk)


def _action(does: Callable[..., None], back: str) -> Callable[..., HttpResponse]:
    @not_while_impersonating
    @workspace_view(Perm.NOTEBOOK_USE, ("POST",))
    def view(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
        does(actor=actor_of(request), server=_own_or_refused(request, workspace))
        return done(request, back, workspace.pk)

    return view


restart = _action(services.restart, "notebooks:mine")
stop = _action(services.stop, "notebooks:mine")
stay = _action(services.stay, "notebooks:mine")


@not_while_impersonating
@workspace_view(Perm.NOTEBOOK_USE, ("POST",))
def open(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Hand over to the notebooks' host, by a form with a ticket that is good once, for 30 seconds."""
    server = _own_or_refused(request, workspace)
    if server.status != S.RUNNING or server.target != Target.RUNNING or not server.settled:
        raise UserError("NotebookNotRunning", "Your notebook server does not run.", "Start it, and wait until it runs.")
    key = request.session.session_key
    assert key is not None, "a signed-in person has a session"
    ticket = services_entry.make_ticket(actor=actor_of(request), server=server, session_key=key)
    context = {"ticket": ticket, "url": f"{portal_settings.PORTAL_NOTEBOOK_ORIGIN}{server.path}enter"}
    response = render(request, "notebooks/open.html", context)
    response.headers["Referrer-Policy"] = "strict-origin"  # with any stricter one, browsers do not say who hands over
    return response


@not_while_impersonating
@workspace_view(Perm.NOTEBOOK_USE, ("GET", "HEAD", "POST"))
def settings(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Image, size and idle time of my server; restart and stop."""
    server = _own(request, workspace)
    if server is None:
        return render(request, "notebooks/settings.html", {"nav": "settings", "server": None})
    form = NotebookForm(posted(request), server=server)
    if request.method == "POST" and form.is_valid():
        services.change(actor=actor_of(request), server=server, **form.cleaned_data)
        messages.success(request, "Updated.")
        return done(request, "notebooks:settings", workspace.pk)
    return form_page(request, "notebooks/settings.html", form, nav="settings", server=server)
