"""The form of a new API token."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts.forms import NameField
from accounts.permissions import (
    OrganizationRole,
    Perm,
    WorkspaceRole,
    organization_permissions,
    workspace_permissions,
)
from accounts.services_tokens import LONGEST

ROLES: dict[OrganizationRole | WorkspaceRole, str] = {
    OrganizationRole.OWNER: "everything in the organization",
    OrganizationRole.ADMIN: "people, clouds and all workspaces",
    OrganizationRole.BILLING: "usage, costs and budgets",
    OrganizationRole.MEMBER: "see the organization and its people",
    WorkspaceRole.ADMIN: "everything in the workspace",
    WorkspaceRole.DEVELOPER: "files, clusters and runs",
    WorkspaceRole.VIEWER: "see everything and change nothing",
}
LIFETIMES = {"7": "7 days", "30": "30 days", "90": "90 days", "365": "1 year"}
NEVER = "never"


def roles_within(held: frozenset[Perm], *, workspace: bool) -> list[OrganizationRole] | list[WorkspaceRole]:
    """The roles that somebody may give to a token: those that are not wider than what they hold, widest first."""
    if workspace:
        return [role for role in WorkspaceRole if workspace_permissions(role) <= held]
    return [role for role in OrganizationRole if organization_permissions(role) <= held]


class TokenForm(forms.Form):
    """A new token. ``id`` is the token's own, so that the form makes one token, however often it is sent."""

    id = forms.UUIDField(widget=forms.HiddenInput, initial=uuid.uuid4)
    name = NameField(label="Name", help_text="What it is for, such as the program and the machine that use it.")
    role = forms.ChoiceField(
        label="Role", help_text="What the token can do. It can never do more than you can at that moment."
    )
    lifetime = forms.ChoiceField(label="Lasts", initial="90")
    expires_on = forms.DateField(
        label="Or until the end of a day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="In UTC, within a year. If you give a day, it counts.",
    )

    def __init__(self, *args: Any, roles: list[OrganizationRole] | list[WorkspaceRole], **options: Any) -> None:
        super().__init__(*args, **options)
        self.now = timezone.now()
        role, lifetime, day = self.fields["role"], self.fields["lifetime"], self.fields["expires_on"]
        assert isinstance(role, forms.ChoiceField)
        assert isinstance(lifetime, forms.ChoiceField)
        role.choices = [(str(role.value), f"{role.label}: {ROLES[role]}") for role in roles]
        role.initial = str(roles[-1].value) if roles else None
        lifetime.choices = [*LIFETIMES.items()]
        if settings.PORTAL_TOKENS_WITHOUT_EXPIRY:
            lifetime.choices = [*LIFETIMES.items(), (NEVER, "Until it is revoked")]
        self.first_day = self.now.astimezone(UTC).date()
        self.last_day = self.first_day + LONGEST - timedelta(days=1)
        day.widget.attrs |= {"min": self.first_day.isoformat(), "max": self.last_day.isoformat()}

    def clean_expires_on(self) -> datetime | None:
        """The moment at which that day is over."""
        day = self.cleaned_data["expires_on"]
        if day is None:
            return None
        if not self.first_day <= day <= self.last_day:
            raise ValidationError(f"Choose a day from today to {self.last_day.isoformat()}.", code="range")
        return datetime.combine(day + timedelta(days=1), time(), UTC)

    @property
    def expires_at(self) -> datetime | None:
        """When the token ends; None where it does not."""
        day: datetime | None = self.cleaned_data["expires_on"]
        lifetime: str = self.cleaned_data["lifetime"]
        if day is not None or lifetime == NEVER:
            return day
        return self.now + timedelta(days=int(lifetime))
