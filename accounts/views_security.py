"""What a person does about their own sign-in, beyond allauth's pages."""

from __future__ import annotations

from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.http import HttpRequest, HttpResponse

from accounts import services_security as services
from accounts.access import OrganizationRequest, organization_view, signed_in_view
from accounts.audit import actor_of
from accounts.models import Organization
from accounts.permissions import Perm
from portal.errors import UserError
from portal.forms import done


@signed_in_view(("POST",))
def session_end(request: HttpRequest, session: int) -> HttpResponse:
    """Sign out one other browser. One that is gone already is no error: that was the wish."""
    found = UserSession.objects.filter(user=request.user, pk=session).exclude(session_key=request.session.session_key)
    services.end_sessions(actor=actor_of(request), sessions=list(found))
    messages.success(request, "That browser is signed out.")
    return done(request, "usersessions_list")


@organization_view(Perm.ORG_MANAGE, ("POST",))
def second_factor_required(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Ask everybody in the organization for a second factor, or stop asking."""
    answer = request.POST.get("required")
    if answer not in {"yes", "no"}:
        raise UserError("AnswerMissing", "The form did not say whether to require it.", "Send it again.", status=422)
    required = answer == "yes"
    services.require_second_factor(actor=actor_of(request), organization=organization, required=required)
    messages.success(
        request,
        f"Everybody in {organization} now needs a second factor."
        if required
        else f"A password alone is enough again for {organization}.",
    )
    return done(request, "accounts:settings", organization.pk)
