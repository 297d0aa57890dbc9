"""Making and revoking API tokens."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from accounts import audit, tokens
from accounts.audit import Actor
from accounts.models import ApiToken, ApiTokenQuerySet, Organization
from accounts.permissions import OrganizationRole, Perm, WorkspaceRole
from accounts.standing import demand, lock_roles
from portal.errors import UserError

LONGEST = timedelta(days=365)


@dataclass(frozen=True)
class NewToken:
    """A token with its secret, which exists nowhere else and is shown once."""

    token: ApiToken
    secret: str = field(repr=False)


@transaction.atomic
def create_token(
    *,
    actor: Actor,
    pk: uuid.UUID,
    organization: Organization,
    workspace: models.Model | None = None,
    name: str,
    role: OrganizationRole | WorkspaceRole,
    expires_at: datetime | None,
) -> NewToken:
    """A token for an organization, or for a workspace of it.

    ``pk`` comes from the form: one that is sent twice makes one token. Who may make tokens for a workspace is asked in
    ``workspaces.services_tokens``. Raises PermissionNeededError, UserError(TokenExists, PersonNeeded, RoleTooWide,
    ExpiryNotAllowed).
    """
    if actor.kind != "user" or actor.user is None:
        raise UserError(
            "PersonNeeded", "Only people make API tokens, for themselves.", "Sign in as yourself.", status=403
        )
    lock_roles(organization)
    if workspace is None:
        demand(actor, Perm.PEOPLE_MANAGE, organization)
    now = timezone.now()
    if expires_at is None and not settings.PORTAL_TOKENS_WITHOUT_EXPIRY:
        raise UserError("ExpiryNotAllowed", "An API token must expire.", "Choose when.", status=422)
    if expires_at is not None and not now < expires_at <= now + LONGEST:
        raise UserError("ExpiryNotAllowed", "An API token lasts a year at most.", "Choose an earlier day.", status=422)
    secret = tokens.new_secret()
    token = ApiToken(
        id=pk,
        organization=organization,
        workspace_id=workspace.pk if workspace else None,
        name=name,
        client_id=tokens.new_client_id(),
        secret_hash=tokens.hash_of(secret),
        secret_end=secret[-4:],
        role=role,
        created_by=actor.user,
        created_at=now,
        expires_at=expires_at,
    )
    if not tokens.role_permissions(token) <= tokens.held_by(actor.user, organization, token.workspace_id):
        raise UserError(
            "RoleTooWide",
            f"The role {role.label} has permissions that you do not have here.",
            "Choose a role that is not wider than your own.",
            status=403,
        )
    try:
        with transaction.atomic():
            token.save(force_insert=True)
    except IntegrityError:
        raise UserError(
            "TokenExists",
            "This form was sent before, and made an API token. Its secret was shown once.",
            "Where you did not copy it, revoke that token and make another one.",
        ) from None
    audit.record(
        actor,
        "api_token.create",
        token,
        organization=organization,
        client_id=token.client_id,
        scope=token.scope,
        workspace=str(workspace) if workspace else None,
        role=role.label,
        expires_at=expires_at.isoformat() if expires_at else None,
    )
    return NewToken(token, secret)


@transaction.atomic
def revoke_token(*, actor: Actor, token: ApiToken, reason: str = "") -> bool:
    """End a token for good; False where it was revoked before. ``reason`` is for what the platform does by itself."""
    now = timezone.now()
    changed = ApiToken.objects.unrevoked().filter(pk=token.pk).update(revoked_at=now, revoked_by=actor.user)
    if changed:
        detail: dict[str, Any] = {"client_id": token.client_id, "scope": token.scope}
        if reason:
            detail["reason"] = reason
        audit.record(actor, "api_token.revoke", token, organization=token.organization, **detail)
    return bool(changed)


def revoke_tokens(*, actor: Actor, tokens: ApiTokenQuerySet, reason: str) -> None:
    """End all of some tokens."""
    for token in tokens.unrevoked().select_related("organization").order_by("number"):
        revoke_token(actor=actor, token=token, reason=reason)
