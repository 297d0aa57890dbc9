"""API tokens: how they look, and who comes with one.

The HTTP API calls ``authenticate`` for every request. A client id is public and finds the row; the secret has 256
random bits, so its plain SHA-256 is as good as a slow hash, and costs nothing. Both begin with a word by which scanners
of source code recognise what leaked. Without the right secret, every answer is the same.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Model, Q
from django.utils import timezone

from accounts import audit, hooks, lockout, token_limits
from accounts.audit import Actor
from accounts.models import ApiToken, Membership, Organization, User
from accounts.permissions import (
    WORKSPACE_ADMINS_BY_ROLE,
    Perm,
    WorkspaceRole,
    organization_permissions,
    workspace_permissions,
)
from portal.errors import UserError

CLIENT_ID = re.compile(r"bodo_id_[0-9a-f]{24}")
SECRET = re.compile(r"bodo_secret_[0-9a-f]{64}")
NOTE_USE = timedelta(minutes=1)
"""How exact ``last_used_at`` is: a write for each request would be too many."""

_NO_HASH = "0" * 64


@dataclass(frozen=True)
class Identity:
    """Who comes with a token, and what they may do: in the workspace that it is for, or in the organization itself."""

    token: ApiToken
    organization: Organization
    workspace: Model | None
    permissions: frozenset[Perm]
    actor: Actor

    def permissions_in(self, workspace_id: UUID) -> frozenset[Perm]:
        """What the token may do in a workspace. One of the organization acts as ADMIN there where its role does."""
        if self.workspace is not None:
            return self.permissions if self.workspace.pk == workspace_id else frozenset()
        maker = self.token.created_by
        if maker is None or self.token.role not in WORKSPACE_ADMINS_BY_ROLE:
            return frozenset()
        return workspace_permissions(WorkspaceRole.ADMIN) & held_by(maker, self.organization, workspace_id)


def new_client_id() -> str:
    """A client id that no other token has."""
    return f"bodo_id_{secrets.token_hex(12)}"


def new_secret() -> str:
    """A secret; whoever has it is the token."""
    return f"bodo_secret_{secrets.token_hex(32)}"


def hash_of(secret: str) -> str:
    """What of a secret is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


def authenticate(*, client_id: str, secret: str, address: str | None) -> Identity:
    """Who comes with this client id and secret, from this address.

    Raises UserError: TooManyAttempts (429), InvalidCredentials, TokenRevoked, TokenExpired (401), UserLocked,
    TokenWithoutAccess (403).
    """
    if token_limits.exceeded(client_id, address):
        raise UserError(
            "TooManyAttempts", "The client id or the secret was wrong too often.", "Wait a minute.", status=429
        )
    token = _find(client_id, secret)
    if token is None:
        token_limits.count_failure(client_id, address)
        raise UserError(
            "InvalidCredentials",
            "There is no API token with this client id and secret.",
            "Check both; where the secret is lost, make a new token.",
            status=401,
        )
    now = timezone.now()
    permissions = _usable(token, now)
    _note_use(token, address, now)
    return Identity(
        token=token,
        organization=token.organization,
        workspace=token.workspace,
        permissions=permissions,
        actor=audit.token(token.name, token.client_id, address),
    )


def role_permissions(token: ApiToken) -> frozenset[Perm]:
    """What the role of a token allows, in the scope that it is for."""
    of = organization_permissions if token.workspace_id is None else workspace_permissions
    return of(token.role)


def held_by(user: User, organization: Organization, workspace_id: UUID | None) -> frozenset[Perm]:
    """What somebody may do now in an organization, or in a workspace of it."""
    return _held([user], organization, workspace_id).get(user.pk, frozenset())


def _held(
    people: Collection[User], organization: Organization, workspace_id: UUID | None
) -> dict[int, frozenset[Perm]]:
    if workspace_id is not None:
        return hooks.permissions_in_workspace(organization, workspace_id, people)
    rows = Membership.objects.filter(user__in=people, organization=organization)
    return {row.user_id: organization_permissions(row.role) for row in rows}


def state_of(token: ApiToken, held: frozenset[Perm], now: datetime) -> str:
    """How a token stands, in a word; ``held`` is what its maker may do now."""
    if token.revoked_at:
        return "REVOKED"
    if token.has_expired(now):
        return "EXPIRED"
    maker = token.created_by
    if maker and (not maker.is_active or lockout.is_locked(maker, now)):
        return "LOCKED"
    return "ACTIVE" if role_permissions(token) & held else "NO ACCESS"


def with_states(
    tokens: Iterable[ApiToken], organization: Organization, workspace_id: UUID | None
) -> list[tuple[ApiToken, str]]:
    """Tokens of one scope, each with how it stands."""
    now, tokens = timezone.now(), list(tokens)
    held = _held({token.created_by for token in tokens if token.created_by}, organization, workspace_id)
    return [(token, state_of(token, held.get(token.created_by_id or 0, frozenset()), now)) for token in tokens]


def _find(client_id: str, secret: str) -> ApiToken | None:
    if not (CLIENT_ID.fullmatch(client_id) and SECRET.fullmatch(secret)):
        return None
    rows = ApiToken.objects.select_related("organization", "workspace", "created_by")
    token = rows.filter(client_id=client_id).first()
    right = hmac.compare_digest(hash_of(secret), token.secret_hash if token else _NO_HASH)
    return token if right else None


def _usable(token: ApiToken, now: datetime) -> frozenset[Perm]:
    """What a token may do now. Whoever asks has its secret, and may be told why it is nothing."""
    maker = token.created_by
    held = held_by(maker, token.organization, token.workspace_id) if maker else frozenset()
    match state_of(token, held, now):
        case "REVOKED":
            raise UserError("TokenRevoked", f"The API token {token} was revoked.", "Make a new one.", status=401)
        case "EXPIRED":
            raise UserError("TokenExpired", f"The API token {token} has expired.", "Make a new one.", status=401)
        case "LOCKED":
            raise UserError("UserLocked", lockout.SENTENCE, status=403)
        case "NO ACCESS":
            raise UserError(
                "TokenWithoutAccess",
                f"Who made the API token {token} has no access to this {token.scope} any more.",
                "Somebody who has it can make a new token.",
                status=403,
            )
    return role_permissions(token) & held


def _note_use(token: ApiToken, address: str | None, now: datetime) -> None:
    due = Q(last_used_at=None) | Q(last_used_at__lt=now - NOTE_USE)
    if token.last_used_at is None or token.last_used_at < now - NOTE_USE:
        ApiToken.objects.filter(due, pk=token.pk).update(last_used_at=now, last_used_address=address)
