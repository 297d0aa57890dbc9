"""API tokens: what programs sign in with."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.people import Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from portal.models import NextNumber


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """API tokens."""

    def in_organization(self, organization: Organization) -> ApiTokenQuerySet:
        """Those for an organization itself, with who made them."""
        return self.filter(organization=organization, workspace=None).select_related("created_by")

    def in_workspace(self, workspace: models.Model) -> ApiTokenQuerySet:
        """Those for one workspace, with who made them."""
        return self.filter(workspace=workspace.pk).select_related("created_by")

    def unrevoked(self) -> ApiTokenQuerySet:
        """Those that nobody revoked; they may have expired."""
        return self.filter(revoked_at=None)


class ApiToken(models.Model):
    """A client id, which is public, with a secret, of which only the SHA-256 is kept.

    It is for one workspace, or for an organization where ``workspace`` is NULL; ``role`` is of the one or the other.
    What it may do is what its role may, and never more than its maker may at that moment: see ``accounts.tokens``.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    number = models.BigIntegerField(unique=True, editable=False, db_default=NextNumber("accounts_apitoken_number"))
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="api_tokens")
    workspace = models.ForeignKey(
        "workspaces.Workspace", null=True, blank=True, on_delete=models.PROTECT, related_name="api_tokens"
    )
    name = models.CharField(max_length=100)
    client_id = models.CharField(max_length=40, unique=True)
    secret_hash = models.CharField(max_length=64, editable=False, help_text="SHA-256 of the secret, in hexadecimal.")
    secret_end = models.CharField(max_length=4, help_text="The last characters of the secret, to tell it by.")
    role = models.CharField(max_length=20, choices=[*OrganizationRole.choices, *WorkspaceRole.choices])
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="api_tokens")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")
    last_used_address = models.GenericIPAddressField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(workspace=None, role__in=OrganizationRole.values)
                | Q(workspace__isnull=False, role__in=WorkspaceRole.values),
                name="api_token_role_of_scope",
            )
        ]
        indexes = [
            models.Index(fields=["organization", "-number"], name="api_token_by_organization"),
            models.Index(fields=["workspace", "-number"], name="api_token_by_workspace"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def scope(self) -> str:
        """What it is for."""
        return "organization" if self.workspace_id is None else "workspace"

    def has_expired(self, now: datetime) -> bool:
        """Whether its time is up."""
        return self.expires_at is not None and self.expires_at <= now
