"""Writes about how people sign in."""

from __future__ import annotations

from collections.abc import Iterable

from allauth.usersessions.models import UserSession
from django.db import transaction

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from accounts.permissions import Perm
from accounts.second_factor import has_second_factor, standing_of
from accounts.standing import demand, lock_roles
from portal.errors import UserError


@transaction.atomic
def end_sessions(*, actor: Actor, sessions: Iterable[UserSession]) -> None:
    """Sign out browsers; their open streams end within seconds (``accounts.sessions.still``)."""
    for session in sessions:
        where = {"address": session.ip, "browser": session.user_agent}
        audit.record_about(actor, "session.end", session.user, subject=session, **where)
        session.end()


@transaction.atomic
def require_second_factor(*, actor: Actor, organization: Organization, required: bool) -> None:
    """Say whether an organization lets in who could sign in with a password alone. It holds from the next request on.

    Raises PermissionNeededError, UserError(SecondFactorNeeded) where the actor would be kept out themselves.
    """
    row = lock_roles(organization)
    demand(actor, Perm.ORG_MANAGE, row)
    if required and actor.user and not has_second_factor(actor.user):
        raise UserError(
            "SecondFactorNeeded",
            "You have no second factor yourself, and would be the first who cannot come in.",
            "Set one up under “Sign-in and security”, then ask the others for it.",
        )
    if row.require_second_factor == required:
        return
    row.require_second_factor = required
    row.save(update_fields=["require_second_factor"])
    audit.record(
        actor,
        "organization.require_second_factor",
        row,
        organization=row,
        before={"required": not required},
        after={"required": required},
        people_without=standing_of(row).without,
    )
