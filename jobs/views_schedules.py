"""Pages of schedules."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from accounts.audit import actor_of
from accounts.permissions import Perm
from jobs import cron, services_schedules
from jobs.forms_schedules import ScheduleForm
from jobs.models import JobSchedule, JobTemplate, Run, ScheduleFire
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.paging import page
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.models import Workspace

RECENT_FIRES = 50
FIELDS = {"NameTaken": "name", "CronInvalid": "cron", "TimeZoneUnknown": "timezone"}


def find(workspace: Workspace, schedule: UUID) -> JobSchedule:
    """A schedule of this workspace; 404 for any other, and for one that was deleted."""
    rows = JobSchedule.objects.in_workspace(workspace).select_related("template__cluster", "created_by")
    return get_object_or_404(rows, pk=schedule)


@workspace_view(Perm.WS_VIEW)
def schedules(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """The schedules of a workspace, newest first."""
    rows = JobSchedule.objects.in_workspace(workspace).select_related("template")
    shown = page(request, rows)
    context = {
        "nav": "jobs",
        "tab": "schedules",
        "page": shown,
        "schedules": shown.rows,
        "templates_exist": JobTemplate.objects.in_workspace(workspace).exists(),
    }
    return render(request, "jobs/schedules.html", context)


@workspace_view(Perm.WS_VIEW)
def detail(request: WorkspaceRequest, workspace: Workspace, schedule: UUID) -> HttpResponse:
    """A schedule: its next ten fires, and what became of those before."""
    found = find(workspace, schedule)
    ahead = cron.preview(found.cron, found.timezone, timezone.now()) if found.enabled else []
    context = {
        "nav": "jobs",
        "schedule": found,
        "ahead": ahead,
        "fires": ScheduleFire.objects.of(found).select_related("run")[:RECENT_FIRES],
        "active": Run.objects.active_of(found).count(),
    }
    return render(request, "jobs/schedule.html", context)


@workspace_view(Perm.JOB_EDIT, ("GET", "HEAD", "POST"))
def new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Give a template a schedule."""
    form = ScheduleForm(posted(request), workspace=workspace, initial={"template": request.GET.get("template", "")})
    if request.method == "POST" and request.POST.get("go") != "preview" and form.is_valid():
        values = form.cleaned_data
        try:
            made = services_schedules.create_schedule(
                actor=actor_of(request),
                workspace=workspace,
                template=values["template"],
                name=values["name"],
                description=values["description"],
                cron=values["cron"],
                timezone_name=values["timezone"],
                max_concurrent=values["max_concurrent"],
                catch_up=values["catch_up"],
                enabled=values["enabled"],
            )
            return done(request, "jobs:schedule", workspace.pk, made.pk)
        except UserError as error:
            form.add_error(FIELDS.get(error.code, "template"), f"{error.message} {error.hint}".strip())
    context = {"nav": "jobs", "title": "New schedule", "save": "Create schedule"}
    return form_response(request, "jobs/schedule_form.html", form, **context)


@workspace_view(Perm.JOB_EDIT, ("GET", "HEAD", "POST"))
def edit(request: WorkspaceRequest, workspace: Workspace, schedule: UUID) -> HttpResponse:
    """Another plan, from now on."""
    found = find(workspace, schedule)
    names = ("name", "description", "cron", "timezone", "max_concurrent", "catch_up", "enabled", "template")
    form = ScheduleForm(posted(request), workspace=workspace, initial={name: getattr(found, name) for name in names})
    if request.method == "POST" and request.POST.get("go") != "preview" and form.is_valid():
        try:
            services_schedules.update_schedule(actor=actor_of(request), schedule=found, **form.cleaned_data)
            messages.success(request, "Saved.")
            return done(request, "jobs:schedule", workspace.pk, found.pk)
        except UserError as error:
            form.add_error(FIELDS.get(error.code, "template"), f"{error.message} {error.hint}".strip())
    context = {"nav": "jobs", "title": "Edit schedule", "save": "Save"}
    return form_response(request, "jobs/schedule_form.html", form, **context)


@workspace_view(Perm.JOB_EDIT, ("POST",))
def switch(request: WorkspaceRequest, workspace: Workspace, schedule: UUID) -> HttpResponse:
    """On or off."""
    found = find(workspace, schedule)
    wanted = request.POST.get("enabled")
    if wanted not in {"on", "off"}:
        raise UserError(
            "NothingChosen", "A schedule is switched on or off.", "Go back and press one of both.", status=422
        )
    services_schedules.set_schedule_enabled(actor=actor_of(request), schedule=found, enabled=wanted == "on")
    return done(request, "jobs:schedule", workspace.pk, found.pk)


@workspace_view(Perm.JOB_EDIT, ("POST",))
def run_now(request: WorkspaceRequest, workspace: Workspace, schedule: UUID) -> HttpResponse:
    """Once more, besides the plan."""
    made = services_schedules.run_schedule_now(actor=actor_of(request), schedule=find(workspace, schedule))
    return done(request, "jobs:detail", workspace.pk, made.pk)


@workspace_view(Perm.JOB_EDIT, ("POST",))
def delete(request: WorkspaceRequest, workspace: Workspace, schedule: UUID) -> HttpResponse:
    """Remove a schedule; its runs stay."""
    found = find(workspace, schedule)
    services_schedules.delete_schedule(actor=actor_of(request), schedule=found)
    messages.success(request, f"The schedule {found.name} is deleted. Its runs stay.")
    return done(request, "jobs:schedules", workspace.pk)
