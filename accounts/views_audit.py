"""The audit log: the page with its filters, and the log as a file."""

from __future__ import annotations

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone

from accounts import audit_export, services_audit
from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.audit_search import Search, kinds
from accounts.forms_audit import AuditFilter
from accounts.models import AuditSeal, Organization
from accounts.permissions import Perm
from portal.errors import UserError


@organization_view(Perm.AUDIT_VIEW)
def audit_log(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """What was done in the organization, newest first."""
    form = AuditFilter(request.GET, kinds=kinds(organization))
    valid = form.is_valid()
    shown = Search(organization, form.wanted).page(request) if valid else None
    context = {
        "nav": "audit",
        "filter_form": form,
        "filtered": not valid or bool(form.wanted.stated()),
        "page": shown,
        "events": shown.rows if shown else [],
        "head": AuditSeal.objects.filter(chain=organization.pk).order_by("-sequence").first(),
    }
    return render(request, "accounts/audit.html", context, status=200 if valid else 422)


@organization_view(Perm.AUDIT_VIEW, ("POST",))
def audit_export_file(request: OrganizationRequest, organization: Organization) -> HttpResponseBase:
    """What the filter in the address finds, as a file. Taking it away is an event of its own."""
    form = AuditFilter(request.GET, kinds=kinds(organization))
    kind = request.POST.get("format", "")
    if not form.is_valid() or kind not in audit_export.FORMATS:
        raise UserError(
            "FilterNotUnderstood",
            "The audit log was not exported, because the filter was not understood.",
            "Go back to the audit log, correct the filter there, and export what it shows.",
            status=422,
        )
    wanted = form.wanted
    noted = services_audit.note_export(actor=actor_of(request), organization=organization, kind=kind, wanted=wanted)
    content_type, *_ = audit_export.FORMATS[kind]
    stream = audit_export.stream(Search(organization, wanted), kind, noted.number)
    response = StreamingHttpResponse(stream, content_type=content_type)
    name = f"audit-{timezone.now():%Y-%m-%d}.{kind}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
