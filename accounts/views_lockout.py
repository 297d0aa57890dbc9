"""The page of somebody who is locked out, and the way back in."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts import lockout, services_lockout
from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.models import Membership, Organization
from accounts.permissions import Perm
from portal.forms import done


def locked_out(request: HttpRequest) -> HttpResponse:
    """End whatever was begun or remembered in this browser, and say the one sentence."""
    logout(request)
    return render(request, "account/locked_out.html", {"sentence": lockout.SENTENCE}, status=403)


@organization_view(Perm.PEOPLE_MANAGE, ("POST",))
def unlock(request: OrganizationRequest, organization: Organization, membership: int) -> HttpResponse:
    """Let a member in again."""
    member = get_object_or_404(Membership.objects.in_organization(organization), pk=membership)
    services_lockout.unlock_user(actor=actor_of(request), user=member.user, organization=organization)
    messages.success(request, f"{member.user} can sign in again.")
    return done(request, "accounts:people", organization.pk)
