"""Pages of API tokens; those of an organization are here, those of a workspace use the helpers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from accounts import services_tokens, tokens
from accounts.access import OrganizationRequest, organization_view
from accounts.audit import actor_of
from accounts.forms_tokens import TokenForm, roles_within
from accounts.impersonation import not_while_impersonating
from accounts.models import ApiToken, Organization
from accounts.permissions import OrganizationRole, Perm
from accounts.services_tokens import NewToken
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.paging import page


@not_while_impersonating
@organization_view(Perm.PEOPLE_MANAGE)
def token_list(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """The tokens for the organization, newest first."""
    shown = page(request, ApiToken.objects.in_organization(organization))
    context = {
        "nav": "org_settings",
        "tab": "tokens",
        "page": shown,
        "rows": [
            (token, state, reverse("accounts:token_revoke", args=[organization.pk, token.pk]))
            for token, state in tokens.with_states(shown.rows, organization, None)
        ],
        "new_url": reverse("accounts:token_new", args=[organization.pk]),
    }
    return render(request, "accounts/tokens.html", context)


@not_while_impersonating
@organization_view(Perm.PEOPLE_MANAGE, ("GET", "HEAD", "POST"))
def token_new(request: OrganizationRequest, organization: Organization) -> HttpResponse:
    """Make a token for the organization, and show its secret."""
    back = reverse("accounts:tokens", args=[organization.pk])
    form = TokenForm(posted(request), roles=roles_within(request.permissions, workspace=False))
    if request.method == "POST" and form.is_valid():
        try:
            new = services_tokens.create_token(
                actor=actor_of(request),
                pk=form.cleaned_data["id"],
                organization=organization,
                name=form.cleaned_data["name"],
                role=OrganizationRole(form.cleaned_data["role"]),
                expires_at=form.expires_at,
            )
        except UserError as error:
            return token_refused(request, error, back)
        return token_made(request, "accounts/token_made.html", new, nav="org_settings", back=back)
    return form_response(request, "accounts/token_new.html", form, nav="org_settings", back=back)


@not_while_impersonating
@organization_view(Perm.PEOPLE_MANAGE, ("POST",))
def token_revoke(request: OrganizationRequest, organization: Organization, api_token: UUID) -> HttpResponse:
    """Revoke a token of the organization."""
    row = get_object_or_404(ApiToken.objects.in_organization(organization), pk=api_token)
    services_tokens.revoke_token(actor=actor_of(request), token=row)
    messages.success(request, f"The API token {row} is revoked.")
    return done(request, "accounts:tokens", organization.pk)


def token_made(request: HttpRequest, template: str, new: NewToken, **context: Any) -> HttpResponse:
    """The page with the secret, which is in this answer and nowhere else. The list behind it shows the new token."""
    if getattr(request, "htmx", False):
        template += "#drawer"
    response = render(request, template, {"token": new.token, "secret": new.secret, **context})
    response.headers["HX-Trigger"] = "token-made"
    return response


def token_refused(request: HttpRequest, error: UserError, back: str) -> HttpResponse:
    """A form that was sent twice leads back to the list; everything else is a page that says why."""
    if error.code != "TokenExists":
        raise error
    messages.warning(request, f"{error.message} {error.hint}")
    return done(request, back)
