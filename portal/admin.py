"""What all the operator's pages share: no counting of big tables, refusals as messages, tasks on pages of their own.

A task is what staff does to one row, beyond editing its fields: its page says what will happen before it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Generic, TypeVar

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from portal.errors import UserError

M = TypeVar("M", bound=Model)
COUNTED = 10_000
"""More rows than that are not counted: PostgreSQL would read them all for each page."""


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # the admin makes it for whatever it lists
    """Pages over at most COUNTED rows; filters and the search find the others."""

    @cached_property
    def count(self) -> int:
        """How many there are, or COUNTED."""
        return int(self.object_list[:COUNTED].count())  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Task(Generic[M]):
    """Something that staff does to one row.

    ``do`` gets the request, the row and the text that ``asks`` asked for (empty where it asks for none), and returns a
    sentence that says what was done. ``bulk`` tasks are also offered for the rows selected in a list.
    """

    name: str
    label: str
    text: str
    do: Callable[[HttpRequest, M, str], str | HttpResponse]
    permission: str
    offered: Callable[[M], bool] = lambda _: True
    asks: str = ""
    asks_help: str = ""
    bulk: bool = False
    danger: bool = False


class PortalAdmin(admin.ModelAdmin[M]):
    """The base of all our pages."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 200
    tasks: list[Task[Any]] = []
    change_form_template = "admin/portal_change_form.html"

    # --- refusals ---------------------------------------------------------------------------------------------------

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """What a service refuses undoes the whole form, and is told on the same page."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except UserError as error:
            return self._refused(request, error, request.get_full_path())

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The same for deletions."""
        try:
            return super().delete_view(request, object_id, extra_context)
        except UserError as error:
            return self._refused(request, error, self._address("change", object_id))

    def response_action(self, request: HttpRequest, queryset: QuerySet[M], *where: Any) -> HttpResponse | None:
        """An action happens to all the rows or to none, with its audit events: the admin itself has no transaction
        there."""
        try:
            with transaction.atomic():
                return super().response_action(request, queryset, *where)
        except UserError as error:
            return self._refused(request, error, request.get_full_path())

    def _refused(self, request: HttpRequest, error: UserError, address: str) -> HttpResponse:
        messages.error(request, f"{error.message} {error.hint}".strip())
        return HttpResponseRedirect(address)

    def _address(self, view: str, *arguments: object) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{view}", args=arguments)

    # --- tasks ------------------------------------------------------------------------------------------------------

    def may(self, request: HttpRequest, task: Task[M], row: M | None = None) -> bool:
        """Whether a member of staff may do a task, to this row if one is given."""
        return request.user.has_perm(task.permission)

    def get_urls(self) -> list[URLPattern]:
        """A page for each task."""
        view = self.admin_site.admin_view(self.task_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_task"
        return [path("<path:object_id>/task/<slug:name>/", view, name=name), *super().get_urls()]

    def task_view(self, request: HttpRequest, object_id: str, name: str) -> HttpResponseBase:
        """Say what will happen; on POST do it."""
        task: Task[M] | None = next((task for task in self.tasks if task.name == name), None)
        row = self.get_object(request, object_id)
        if task is None or row is None:
            raise Http404
        if not (self.has_view_permission(request, row) and self.may(request, task, row)):
            raise PermissionDenied
        back, given = self._address("change", row.pk), request.POST.get("text", "").strip()
        if not task.offered(row):
            messages.warning(request, f"{task.label}: that is done already, or cannot be done now.")
            return HttpResponseRedirect(back)
        if request.method == "POST" and (given or not task.asks):
            try:
                with transaction.atomic():
                    done = task.do(request, row, given[:300])
            except UserError as error:
                return self._refused(request, error, back)
            if isinstance(done, HttpResponse):
                return done
            messages.success(request, done)
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": task.label,
            "opts": self.opts,
            "original": row,
            "task": task,
            "back": back,
            "missing": request.method == "POST",
        }
        return TemplateResponse(request, "admin/portal_task.html", context, status=422 if context["missing"] else 200)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Those tasks that can be done to many at once."""
        actions = super().get_actions(request)
        for task in self.tasks:
            if task.bulk and self.may(request, task):
                to_all: Callable[..., Any] = partial(_do_to_all, task=task)
                actions[task.name] = (to_all, task.name, f"{task.label}: all selected")
        return actions

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        """Offer the tasks, and what else there is to see of the row."""
        row = kwargs.get("obj")
        if row is not None:
            tasks = [task for task in self.tasks if task.offered(row) and self.may(request, task, row)]
            context["tasks"] = [(task, self._address("task", row.pk, task.name)) for task in tasks]
            context["more_links"] = self.more_links(row)
        return super().render_change_form(request, context, *args, **kwargs)

    def more_links(self, row: M) -> list[tuple[str, str]]:
        """Labels and addresses shown beside the history of a row."""
        return []


def _do_to_all(page: PortalAdmin[Any], request: HttpRequest, rows: QuerySet[Any], *, task: Task[Any]) -> Any:
    done = 0
    for row in rows:
        if task.offered(row) and page.may(request, task, row):
            task.do(request, row, "")
            done += 1
    messages.success(request, f"{task.label}: done for {done} of {len(rows)}.")


class LookOnlyAdmin(PortalAdmin[M]):
    """A page on which nothing is edited: services and reconcilers write these rows, with what belongs to them. A
    deleted row would leak what stands on it, and a saved one would overwrite what a reconciler just wrote."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Made by the portal itself."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Only to look."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Removed by the portal itself."""
        return False


RECONCILED = ["target", "revision", "due_at", "lease_until", "attempts", "failure_code", "failure_message", "handle"]
"""What the operator wants to see of a row that is reconciled, beyond its own fields."""


def link(row: Model | None, label: str = "") -> SafeString | str:
    """A row by its name, leading to its page."""
    if row is None:
        return "–"
    address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}">{}</a>', address, label or str(row))


def link_to_list(model: type[Model], label: str, **filters: object) -> SafeString:
    """The list of a model's rows, filtered, by a label."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return format_html('<a href="{}?{}">{}</a>', address, query, label)
