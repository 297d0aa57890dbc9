"""The audit log: every write leaves one event in its own transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connection, models

from accounts.models import AuditEvent, Organization, User
from portal.errors import client_address

if TYPE_CHECKING:
    from django.http import HttpRequest


@dataclass(frozen=True)
class Actor:
    """Who acts: a person with the address they come from, or the system with the reason it has.

    ``staff`` is who really acts where that is not ``user``, whose rights count and who comes to own what is made.
    """

    kind: str
    label: str
    user: User | None = None
    address: str | None = None
    staff: User | None = None


SYSTEM = Actor("system", "Bodo Cloud Platform")


def system(reason: str) -> Actor:
    """The platform itself, acting for a stated reason such as ``auto-pause``."""
    return Actor("system", f"Bodo Cloud Platform ({reason})")


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person behind a request, or the member of staff who acts as that person."""
    user = request.user
    assert isinstance(user, User)
    if impersonation := getattr(request, "impersonation", None):
        staff: User = impersonation.staff
        label = f"Staff {_label(staff)[:140]} as {_label(user)}"
        return Actor("staff", label[:300], user, client_address(request), staff)
    return person(user, client_address(request))


def person(user: User, address: str | None) -> Actor:
    """A person who has shown who they are, also before or without being signed in."""
    return Actor("user", _label(user), user, address)


def staff_of(request: HttpRequest) -> Actor:
    """The member of staff behind a request to the operator's pages."""
    user = request.user
    assert isinstance(user, User)
    return Actor("staff", f"Staff {_label(user)}"[:300], user, client_address(request))


def _label(user: User) -> str:
    return f"{user.get_full_name()} <{user.email}>"[:300]


def record(
    actor: Actor, verb: str, subject: models.Model, *, organization: Organization | None, **detail: Any
) -> AuditEvent:
    """Write one event. ``verb`` is ``<object>.<action>``; ``detail`` is what of it matters, never a secret.

    Raises RuntimeError outside a transaction: an event without its write, or a write without its event, must not be.
    """
    if not connection.in_atomic_block:
        raise RuntimeError("An audit event belongs into the transaction of its write.")
    return AuditEvent.objects.create(
        organization=organization,
        actor_kind=actor.kind,
        actor_user=actor.staff or actor.user,
        actor_label=actor.label,
        verb=verb,
        object_type=subject._meta.model_name or "",
        object_id=str(subject.pk),
        object_label=str(subject)[:300],
        address=actor.address,
        detail=detail,
    )
