"""The pages of statements: which there are, one of them, and it as a file."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, F, QuerySet, Sum
from django.http import Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import Organization
from accounts.permissions import Perm
from billing import export
from billing import statements as closing
from billing.models import Statement, StatementLine
from billing.months import Month
from billing.totals import MONEY
from billing.views import CURRENCY
from portal.errors import UserError
from portal.export import FORMATS, response
from portal.paging import numbered_page


@organization_view(Perm.USAGE_VIEW)
def statements(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """All months that were closed, newest first, and those that will be."""
    now = timezone.now()
    current = Month.of(now.date())
    shown = numbered_page(request, Statement.objects.in_organization(organization).order_by("-first"))
    context = {
        "nav": "billing",
        "page": shown,
        "waiting": [(month, month.end + closing.WAIT) for month in reversed(closing.unclosed(organization, current))],
        "currency": CURRENCY,
    }
    return render(request, "billing/statements.html", context)


@organization_view(Perm.USAGE_VIEW)
def statement(request: OrganizationRequest, organization: Organization, month: str) -> HttpResponse:
    """One month: what each workspace used, every line, and what was corrected of months before."""
    found = _statement(organization, month)
    lines = found.lines.order_by("pk")
    context = {
        "nav": "billing",
        "statement": found,
        "parts": _parts(lines),
        "page": numbered_page(request, lines, size=200),
        "currency": CURRENCY,
    }
    return render(request, "billing/statement.html", context)


@organization_view(Perm.USAGE_VIEW, ("POST",))
def file(request: OrganizationRequest, organization: Organization, month: str) -> HttpResponseBase:
    """The lines of a statement as a file. Taking it away is an event."""
    found = _statement(organization, month)
    form = FORMATS.get(request.POST.get("format", ""))
    if form is None:
        raise UserError(
            "FormatUnknown",
            "The statement was not exported: there is no such kind of file.",
            f"Choose one of {', '.join(FORMATS)}.",
            status=422,
        )
    export.note_statement(actor=actor_of(request), statement=found, format=form.suffix)
    return response(form, f"statement-{found.month}", export.STATEMENT_COLUMNS, export.statement_batches(found))


def _statement(organization: Organization, month: str) -> Statement:
    first = Month.read(month)
    if first is None:
        raise Http404("There is no such month.")
    return get_object_or_404(Statement.objects.in_organization(organization), first=first.first)


def _parts(lines: QuerySet[StatementLine]) -> list[dict[str, Any]]:
    """Each workspace's part of the statement, and of the corrections of each month before."""
    price = Sum(F("minutes") * F("hourly"), output_field=MONEY) / 60
    grouped = lines.order_by().values("of", "workspace_id", "workspace_name")
    rows = grouped.annotate(total=Sum("minutes"), price=price, count=Count("pk"))
    return [{**row, "month": Month(row["of"])} for row in rows.order_by("-of", "workspace_name", "workspace_id")]
