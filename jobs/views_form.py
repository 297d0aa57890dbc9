"""How the form of a job goes from step to step."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

from jobs.forms_job import STEPS, FormStep, JobForm
from portal.errors import UserError
from portal.forms import form_response

_BY_NAME = {step.name: step for step in STEPS}
_OF_ERROR = {
    "NameTaken": "name",
    "ClusterNotAvailable": "cluster",
    "QueueFull": "cluster",
    "ClusterGone": "cluster",
    "SpotNotOffered": "spot",
    "SpotCannotPause": "pause_on_finish",
    "ZoneNotOffered": "zone",
    "RoleNotUsable": "instance_role",
    "CatalogGone": "catalog",
}


def wants_saving(request: HttpRequest, form: JobForm) -> bool:
    """Whether the last step was sent, and all of it is right."""
    return request.method == "POST" and request.POST.get("go", "save") == "save" and form.is_valid()


def show(request: HttpRequest, form: JobForm, **context: Any) -> HttpResponse:
    """The step that comes next: the one that was asked for, or an earlier one with an error."""
    if request.POST.get("waiting") and form.offered.fetching:
        return HttpResponse(status=204)
    step = _choose(request, form)
    number = STEPS.index(step)
    context = {
        "nav": "jobs",
        "step": step,
        "steps": STEPS,
        "before": STEPS[number - 1] if number else None,
        "after": STEPS[number + 1] if number + 1 < len(STEPS) else None,
        "shown": list(form.shown(step)),
        "carried": list(form.carried(step)),
        "offered": form.offered if step.name == "cluster" and "instance_type" in form.relevant() else None,
        **context,
    }
    return form_response(request, "jobs/form.html", form, **context)


def refuse(form: JobForm, error: UserError) -> None:
    """Put a refusal beside the field that it is about."""
    field = _OF_ERROR.get(error.code)
    form.add_error(field if field in form.relevant() else None, f"{error.message} {error.hint}".strip())


def _choose(request: HttpRequest, form: JobForm) -> FormStep:
    if request.method != "POST":
        return _BY_NAME.get(request.GET.get("step", ""), STEPS[0])
    here = _BY_NAME.get(request.POST.get("step", ""), STEPS[0])
    go = request.POST.get("go", "save")
    if go == "save":
        return form.wrong_step() or here
    target = _BY_NAME.get(go, here)  # anything else, such as "refresh", is the same step with other fields
    if STEPS.index(target) > STEPS.index(here):
        wrong = form.wrong_step(STEPS[STEPS.index(target) - 1])
        if wrong:
            return wrong
    form.hide_errors()
    return target
