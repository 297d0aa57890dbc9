"""What follows for single sign-on when people and organizations go (``accounts.hooks``)."""

from __future__ import annotations

from django.utils import timezone

from accounts.audit import Actor
from accounts.models import FormerMember, Organization, SsoConnection, User


def membership_ended(actor: Actor, organization: Organization, user: User) -> None:
    """Signing in does not bring them back."""
    FormerMember.objects.update_or_create(organization=organization, user=user, defaults={"left_at": timezone.now()})


def organization_deleted(actor: Actor, organization: Organization) -> None:
    """Its domains are free, and its provider signs in nobody."""
    SsoConnection.objects.filter(organization=organization).delete()
