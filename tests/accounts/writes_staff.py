"""Each write of staff as the audit log must tell it; see ``tests/pages/test_audit.py``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

from allauth.mfa.models import Authenticator
from django.utils import timezone

from accounts import services_staff as staff
from accounts.audit import Actor
from accounts.models import Impersonation, PendingSignup, User
from accounts.services_impersonation import end_impersonation, start_impersonation
from portal import mail
from tests.pages.world import Tenants


def _as_staff(by: dict[str, Any]) -> Actor:
    """The same person, with a permission that no customer has."""
    who: Actor = by["actor"]
    assert who.user
    who.user.is_staff = who.user.is_superuser = True
    return who


def _begun(t: Tenants) -> Impersonation:
    until = timezone.now()
    return Impersonation.objects.create(staff=t.people["outsider"], person=t.people["member"], expires_at=until)


def _with_factor(user: User) -> User:
    Authenticator.objects.create(user=user, type="totp", data={})
    return user


def make_pending() -> PendingSignup:
    """Somebody who has not opened the mail yet."""
    fields = {"first_name": "Ada", "last_name": "Lovelace", "organization_name": "Engines", "terms_version": "1"}
    until = timezone.now() + timedelta(days=1)
    return PendingSignup.objects.create(email=f"ada-{uuid4()}@example.org", expires_at=until, **fields)


def _shut_out(user: User) -> User:
    User.objects.filter(pk=user.pk).update(is_active=False)
    return User.objects.get(pk=user.pk)


WRITES: dict[str, tuple[str, Callable[[Tenants, dict[str, Any]], object]]] = {
    "accounts.services_impersonation.start_impersonation": (
        "user.impersonation_start",
        lambda t, by: start_impersonation(actor=_as_staff(by), person=t.people["member"], reason="Ticket 1"),
    ),
    "accounts.services_impersonation.end_impersonation": (
        "user.impersonation_end",
        lambda t, by: end_impersonation(**by, impersonation=_begun(t), why="stopped"),
    ),
    "accounts.services_staff.deactivate_user": (
        "user.deactivate",
        lambda t, by: staff.deactivate_user(**by, user=t.people["member"], reason="Left"),
    ),
    "accounts.services_staff.reactivate_user": (
        "user.reactivate",
        lambda t, by: staff.reactivate_user(**by, user=_shut_out(t.people["member"])),
    ),
    "accounts.services_staff.end_all_sessions": (
        "user.end_sessions",
        lambda t, by: staff.end_all_sessions(**by, user=t.people["member"]),
    ),
    "accounts.services_staff.remove_second_factors": (
        "user.remove_factors",
        lambda t, by: staff.remove_second_factors(**by, user=_with_factor(t.people["member"]), reason="By phone"),
    ),
    "accounts.services_staff.send_again": (
        "outgoing_mail.send_again",
        lambda t, by: staff.send_again(**by, outgoing=mail.post(to="a@example.org", subject="x", text="y")),
    ),
    "accounts.services_staff.send_activation_again": (
        "pending_signup.send_again",
        lambda t, by: staff.send_activation_again(**by, pending=make_pending()),
    ),
}
MAKES_ITS_OWN = ("end_impersonation", "reactivate_user")
PERSONAL = ("outgoing_mail.send_again", "pending_signup.send_again")
"""What staff does to the portal happens in no organization."""
