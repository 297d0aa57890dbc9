"""Single sign-on: an organization's OpenID provider, the domains it may speak for, and whom it has named so far."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.people import Organization, User
from portal.crypto import seal, unseal


class SsoConnectionQuerySet(models.QuerySet["SsoConnection"]):
    """Connections."""

    def for_domain(self, domain: str) -> SsoConnectionQuerySet:
        """The enabled one that may speak for a domain, if any."""
        approved = SsoDomain.objects.approved().filter(domain=domain)
        return self.filter(enabled=True, organization__deleted_at=None, domains__in=approved)


class SsoConnection(models.Model):
    """An organization's OpenID provider. Its domains count once the operator has approved them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="sso_connection")
    issuer = models.URLField(max_length=500, help_text="The provider's address, as it names itself in its tokens.")
    client_id = models.CharField(max_length=255)
    sealed_secret = models.TextField(editable=False)
    enabled = models.BooleanField(default=False)
    enforced = models.BooleanField(default=False, help_text="Members of its domains, but for owners, use no other way.")
    joins = models.BooleanField(default=True, help_text="Newcomers become members when they first sign in.")
    created_at = models.DateTimeField(default=timezone.now)

    objects = SsoConnectionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(enforced=False) | Q(enabled=True), name="sso_enforced_is_enabled")
        ]

    def __str__(self) -> str:
        return f"Single sign-on of {self.organization}"

    @property
    def client_secret(self) -> str:
        """Unsealed; for the moment in which the provider is asked."""
        return unseal(self.sealed_secret).get("client_secret", "")

    @client_secret.setter
    def client_secret(self, secret: str) -> None:
        self.sealed_secret = seal({"client_secret": secret})


class SsoDomainQuerySet(models.QuerySet["SsoDomain"]):
    """Domains."""

    def in_organization(self, organization: Organization) -> SsoDomainQuerySet:
        """Those that one organization asked for, by name."""
        return self.filter(connection__organization=organization).order_by("domain")

    def approved(self) -> SsoDomainQuerySet:
        """Those that count."""
        return self.exclude(approved_at=None)


class SsoDomain(models.Model):
    """A domain of e-mail addresses, in ASCII and lower case, that an organization asked for."""

    connection = models.ForeignKey(SsoConnection, on_delete=models.CASCADE, related_name="domains")
    domain = models.CharField(max_length=253)
    requested_at = models.DateTimeField(default=timezone.now)
    approved_at = models.DateTimeField(null=True, blank=True)
    approved_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    objects = SsoDomainQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connection", "domain"], name="sso_domain_once"),
            # Anybody may ask for a domain; only one organization gets it.
            models.UniqueConstraint(
                fields=["domain"], condition=Q(approved_at__isnull=False), name="sso_domain_speaks_for_one"
            ),
        ]

    def __str__(self) -> str:
        return self.domain


class SsoIdentity(models.Model):
    """Whom a provider means by a subject of its own."""

    connection = models.ForeignKey(SsoConnection, on_delete=models.CASCADE, related_name="identities")
    subject = models.CharField(max_length=255)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sso_identities")
    linked_at = models.DateTimeField(default=timezone.now)
    last_used_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["connection", "subject"], name="sso_subject_is_one_user")]

    def __str__(self) -> str:
        return f"{self.user} by {self.connection}"


class FormerMember(models.Model):
    """Somebody who left an organization or was removed: signing in does not bring them back, an invitation does."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="former_members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    left_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "user"], name="former_member_once")]

    def __str__(self) -> str:
        return f"{self.user}, once in {self.organization}"
