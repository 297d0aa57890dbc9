"""Users and the organizations they belong to."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Greatest, Lower
from django.utils import timezone

from accounts import lockout
from accounts.addresses import normal_email
from accounts.permissions import OrganizationRole


class UserQuerySet(models.QuerySet["User"]):
    """Users."""

    def locked(self, now: datetime | None = None) -> UserQuerySet:
        """Those who are locked out: for each what ``lockout.is_locked`` says."""
        since = (now or timezone.now()) - lockout.window()
        return self.alias(seen=_SEEN).filter(Q(locked_at__isnull=False) | Q(seen__lt=since))

    def usable(self, now: datetime | None = None) -> UserQuerySet:
        """Those who may sign in and be signed in: active, and not locked out."""
        since = (now or timezone.now()) - lockout.window()
        return self.alias(seen=_SEEN).filter(is_active=True, locked_at=None, seen__gte=since)

    def to_warn(self, now: datetime) -> UserQuerySet:
        """Those who will be locked soon and have not been told in this period of dormancy."""
        due = Q()
        for after in lockout.warnings():
            untold = Q(dormancy_warned_at=None) | Q(dormancy_warned_at__lt=F("seen") + after)
            due |= Q(seen__lte=now - after) & untold
        return self.usable(now).filter(due) if due else self.none()


_SEEN = Greatest("last_login", "date_joined", "unlocked_at")
"""``lockout.seen_at`` in the database; PostgreSQL passes over what is NULL."""


class UserManager(BaseUserManager["User"]):
    """Users by e-mail address, in its one spelling."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A user; without a password nobody can sign in."""
        user = self.model(email=normal_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Staff with every right on the operator's pages.

        Their address counts as confirmed: who can run commands here needs no mail to prove anything, and on a new
        portal mail may not work yet.
        """
        from allauth.account.models import EmailAddress

        from accounts import audit

        with transaction.atomic():
            user = self.create_user(email, password, is_staff=True, is_superuser=True, **fields)
            EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
            audit.record(audit.system("createsuperuser"), "user.create_superuser", user, organization=None)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        """Used by Django's authentication."""
        return self.get(email=normal_email(username or ""))


class User(AbstractBaseUser, PermissionsMixin):
    """A person, signing in by e-mail."""

    email = models.EmailField(max_length=254, unique=True)
    first_name = models.CharField(max_length=100, blank=True)
    last_name = models.CharField(max_length=100, blank=True)
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(default=timezone.now)
    terms_version = models.CharField(max_length=40, blank=True)
    terms_accepted_at = models.DateTimeField(null=True, blank=True)
    locked_at = models.DateTimeField(null=True, blank=True, help_text="When the lock for dormancy was noticed.")
    unlocked_at = models.DateTimeField(null=True, blank=True, help_text="Dormancy counts again from here.")
    dormancy_warned_at = models.DateTimeField(null=True, blank=True)

    objects = UserManager.from_queryset(UserQuerySet)()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = []

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(email=Lower("email")), name="user_email_lower_case")]
        permissions = [("impersonate_user", "Can act as another person")]

    def __str__(self) -> str:
        return self.get_full_name()

    def get_full_name(self) -> str:
        """First and last name, or the e-mail address where there is none."""
        return f"{self.first_name} {self.last_name}".strip() or self.email

    def get_short_name(self) -> str:
        """The first name, or the e-mail address."""
        return self.first_name or self.email

    def addresses(self) -> set[str]:
        """The e-mail addresses that this person has confirmed."""
        confirmed = EmailAddress.objects.filter(user=self, verified=True)
        return {normal_email(email) for email in confirmed.values_list("email", flat=True)}


class OrganizationQuerySet(models.QuerySet["Organization"]):
    """Organizations."""

    def standing(self) -> OrganizationQuerySet:
        """Those that were not deleted."""
        return self.filter(deleted_at=None)

    def of(self, user: User) -> OrganizationQuerySet:
        """Those that a user belongs to, by name."""
        return self.standing().filter(memberships__user=user).order_by("name")

    def named(self, name: str) -> OrganizationQuerySet:
        """The one that has a name, compared as the constraint does: upper case, which iexact takes, is another
        equality."""
        return self.standing().alias(lower=Lower("name")).filter(lower=Lower(Value(name)))


class Organization(models.Model):
    """The tenant for billing and for cloud resources. One that was deleted has no members; its audit log and its bills
    stay, its name is free."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(default=timezone.now)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    require_second_factor = models.BooleanField(default=False, help_text="Nobody enters with a password alone.")
    suspended_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="Its subscription does not stand: nothing can be started."
    )
    members = models.ManyToManyField(User, through="Membership", related_name="organizations")

    objects = OrganizationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("name"), condition=Q(deleted_at=None), name="organization_name_unique")
        ]

    def __str__(self) -> str:
        return self.name


def named(text: str) -> Q:
    """Rows with a ``user`` in whose name or e-mail address each word of a text occurs, in any case."""
    found = Q()
    for word in text.split():
        name = Q(user__first_name__icontains=word) | Q(user__last_name__icontains=word)
        found &= name | Q(user__email__icontains=word)
    return found


class MembershipQuerySet(models.QuerySet["Membership"]):
    """Memberships."""

    def in_organization(self, organization: Organization) -> MembershipQuerySet:
        """Those of one organization, with their users, by name."""
        rows = self.filter(organization=organization).select_related("user")
        return rows.order_by("user__first_name", "user__last_name", "user__email")

    def search(self, text: str) -> MembershipQuerySet:
        """Those in whose name or e-mail address each word occurs, in any case."""
        return self.filter(named(text))

    def of(self, user: User) -> MembershipQuerySet:
        """A user's, in organizations that were not deleted."""
        return self.filter(user=user, organization__deleted_at=None)


class Membership(models.Model):
    """A user's place in an organization."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=OrganizationRole.choices)
    joined_at = models.DateTimeField(default=timezone.now)

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="membership_unique")]

    def __str__(self) -> str:
        return f"{self.user} in {self.organization}: {self.get_role_display()}"
