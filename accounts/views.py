"""Pages of organizations. People are in ``views_people``."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render

from accounts import activation, services, services_signup
from accounts.access import OrganizationRequest, enter, organization_view, public_view, signed_in_view
from accounts.audit import actor_of
from accounts.forms import OrganizationForm
from accounts.models import Organization, PendingSignup, User
from accounts.permissions import Perm
from accounts.sessions import still
from portal import events
from portal.errors import UserError
from portal.forms import form_response, posted


@public_view()
def home(request: HttpRequest) -> HttpResponse:
    """The landing page, or the way to the person's first organization."""
    if not isinstance(request.user, User):
        return render(request, "home.html")
    organization = Organization.objects.of(request.user).first()
    if organization is None:
        return redirect("admin:index" if request.user.is_staff else "accounts:organization_new")
    return redirect("workspaces:list", organization.pk)


@signed_in_view(("GET", "HEAD", "POST"))
def organization_new(request: HttpRequest) -> HttpResponse:
    """Make another organization; or the first, where it could not be made when the account was activated."""
    assert isinstance(request.user, User)
    unfinished = PendingSignup.objects.unfinished_by(request.user).first()
    form = OrganizationForm(posted(request), initial={"name": unfinished.organization_name} if unfinished else None)
    if request.method == "POST" and form.is_valid():
        actor, name = actor_of(request), form.cleaned_data["name"]
        try:
            if unfinished:
                organization = services_signup.finish(actor=actor, owner=request.user, pending=unfinished, name=name)
            else:
                organization = services.create_organization(actor=actor, name=name, owner=request.user)
        except UserError as error:
            form.add_error("name", f"{error.message} {error.hint}")
        else:
            return redirect("workspaces:list", organization.pk)
    why = activation.why_unfinished(unfinished) if unfinished else ""
    return form_response(request, "accounts/organization_new.html", form, unfinished=unfinished, why=why)


@organization_view(Perm.ORG_VIEW, ("GET",))
def organization_events(request: OrganizationRequest, organization: Organization) -> HttpResponseBase:
    """The event stream of an organization's pages."""
    return events.stream(organization.pk, still(request, lambda again: enter(again, organization.pk)))
