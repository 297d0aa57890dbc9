"""Invitations to an organization, or to one of its workspaces."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.people import Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole


class InvitationStatus(models.TextChoices):
    """What became of an invitation. One that is PENDING and past its time has expired; sending it again renews it."""

    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    REVOKED = "REVOKED"


class InvitationQuerySet(models.QuerySet["Invitation"]):
    """Invitations."""

    def in_organization(self, organization: Organization) -> InvitationQuerySet:
        """Those of one organization and its workspaces, the last sent first."""
        rows = self.filter(organization=organization).select_related("invited_by", "workspace")
        return rows.order_by("-sent_at", "email")

    def open(self) -> InvitationQuerySet:
        """Those that nobody has answered or revoked, also when their time is over."""
        return self.filter(status=InvitationStatus.PENDING)


class Invitation(models.Model):
    """An e-mail address that may join, once, by the link that was sent to it.

    Of the link only the hash is kept: sending it again makes another one. With a ``workspace`` it is an invitation to
    that, which brings somebody into the organization as ``role``.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="invitations")
    workspace = models.ForeignKey(
        "workspaces.Workspace", null=True, blank=True, on_delete=models.CASCADE, related_name="invitations"
    )
    email = models.EmailField(max_length=254, help_text="In its one spelling; see accounts.addresses.")
    role = models.CharField(max_length=20, choices=OrganizationRole.choices)
    workspace_role = models.CharField(max_length=20, choices=WorkspaceRole.choices, blank=True)
    token_hash = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 in hexadecimal.")
    status = models.CharField(
        max_length=10, choices=InvitationStatus.choices, default=InvitationStatus.PENDING, editable=False
    )
    invited_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    accepted_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")

    objects = InvitationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "email"],
                condition=Q(status=InvitationStatus.PENDING, workspace=None),
                name="invitation_open_in_organization",
            ),
            models.UniqueConstraint(
                fields=["workspace", "email"],
                condition=Q(status=InvitationStatus.PENDING),
                name="invitation_open_in_workspace",
            ),
            models.CheckConstraint(
                condition=Q(workspace=None, workspace_role="") | (Q(workspace__isnull=False) & ~Q(workspace_role="")),
                name="invitation_workspace_with_role",
            ),
        ]
        indexes = [models.Index(fields=["organization", "-sent_at"], name="invitation_by_organization")]

    def __str__(self) -> str:
        return self.email

    def is_expired(self) -> bool:
        """Whether its seven days are over."""
        return timezone.now() >= self.expires_at

    @property
    def place(self) -> str:
        """What it lets somebody into, in words."""
        return f"the workspace {self.workspace} of {self.organization}" if self.workspace else f"{self.organization}"

    @property
    def role_label(self) -> str:
        """The role that it gives there."""
        return WorkspaceRole(self.workspace_role).label if self.workspace_role else OrganizationRole(self.role).label
