"""Pages of templates."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.db.models import OuterRef, Subquery
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts.audit import actor_of
from accounts.permissions import Perm
from jobs import costs, services, services_templates, views_form
from jobs.forms import TemplateFilter
from jobs.forms_job import JobForm, initial_of
from jobs.models import JobSchedule, JobTemplate, Run
from portal.errors import UserError
from portal.forms import done, posted
from portal.paging import page
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.models import Workspace

RECENT_RUNS = 20


def find(workspace: Workspace, template: UUID) -> JobTemplate:
    """A template of this workspace; 404 for any other, and for one that was deleted."""
    rows = JobTemplate.objects.in_workspace(workspace).select_related("cluster", "catalog", "created_by")
    return get_object_or_404(rows, pk=template)


@workspace_view(Perm.WS_VIEW)
def templates(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The templates of a workspace, newest first, each with its last run."""
    form = TemplateFilter(request.GET)
    rows = JobTemplate.objects.in_workspace(workspace).select_related("cluster")
    if form.is_valid() and form.cleaned_data["q"]:
        rows = rows.filter(name__icontains=form.cleaned_data["q"])
    last = Run.objects.filter(template=OuterRef("pk")).order_by("-number")
    rows = rows.annotate(
        last_status=Subquery(last.values("status")[:1]),
        last_at=Subquery(last.values("created_at")[:1]),
        last_run=Subquery(last.values("pk")[:1]),
    )
    shown = page(request, rows)
    context = {"nav": "jobs", "tab": "templates", "page": shown, "templates": shown.rows, "filter_form": form}
    return render(request, "jobs/templates.html", context)


@workspace_view(Perm.WS_VIEW)
def detail(request: WorkspaceRequest, workspace: Workspace, template: UUID) -> HttpResponse:
    """A template with its runs and schedules."""
    found = find(workspace, template)
    rows = Run.objects.in_workspace(workspace).filter(template=found).order_by("-number")
    runs = list(rows.select_related("cluster__workspace__cloud_configuration", "requested_by")[:RECENT_RUNS])
    known = costs.costs_of(runs).values()
    context = {
        "nav": "jobs",
        "template": found,
        "place": found.place,
        "catalog": found.catalog,
        "runs": runs,
        "total": {"minutes": sum(c.minutes for c in known), "dollars": sum(c.dollars for c in known)}
        if known
        else None,
        "schedules": JobSchedule.objects.in_workspace(workspace).filter(template=found).order_by("name"),
    }
    return render(request, "jobs/template.html", context)


@workspace_view(Perm.JOB_EDIT, ("GET", "HEAD", "POST"))
def new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Make a template, from nothing or as a copy (``?from=``) of another one, or of a run's job (``?run=``)."""
    kept, initial = None, {}
    if copied := request.GET.get("from"):
        source = find(workspace, uuid_of(copied))
        kept = source.spec()
        initial = {
            **initial_of(kept, source.place),
            "name": f"{source.name[:94]} copy",
            "description": source.description,
        }
    elif copied := request.GET.get("run"):
        run = get_object_or_404(Run.objects.in_workspace(workspace).select_related("cluster"), pk=uuid_of(copied))
        kept = run.spec()
        initial = {**initial_of(kept, None if run.cluster.dedicated_to else run.cluster), "name": run.name}
    form = JobForm(posted(request), workspace=workspace, for_template=True, kept=kept, initial=initial)
    if views_form.wants_saving(request, form):
        try:
            made = services_templates.create_template(
                actor=actor_of(request),
                workspace=workspace,
                name=form.cleaned_data["name"],
                description=form.cleaned_data["description"],
                spec=form.spec(),
                place=form.place_given(),
            )
            return done(request, "jobs:template", workspace.pk, made.pk)
        except UserError as error:
            views_form.refuse(form, error)
    return views_form.show(request, form, title="New template", save="Create template")


@workspace_view(Perm.JOB_EDIT, ("GET", "HEAD", "POST"))
def edit(request: WorkspaceRequest, workspace: Workspace, template: UUID) -> HttpResponse:
    """Change a template for the runs to come."""
    found = find(workspace, template)
    kept = found.spec()
    initial = {**initial_of(kept, found.place), "name": found.name, "description": found.description}
    form = JobForm(posted(request), workspace=workspace, for_template=True, kept=kept, initial=initial)
    if views_form.wants_saving(request, form):
        try:
            services_templates.update_template(
                actor=actor_of(request),
                template=found,
                name=form.cleaned_data["name"],
                description=form.cleaned_data["description"],
                spec=form.spec(),
                place=form.place_given(),
            )
            messages.success(request, "Saved. Runs that were submitted before keep what they were submitted with.")
            return done(request, "jobs:template", workspace.pk, found.pk)
        except UserError as error:
            views_form.refuse(form, error)
    return views_form.show(request, form, title="Edit template", save="Save")


@workspace_view(Perm.JOB_EDIT, ("POST",))
def run(request: WorkspaceRequest, workspace: Workspace, template: UUID) -> HttpResponse:
    """Run a template as it stands."""
    made = services.submit_template(actor=actor_of(request), template=find(workspace, template))
    return done(request, "jobs:detail", workspace.pk, made.pk)


@workspace_view(Perm.JOB_EDIT, ("POST",))
def delete(request: WorkspaceRequest, workspace: Workspace, template: UUID) -> HttpResponse:
    """Remove a template; its runs stay."""
    found = find(workspace, template)
    services_templates.delete_template(actor=actor_of(request), template=found)
    messages.success(request, f"The template {found.name} is deleted. Its runs stay.")
    return done(request, "jobs:templates", workspace.pk)


def uuid_of(text: str) -> UUID:
    """An id from a query string; the id of nothing where it is none."""
    try:
        return UUID(text)
    except ValueError:
        return UUID(int=0)
