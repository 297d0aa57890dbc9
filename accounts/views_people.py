"""Pages of the people of an organization: who they are, what their roles are, what each role may do."""

from __future__ import annotations

from allauth.mfa.models import Authenticator
from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts import lockout, services_people
from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.forms_people import PeopleFilter, RoleForm
from accounts.impersonation import not_while_impersonating
from accounts.models import Membership, MembershipQuerySet, Organization, User
from accounts.permissions import OrganizationRole, Perm, WorkspaceRole, organization_matrix, workspace_matrix
from accounts.second_factor import WAY_BACK
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.paging import numbered_page

SHOWN = (
    *("organization_id", "role", "joined_at", "user__email", "user__first_name", "user__last_name"),
    *("user__last_login", "user__is_active", "user__date_joined", "user__locked_at", "user__unlocked_at"),
)
"""What a line of the list reads."""

TWO_FACTOR = Exists(
    Authenticator.objects.filter(user=OuterRef("user"), type__in=(Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN))
)


def find(organization: Organization, membership: int) -> Membership:
    """A member of this organization; 404 for any other."""
    return get_object_or_404(
        Membership.objects.in_organization(organization).annotate(two_factor=TWO_FACTOR), pk=membership
    )


@organization_view(Perm.ORG_VIEW)
def people(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Who is in the organization, by name. How they sign in is shown to those who manage people."""
    form = PeopleFilter(request.GET, auto_id="filter_%s")
    rows = Membership.objects.in_organization(organization).annotate(two_factor=TWO_FACTOR)
    if form.is_valid():
        rows = filtered(rows, request, **form.cleaned_data)
    shown = numbered_page(request, rows.only(*SHOWN))
    context = {
        "nav": "people",
        "tab": "members",
        "page": shown,
        "members": shown.rows,
        "locked": {row.user_id for row in shown.rows if lockout.is_locked(row.user)},
        "filter_form": form,
        "role_here": OrganizationRole(request.organization_role).label,
    }
    return render(request, "accounts/people.html", context)


def filtered(
    rows: MembershipQuerySet, request: OrganizationRequest, *, q: str, role: str, state: str
) -> MembershipQuerySet:
    """The members that the filter asks for."""
    rows = rows.search(q)
    if role:
        rows = rows.filter(role=role)
    if Perm.PEOPLE_MANAGE not in request.permissions:
        return rows
    match state:
        case "one_factor":
            return rows.exclude(TWO_FACTOR)
        case "two_factor":
            return rows.filter(TWO_FACTOR)
        case "locked":
            return rows.filter(user__in=User.objects.locked())
        case "never":
            return rows.filter(user__last_login=None)
    return rows


@organization_view(Perm.ORG_VIEW)
def roles(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """What each role may do."""
    context = {
        "nav": "people",
        "tab": "roles",
        "organization_roles": OrganizationRole.labels,
        "matrix_organization": organization_matrix(),
        "workspace_roles": WorkspaceRole.labels,
        "matrix_workspace": workspace_matrix(),
    }
    return render(request, "accounts/people_roles.html", context)


@organization_view(Perm.PEOPLE_MANAGE, ("GET", "HEAD", "POST"))
def member(request: OrganizationRequest, organization: Organization, membership: int) -> HttpResponse:
    """One member, and another role for them."""
    row = find(organization, membership)
    form = RoleForm(posted(request), initial={"role": row.role}, permissions=request.permissions)
    if request.method == "POST" and form.is_valid():
        try:
            services_people.change_role(
                actor=actor_of(request), organization=organization, user=row.user, role=form.cleaned_data["role"]
            )
        except UserError as error:
            form.add_error("role", f"{error.message} {error.hint}")
        else:
            messages.success(request, f"{row.user} now has the role {form.cleaned_data['role'].label}.")
            return done(request, "accounts:people", organization.pk)
    changeable = row.role != OrganizationRole.OWNER or Perm.ORG_MANAGE in request.permissions
    context = {
        "nav": "people",
        "tab": "members",
        "member": row,
        "changeable": changeable,
        "locked": lockout.is_locked(row.user),
    }
    return form_response(request, "accounts/people_member.html", form, **context)


@organization_view(Perm.PEOPLE_MANAGE, ("POST",))
def member_remove(request: OrganizationRequest, organization: Organization, membership: int) -> HttpResponse:
    """Take somebody out of the organization."""
    row = find(organization, membership)
    services_people.remove_member(actor=actor_of(request), organization=organization, user=row.user)
    messages.success(request, f"{row.user} is no longer in {organization}.")
    return done(request, "accounts:people", organization.pk)


@not_while_impersonating
@organization_view(Perm.ORG_VIEW, ("POST",), second_factor=False)
def leave(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Leave the organization, also without the second factor that it asks for."""
    services_people.leave_organization(actor=actor_of(request), organization=organization)
    request.session.pop(WAY_BACK, None)
    messages.success(request, f"You have left {organization}.")
    return done(request, "home")
