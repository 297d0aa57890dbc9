"""The tab "Single sign-on" of an organization's settings."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.forms import Form
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render

from accounts import services_sso as services
from accounts import sso
from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.forms_sso import DomainForm, PolicyForm, ProviderForm
from accounts.models import Organization, SsoConnection, SsoDomain
from accounts.permissions import Perm
from accounts.sso_checks import checks_of
from portal.errors import UserError
from portal.forms import done


@organization_view(Perm.ORG_MANAGE, ("GET", "HEAD", "POST"))
def sso_settings(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The provider; POST names it."""
    if request.method != "POST":
        return _page(request, organization)
    kept = SsoConnection.objects.filter(organization=organization).exists()
    form = ProviderForm(request.POST, kept=kept)
    if form.is_valid():
        try:
            services.save_provider(actor=actor_of(request), organization=organization, **form.cleaned_data)
        except UserError as error:
            form.add_error("client_secret", f"{error.message} {error.hint}")
        else:
            messages.success(request, "Saved. Test the connection next.")
            return done(request, "accounts:sso", organization.pk)
    return _page(request, organization, provider=form)


@organization_view(Perm.ORG_MANAGE, ("POST",))
def sso_test(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Look at everything that can be known before somebody signs in."""
    return _page(request, organization, checks=checks_of(_connection(organization)))


@organization_view(Perm.ORG_MANAGE, ("POST",))
def sso_policy(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Who may, and who must."""
    form = PolicyForm(request.POST)
    form.is_valid()
    try:
        ended = services.set_policy(actor=actor_of(request), connection=_connection(organization), **form.cleaned_data)
    except UserError as error:
        form.add_error(None, f"{error.message} {error.hint}")
        return _page(request, organization, policy=form)
    also = f" {ended} session{'s' if ended > 1 else ''} of people who came in another way ended." if ended else ""
    messages.success(request, f"Saved.{also}")
    return done(request, "accounts:sso", organization.pk)


@organization_view(Perm.ORG_MANAGE, ("POST",))
def sso_domain_add(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Ask to speak for a domain."""
    form = DomainForm(request.POST)
    if form.is_valid():
        try:
            services.request_domain(
                actor=actor_of(request), connection=_connection(organization), domain=form.cleaned_data["domain"]
            )
        except UserError as error:
            form.add_error("domain", f"{error.message} {error.hint}".strip())
        else:
            messages.success(request, "Asked for. The operator of this portal approves it.")
            return done(request, "accounts:sso", organization.pk)
    return _page(request, organization, domain=form)


@organization_view(Perm.ORG_MANAGE, ("POST",))
def sso_domain_remove(request: OrganizationRequest, organization: Organization, domain: int) -> HttpResponse:
    """Speak for it no longer."""
    row = get_object_or_404(SsoDomain.objects.in_organization(organization).select_related("connection"), pk=domain)
    services.remove_domain(actor=actor_of(request), domain=row)
    messages.success(request, f"{row.domain} is removed.")
    return done(request, "accounts:sso", organization.pk)


@organization_view(Perm.ORG_MANAGE, ("POST",))
def sso_remove(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Forget the provider."""
    services.remove_connection(actor=actor_of(request), connection=_connection(organization))
    messages.success(request, "Single sign-on is removed.")
    return done(request, "accounts:sso", organization.pk)


def _connection(organization: Organization) -> SsoConnection:
    return get_object_or_404(SsoConnection.objects.select_related("organization"), organization=organization)


def _page(request: OrganizationRequest, organization: Organization, **given: Any) -> HttpResponse:
    """The whole tab; ``given`` are a form that was filled in wrongly and the checks, where there are any."""
    connection = SsoConnection.objects.filter(organization=organization).select_related("organization").first()
    facts = {name: getattr(connection, name, "") for name in ("issuer", "client_id", "enabled", "enforced", "joins")}
    wrong = any(isinstance(form, Form) and form.errors for form in given.values())
    context = {
        "nav": "org_settings",
        "tab": "sso",
        "connection": connection,
        "redirect_uri": sso.redirect_uri(organization),
        "domains": SsoDomain.objects.in_organization(organization),
        "people": connection.identities.values("user").distinct().count() if connection else 0,
        "provider": ProviderForm(initial=facts, kept=connection is not None),
        "policy": PolicyForm(initial=facts),
        "domain": DomainForm(),
        **given,
    }
    return render(request, "accounts/sso.html", context, status=422 if wrong else 200)
