"""The general settings of an organization."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render

from accounts import services_organizations
from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.forms_organizations import DeleteForm, RenameForm
from accounts.models import Membership, Organization
from accounts.permissions import Perm
from accounts.second_factor import standing_of
from portal.errors import UserError
from portal.forms import done, form_response, posted


@organization_view(Perm.PEOPLE_MANAGE)
def settings(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The name of the organization, and its end."""
    return _settings(request, organization, RenameForm(initial={"name": organization.name}))


@organization_view(Perm.ORG_MANAGE, ("POST",))
def rename(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Give the organization another name."""
    form = RenameForm(request.POST)
    if form.is_valid():
        try:
            services_organizations.rename_organization(
                actor=actor_of(request), organization=organization, name=form.cleaned_data["name"]
            )
        except UserError as error:
            form.add_error("name", f"{error.message} {error.hint}")
        else:
            messages.success(request, "Saved.")
            return done(request, "accounts:settings", organization.pk)
    return _settings(request, organization, form)


def _settings(request: OrganizationRequest, organization: Organization, form: RenameForm) -> HttpResponse:
    context = {"nav": "org_settings", "tab": "general", "form": form, "second_factors": standing_of(organization)}
    return render(request, "accounts/settings.html", context, status=422 if form.errors else 200)


@organization_view(Perm.ORG_MANAGE, ("GET", "HEAD", "POST"))
def delete(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Show what deleting the organization takes away, and do it once its name was typed."""
    form = DeleteForm(posted(request), organization=organization)
    if request.method == "POST" and form.is_valid():
        try:
            services_organizations.delete_organization(actor=actor_of(request), organization=organization)
        except UserError as error:
            form.add_error(None, f"{error.message} {error.hint}")
        else:
            messages.success(request, f"The organization {organization} is deleted.")
            return done(request, "home")
    context = {
        "nav": "org_settings",
        "tab": "general",
        "blocking": services_organizations.in_the_way(organization=organization),
        "member_count": Membership.objects.in_organization(organization).count(),
    }
    return form_response(request, "accounts/organization_delete.html", form, **context)
