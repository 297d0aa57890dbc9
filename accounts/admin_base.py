"""The base of pages on which staff writes: each write leaves its audit event, in the same transaction."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.urls import reverse

from accounts import audit
from accounts.models import AuditEvent, Organization, User
from portal.admin import M, PortalAdmin

SECRET = re.compile(r"secret|sealed|password|token|_hash$|environment$|^key$")
"""Names of fields whose values no event and no page may hold."""


def organization_of(row: Model) -> Organization | None:
    """The tenant to whose audit log an event about a row belongs; None for what belongs to the platform."""
    for name in ("", "workspace", "cluster"):
        holder = getattr(row, name) if name and hasattr(row, name) else row
        if isinstance(holder, Organization):
            return holder
        organization = getattr(holder, "organization", None)
        if isinstance(organization, Organization):
            return organization
    return None


def verb(row: Model, action: str) -> str:
    """``usage_interval.create``, as the services name their verbs."""
    return f"{re.sub(r'(?<=.)(?=[A-Z])', '_', type(row).__name__).lower()}.{action}"


class WithAudit(PortalAdmin[M]):
    """The way from a row to its events."""

    def more_links(self, row: M) -> list[tuple[str, str]]:
        """Its audit events."""
        address = reverse("admin:accounts_auditevent_changelist")
        return [*super().more_links(row), ("Audit events", f"{address}?object_id__exact={row.pk}")]


class AuditedAdmin(WithAudit[M]):
    """Adding, changing and deleting by hand. Only what was changed is written, so that nothing is undone that the
    portal wrote to the row meanwhile."""

    def save_model(self, request: HttpRequest, obj: M, form: ModelForm[M], change: bool) -> None:
        """Name the columns."""
        columns = {field.name for field in obj._meta.concrete_fields}
        if not change:
            obj.save()
        elif changed := [name for name in form.changed_data if name in columns]:
            obj.save(update_fields=changed)

    def save_related(self, request: HttpRequest, form: ModelForm[M], formsets: Iterable[Any], change: bool) -> None:
        """Everything is saved now: write the event. Pages of ours have no inline forms that write."""
        super().save_related(request, form, formsets, change)
        self.record_save(request, form, change)

    def record_save(self, request: HttpRequest, form: ModelForm[M], change: bool) -> None:
        """What was made, or what of it was before and is now. Not where a service did it, and wrote its own event."""
        row = form.instance
        if not change:
            after = {name: _shown(name, value) for name, value in form.cleaned_data.items()}
            self.record(request, row, "create", after=after)
        elif form.changed_data:
            before = {name: _shown(name, form.initial.get(name)) for name in form.changed_data}
            after = {name: _shown(name, form.cleaned_data.get(name)) for name in form.changed_data}
            self.record(request, row, "update", before=before, after=after)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[M]) -> list[LogEntry]:
        """Called before rows are deleted, by the page of one and by the action on many."""
        for row in queryset:
            self.record_deletion(request, row)
        entries: list[LogEntry] = super().log_deletions(request, queryset)
        return entries

    def record_deletion(self, request: HttpRequest, row: M) -> None:
        """One that is about to be deleted."""
        self.record(request, row, "delete")

    def record(self, request: HttpRequest, row: M, action: str, **detail: Any) -> AuditEvent:
        """The event of one write."""
        return audit.record(
            audit.staff_of(request), verb(row, action), row, organization=organization_of(row), **detail
        )


def _shown(name: str, value: Any) -> Any:
    """A field's value as JSON has it, and never a secret."""
    if SECRET.search(name):
        return "(not shown)"
    if isinstance(value, QuerySet | list | tuple | set):
        return sorted(str(item) for item in value)
    if isinstance(value, User):
        return value.email
    if isinstance(value, date):
        return value.isoformat()
    if value is None or isinstance(value, bool | int | float | str | dict):
        return value
    return str(value) if not isinstance(value, timedelta) else value.total_seconds()
