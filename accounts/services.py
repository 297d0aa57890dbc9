"""Every write of the accounts app."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.audit import Actor
from accounts.models import Membership, Organization, User
from accounts.permissions import OrganizationRole
from accounts.standing import lock_roles
from portal.errors import UserError


@transaction.atomic
def create_organization(*, actor: Actor, name: str, owner: User) -> Organization:
    """An organization with its first OWNER. Raises UserError(NameTaken)."""
    try:
        with transaction.atomic():
            organization = Organization.objects.create(name=name)
    except IntegrityError:
        raise UserError(
            "NameTaken", "An organization of this name exists.", "Choose another name, such as firstname_lastname."
        ) from None
    Membership.objects.create(organization=organization, user=owner, role=OrganizationRole.OWNER)
    audit.record(actor, "organization.create", organization, organization=organization, owner=owner.email)
    return organization


@transaction.atomic
def add_member(*, actor: Actor, organization: Organization, user: User, role: OrganizationRole) -> Membership:
    """Put a user into an organization; somebody who is in keeps the role they have.

    Asks for no permission: the caller knows why. Raises UserError(OrganizationGone).
    """
    lock_roles(organization)
    membership, created = Membership.objects.get_or_create(
        organization=organization, user=user, defaults={"role": role}
    )
    if created:
        audit.record(actor, "membership.create", membership, organization=organization, after={"role": role})
    return membership
