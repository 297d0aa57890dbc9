"""Signing up: what a form leaves until the mail is opened, the activation, and what may be missing after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from accounts import activation, audit, lockout, services, services_marketplace
from accounts.audit import Actor
from accounts.models import MarketplaceSubscription, Organization, PendingSignup, User
from portal import mail
from portal.errors import UserError

UNFINISHED = timedelta(days=30)
"""How long an organization that could not be made at activation is remembered."""


@dataclass(frozen=True)
class Activated:
    """``organization`` is None where it is still to be made; ``is_new`` tells whether there was no such user before."""

    user: User
    organization: Organization | None
    is_new: bool


@transaction.atomic
def sign_up(
    *,
    address: str | None,
    email: str,
    password: str,
    first_name: str,
    last_name: str,
    organization_name: str,
    subscription: MarketplaceSubscription | None = None,
) -> PendingSignup:
    """Keep what was filled in, and send the activation link to ``email``.

    The same is done whether or not somebody has an account with that address; only the mail differs.
    """
    created_at = timezone.now()
    pending = PendingSignup.objects.create(
        email=email,
        password=make_password(password),
        first_name=first_name,
        last_name=last_name,
        organization_name=organization_name,
        terms_version=settings.PORTAL_TERMS_VERSION,
        subscription=subscription,
        created_at=created_at,
        expires_at=created_at + activation.LIFETIME,
    )
    audit.record(
        activation.visitor(email, address), "user.sign_up", pending, organization=None, terms=pending.terms_version
    )
    _send_activation(pending)
    return pending


@transaction.atomic
def send_again(*, email: str) -> None:
    """Send what helps somebody who waits for their activation link: it, or what they have instead of a sign-up."""
    pending = PendingSignup.objects.waiting().filter(email=email).first()
    if pending:
        _send_activation(pending)
    elif user := activation.user_of(email):
        locked = lockout.is_locked(user) or not user.is_active
        _send("account_locked" if locked else "account_active", email)
    else:
        _send("unknown_account", email, signup_url=_address("account_signup"))


@transaction.atomic
def activate(*, key: str, address: str | None) -> Activated:
    """Confirm the address of a sign-up: make the user, and the organization with its subscription.

    An organization that cannot be made now is kept for the first sign-in (``PendingSignup.objects.unfinished_by``), and
    so is one for somebody who had an account before. Raises UserError as ``activation.pending_for`` does.
    """
    pending = activation.pending_for(key, lock=True)
    user, is_new = _user_for(pending)
    actor = audit.person(user, address)
    organization = None
    if is_new:
        audit.record(actor, "user.activate", user, organization=None, terms=user.terms_version)
        try:
            with transaction.atomic():
                organization = _make_organization(actor, pending, user, pending.organization_name)
        except UserError:
            pass  # another name has to be chosen, or the subscription was linked by somebody else
    else:
        audit.record(activation.visitor(pending.email, address), "user.sign_up_confirm", user, organization=None)
    if organization is None:
        pending.user, pending.password, pending.expires_at = user, "", timezone.now() + UNFINISHED
        pending.save(update_fields=["user", "password", "expires_at"])
    return Activated(user, organization, is_new)


@transaction.atomic
def finish(*, actor: Actor, owner: User, pending: PendingSignup, name: str) -> Organization:
    """Make the organization that could not be made at activation. Raises UserError(NameTaken).

    A subscription that somebody else has linked meanwhile is left to them.
    """
    locked = PendingSignup.objects.select_for_update(of=("self",)).select_related("subscription")
    found = locked.filter(pk=pending.pk, user=owner).first()
    if found is None:  # finished in another tab
        return services.create_organization(actor=actor, name=name, owner=owner)
    if found.subscription and found.subscription.organization_id:
        found.subscription = None
    return _make_organization(actor, found, owner, name)


@transaction.atomic
def accept_terms(*, actor: Actor, user: User) -> None:
    """Note that a user accepts the terms of today."""
    before = {"terms": user.terms_version}
    user.terms_version, user.terms_accepted_at = settings.PORTAL_TERMS_VERSION, timezone.now()
    user.save(update_fields=["terms_version", "terms_accepted_at"])
    after = {"terms": user.terms_version}
    audit.record_about(actor, "user.accept_terms", user, before=before, after=after)


@transaction.atomic
def reset_password(*, actor: Actor, user: User, password: str) -> None:
    """Replace a lost password, which ends all sessions, and tell its owner."""
    user.set_password(password)
    user.save(update_fields=["password"])
    audit.record_about(actor, "user.reset_password", user)


def sweep() -> int:
    """Remove sign-ups that nobody has activated or finished in time, and return how many there were."""
    services_marketplace.sweep()
    due = list(PendingSignup.objects.filter(expires_at__lte=timezone.now()).order_by("expires_at")[:200])
    for pending in due:
        with transaction.atomic():
            deleted, _ = PendingSignup.objects.filter(pk=pending.pk, expires_at__lte=timezone.now()).delete()
            if deleted:
                audit.record(audit.system("not activated in time"), "user.sign_up_expire", pending, organization=None)
    return len(due)


def _user_for(pending: PendingSignup) -> tuple[User, bool]:
    if user := activation.user_of(pending.email):
        return user, False
    try:
        with transaction.atomic():
            user = User.objects.create(
                email=pending.email,
                password=pending.password,
                first_name=pending.first_name,
                last_name=pending.last_name,
                terms_version=pending.terms_version,
                terms_accepted_at=pending.created_at,
            )
            EmailAddress.objects.create(user=user, email=pending.email, verified=True, primary=True)
    except IntegrityError:  # two sign-ups with this address, activated at the same moment
        return User.objects.get(email=pending.email), False
    return user, True


def _make_organization(actor: Actor, pending: PendingSignup, owner: User, name: str) -> Organization:
    organization = services.create_organization(actor=actor, name=name, owner=owner)
    if pending.subscription:
        services_marketplace.link(actor=actor, subscription=pending.subscription, organization=organization)
    pending.delete()
    return organization


def _send_activation(pending: PendingSignup) -> None:
    known = activation.user_of(pending.email) is not None
    values = {"activate_url": activation.link_to(pending), "expires_at": pending.expires_at}
    _send("sign_up_known" if known else "activation", pending.email, **values)


def _send(name: str, to: str, **context: Any) -> None:
    context = {
        "email": to,
        "login_url": _address("account_login"),
        "password_reset_url": _address("account_reset_password"),
        **context,
    }
    subject = render_to_string(f"account/email/{name}_subject.txt", context)
    mail.post(to=to, subject=subject, text=render_to_string(f"account/email/{name}_message.txt", context).strip())


def _address(name: str, *arguments: str) -> str:
    return settings.SITE_URL + reverse(name, args=arguments)
