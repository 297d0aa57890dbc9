"""Sign-ups that wait for their activation."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from accounts.models.marketplace import MarketplaceSubscription
from accounts.models.people import User


class PendingSignupQuerySet(models.QuerySet["PendingSignup"]):
    """Sign-ups under way."""

    def waiting(self) -> PendingSignupQuerySet:
        """Those whose link was not opened yet and still works, newest first."""
        return self.filter(user=None, expires_at__gt=timezone.now()).order_by("-created_at")

    def unfinished_by(self, user: User) -> PendingSignupQuerySet:
        """Those of a user whose address is confirmed and whose organization is still to be made, oldest first."""
        return self.filter(user=user).select_related("subscription__organization").order_by("created_at")


class PendingSignup(models.Model):
    """What somebody filled in to sign up.

    There is no user before the link in the mail is opened: nobody can take an address whose mail they do not read, and
    several sign-ups with one address do not disturb each other. The row goes when the organization is made; if it
    cannot be made at activation (its name was taken meanwhile), the row stays, with ``user``, until another is chosen.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    email = models.EmailField(max_length=254, db_index=True)
    first_name = models.CharField(max_length=100)
    last_name = models.CharField(max_length=100)
    organization_name = models.CharField(max_length=100)
    password = models.CharField(max_length=128, blank=True, editable=False, help_text="Hashed; empty once it is used.")
    terms_version = models.CharField(max_length=40)
    subscription = models.ForeignKey(MarketplaceSubscription, null=True, blank=True, on_delete=models.SET_NULL)
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="unfinished_signups")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(db_index=True)

    objects = PendingSignupQuerySet.as_manager()

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}"
