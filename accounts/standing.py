"""What an actor may do at this moment: read under the lock that every change of a role takes.

A view checks the permission before its service runs, and in between the role can be gone. What gives somebody access
asks again here, and the answer holds until it commits.
"""

from __future__ import annotations

from accounts.access import refuse
from accounts.audit import Actor
from accounts.impersonation import WITHHELD
from accounts.models import Membership, Organization
from accounts.permissions import OrganizationRole, Perm, organization_permissions
from portal.errors import UserError


def lock_roles(organization: Organization) -> Organization:
    """The organization, whose roles (and those in its workspaces) nobody else changes until this transaction ends.

    Take it before any other lock. Raises UserError(OrganizationGone).
    """
    # No key is changed, so that rows which refer to the organization, audit events above all, need not wait.
    row = Organization.objects.standing().select_for_update(no_key=True).filter(pk=organization.pk).first()
    if row is None:
        raise UserError("OrganizationGone", f"The organization {organization} was deleted meanwhile.", status=404)
    return row


def permissions_of(actor: Actor, organization: Organization) -> frozenset[Perm]:
    """What an actor may do in an organization now. The platform itself, and staff on the operator's pages, stand above
    the roles; staff who act as a person have that person's, less what is withheld from them."""
    if actor.kind == "system" or (actor.kind == "staff" and actor.staff is None):
        return frozenset(Perm)
    membership = actor.user and Membership.objects.of(actor.user).filter(organization=organization).first()
    permissions = organization_permissions(membership.role) if membership else frozenset()
    return permissions - WITHHELD if actor.staff else permissions


def demand(actor: Actor, perm: Perm, organization: Organization) -> None:
    """Raise PermissionNeededError unless the actor has the permission now."""
    if perm not in permissions_of(actor, organization):
        raise refuse(perm, organization)


def keep_an_owner(membership: Membership) -> None:
    """Raise UserError(LastOwner) where an organization's only active owner would be lost: nobody could manage it any
    more. The caller holds ``lock_roles``."""
    owners = Membership.objects.in_organization(membership.organization).filter(role=OrganizationRole.OWNER)
    others = owners.exclude(pk=membership.pk).filter(user__is_active=True)
    if membership.role == OrganizationRole.OWNER and not others.exists():
        raise UserError(
            "LastOwner",
            f"{membership.user} is the only active owner of {membership.organization}.",
            "Make somebody else an owner first, or delete the organization.",
        )
