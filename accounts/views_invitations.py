"""Pages of invitations for those who manage people. Those of the invited are in ``views_joining``."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from accounts import services_invitations
from accounts.access import OrganizationRequest, organization_view
from accounts.addresses import shown
from accounts.audit import actor_of
from accounts.forms_invitations import InvitationFilter, InviteForm
from accounts.models import Invitation, Organization
from accounts.permissions import Perm
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.paging import numbered_page


@organization_view(Perm.PEOPLE_MANAGE)
def invitations(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The open invitations to the organization and its workspaces, the last sent first."""
    form = InvitationFilter(request.GET)
    rows = Invitation.objects.in_organization(organization).open()
    if form.is_valid():
        rows = rows.filter(email__icontains=form.cleaned_data["q"])
    page = numbered_page(request, rows)
    context = {
        "nav": "people",
        "tab": "invitations",
        "page": page,
        "invitations": page.rows,
        "now": timezone.now(),
        "filter_form": form,
    }
    return render(request, "accounts/invitations.html", context)


@organization_view(Perm.PEOPLE_MANAGE, ("GET", "HEAD", "POST"))
def invite(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Invite people to the organization."""
    form = InviteForm(posted(request), permissions=request.permissions)
    if request.method == "POST" and form.is_valid():
        try:
            sent = services_invitations.invite(actor=actor_of(request), organization=organization, **form.cleaned_data)
        except UserError as error:
            form.add_error("emails", f"{error.message} {error.hint}")
        else:
            tell_sent(request, sent)
            return done(request, "accounts:invitations", organization.pk)
    return form_response(request, "accounts/invite.html", form, nav="people", tab="invitations")


def tell_sent(request: OrganizationRequest, sent: list[Invitation]) -> None:
    """Say what was sent, and name addresses that are written with other letters than a to z."""
    first = shown(sent[0].email)
    messages.success(request, f"{first} is invited." if len(sent) == 1 else f"{len(sent)} people are invited.")
    foreign = [shown(row.email) for row in sent if shown(row.email) != row.email]
    if foreign:
        messages.warning(
            request,
            f"Look again at {', '.join(foreign)}: such letters can look like others. Revoke the invitation if it is "
            "not whom you mean.",
        )


@organization_view(Perm.PEOPLE_MANAGE, ("POST",))
def resend(request: OrganizationRequest, organization: Organization, invitation: UUID) -> HttpResponse:
    """Send an invitation again."""
    row = get_object_or_404(Invitation.objects.in_organization(organization), pk=invitation)
    services_invitations.resend_invitation(actor=actor_of(request), invitation=row)
    messages.success(request, f"A new link is on its way to {row.email}. The one before no longer works.")
    return done(request, "accounts:invitations", organization.pk)


@organization_view(Perm.PEOPLE_MANAGE, ("POST",))
def revoke(request: OrganizationRequest, organization: Organization, invitation: UUID) -> HttpResponse:
    """Make an invitation worthless."""
    row = get_object_or_404(Invitation.objects.in_organization(organization), pk=invitation)
    services_invitations.revoke_invitation(actor=actor_of(request), invitation=row)
    messages.success(request, f"The invitation of {row.email} no longer works.")
    return done(request, "accounts:invitations", organization.pk)
