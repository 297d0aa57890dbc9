"""What the link in an invitation opens. Looking at it changes nothing: mail scanners open links, too."""

from __future__ import annotations

from urllib.parse import urlencode

from allauth.account.utils import perform_login
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts import services_joining, sso
from accounts.access import public_view
from accounts.activation import user_of, visitor
from accounts.addresses import masked
from accounts.audit import actor_of
from accounts.forms_invitations import JoinForm
from accounts.models import Invitation, InvitationStatus, Membership, SsoConnection, User
from accounts.services_joining import Joined
from accounts.tokens import hash_of
from portal.errors import client_address
from portal.forms import posted


@public_view()
def invitation(request: HttpRequest, invitation_key: str) -> HttpResponse:
    """Whom the invitation is for, what it is to, and what can be done with it."""
    mine = _accepted_by_me(request, invitation_key)
    if mine:
        return redirect(_landing(mine))
    row = services_joining.standing_invitation(token=invitation_key)
    return _show(request, row, invitation_key, None)


@public_view(("POST",))
def accept(request: HttpRequest, invitation_key: str) -> HttpResponse:
    """Join."""
    if not isinstance(request.user, User):
        return redirect("accounts:invitation", invitation_key)
    joined = services_joining.accept_invitation(actor=actor_of(request), token=invitation_key)
    if (connection := sso.demanded_of(request.user)) and not sso.signed_in_through(request, connection.organization):
        return _sign_in_anew(request, request.user, joined, connection)
    _welcome(request, joined)
    return redirect(_landing(joined.invitation))


@public_view(("POST",))
def decline(request: HttpRequest, invitation_key: str) -> HttpResponse:
    """Say no."""
    if isinstance(request.user, User):
        actor = actor_of(request)
    else:
        email = services_joining.standing_invitation(token=invitation_key).email
        actor = visitor(email, client_address(request))
    row = services_joining.decline_invitation(actor=actor, token=invitation_key)
    return render(request, "accounts/invitation_declined.html", {"invitation": row})


@public_view(("POST",))
def sign_up(request: HttpRequest, invitation_key: str) -> HttpResponseBase:
    """Make an account with the invited address, and join. Open also where nobody may sign up by themselves."""
    row = services_joining.standing_invitation(token=invitation_key)
    form = JoinForm(posted(request), email=row.email)
    if sso.way_in(row)[1]:
        return redirect("accounts:invitation", invitation_key)
    if not form.is_valid():
        return _show(request, row, invitation_key, form)
    if isinstance(request.user, User):
        return redirect("accounts:invitation", invitation_key)
    joined = services_joining.sign_up_invited(
        token=invitation_key,
        first_name=form.cleaned_data["first_name"],
        last_name=form.cleaned_data["last_name"],
        password=form.cleaned_data["password"],
        address=client_address(request),
    )
    _welcome(request, joined)
    return perform_login(  # type: ignore[no-any-return]
        request, joined.membership.user, redirect_url=_landing(joined.invitation), signup=True
    )


def _show(request: HttpRequest, row: Invitation, token: str, form: JoinForm | None) -> HttpResponse:
    user = request.user if isinstance(request.user, User) else None
    connection, must = sso.way_in(row)
    context = {
        "invitation": row,
        "invitation_key": token,
        "is_mine": user is not None and row.email in user.addresses(),
        "masked": masked(row.email),
        "membership": user and Membership.objects.of(user).filter(organization=row.organization).first(),
        "has_account": user_of(row.email) is not None,
        "sso": connection,
        "sso_only": must,
        "form": form or JoinForm(email=row.email),
    }
    return render(request, "accounts/invitation.html", context, status=422 if form else 200)


def _accepted_by_me(request: HttpRequest, token: str) -> Invitation | None:
    """An invitation that this person has accepted: its link leads on to where it led then."""
    if not isinstance(request.user, User):
        return None
    rows = Invitation.objects.filter(token_hash=hash_of(token), status=InvitationStatus.ACCEPTED)
    row = rows.filter(accepted_by=request.user).select_related("workspace").first()
    still = row and Membership.objects.of(request.user).filter(organization=row.organization_id).exists()
    return row if still else None


def _sign_in_anew(request: HttpRequest, user: User, joined: Joined, connection: SsoConnection) -> HttpResponse:
    """They are in now, and from now on by the organization's own provider: a session that began otherwise ends, as
    those of all members did when that was made the rule."""
    logout(request)
    messages.success(
        request,
        f"Welcome to {joined.invitation.place}. {connection.organization} signs in its members through its own "
        "provider only: go on with it.",
    )
    query = urlencode({"email": user.email, "next": _landing(joined.invitation)})
    return redirect(f"{reverse('accounts:sso_start')}?{query}")


def _landing(row: Invitation) -> str:
    return row.workspace.get_absolute_url() if row.workspace else reverse("workspaces:list", args=[row.organization_id])


def _welcome(request: HttpRequest, joined: Joined) -> None:
    row = joined.invitation
    if joined.was_in and row.workspace is None:
        label = joined.membership.get_role_display()
        messages.info(request, f"You were in {row.organization} already, and keep the role {label}.")
    else:
        messages.success(request, f"Welcome to {row.workspace or row.organization}.")
