"""An organization as a whole: its name, and its end."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, hooks, letters
from accounts.audit import Actor
from accounts.models import Invitation, Membership, Organization
from accounts.permissions import OrganizationRole, Perm
from accounts.services_invitations import revoke_all
from accounts.standing import demand, lock_roles
from portal.errors import UserError


@transaction.atomic
def rename_organization(*, actor: Actor, organization: Organization, name: str) -> None:
    """Another name. Raises PermissionNeededError, UserError(NameTaken)."""
    row = lock_roles(organization)
    demand(actor, Perm.ORG_MANAGE, row)
    before, row.name = row.name, name
    if name == before:
        return
    try:
        with transaction.atomic():
            row.save(update_fields=["name"])
    except IntegrityError:
        raise UserError("NameTaken", "An organization of this name exists.", "Choose another name.") from None
    audit.record(actor, "organization.rename", row, organization=row, before={"name": before}, after={"name": name})


def in_the_way(*, organization: Organization) -> list[str]:
    """What must be deleted before the organization can be."""
    return [line for used in hooks.organization_in_use for line in used(organization)]


@transaction.atomic
def delete_organization(*, actor: Actor, organization: Organization) -> None:
    """End an organization: its people lose it at once and are told, its name is free, its audit log and bills stay.

    Raises PermissionNeededError, UserError(OrganizationInUse).
    """
    row = lock_roles(organization)
    demand(actor, Perm.ORG_MANAGE, row)
    blocking = in_the_way(organization=row)
    if blocking:
        raise UserError(
            "OrganizationInUse",
            f"{row} still has {', '.join(blocking[:5])}{' and more' if len(blocking) > 5 else ''}.",
            "Delete them first, then the organization.",
        )
    for deleted in hooks.organization_deleted:
        deleted(actor, row)
    revoke_all(
        actor=actor,
        invitations=Invitation.objects.in_organization(row).open(),
        reason="the organization was deleted",
    )
    members = Membership.objects.in_organization(row)
    owners = [member.user for member in members.filter(role=OrganizationRole.OWNER)]
    count = members.count()
    for owner in owners:
        letters.organization_deleted(actor=actor, organization=row, owner=owner)
    members.delete()
    row.deleted_at = timezone.now()
    row.save(update_fields=["deleted_at"])
    audit.record(
        actor,
        "organization.delete",
        row,
        organization=row,
        members=count,
        owners=[owner.email for owner in owners],
    )
