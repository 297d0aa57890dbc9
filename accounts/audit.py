"""The audit log: every write leaves one event in its own transaction. ``docs/audit.md`` says what belongs into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import connection, models

from accounts.audit_detail import difference, recordable, recordable_text
from accounts.models import ActorKind, AuditEvent, Organization, User
from portal.errors import client_address

if TYPE_CHECKING:
    from django.http import HttpRequest


@dataclass(frozen=True)
class Actor:
    """Who acts, and from which address: a person, an API token, the system with the reason it has, or staff.

    ``staff`` is who really acts where that is not ``user``, whose rights count and who comes to own what is made.
    """

    kind: str
    label: str
    user: User | None = None
    address: str | None = None
    staff: User | None = None


SYSTEM = Actor(ActorKind.SYSTEM, "Bodo Cloud Platform")


def system(reason: str) -> Actor:
    """The platform itself, acting for a stated reason such as ``auto-pause``."""
    return Actor(ActorKind.SYSTEM, f"Bodo Cloud Platform ({reason})")


def person(user: User, address: str | None) -> Actor:
    """Somebody who acts with their own account."""
    return Actor(ActorKind.USER, _label(user), user, address)


def token(name: str, client_id: str, address: str | None) -> Actor:
    """An API token, by its name and its client id, which is no secret. What it makes belongs to nobody."""
    return Actor(ActorKind.TOKEN, f"API token {name} ({client_id})"[:300], None, address)


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person behind a request, or the member of staff who acts as that person."""
    user = request.user
    assert isinstance(user, User)
    if impersonation := getattr(request, "impersonation", None):
        staff: User = impersonation.staff
        label = f"Staff {_label(staff)[:140]} as {_label(user)}"
        return Actor(ActorKind.STAFF, label[:300], user, client_address(request), staff)
    return person(user, client_address(request))


def staff_of(request: HttpRequest) -> Actor:
    """The member of staff behind a request to the operator's pages."""
    user = request.user
    assert isinstance(user, User)
    return Actor(ActorKind.STAFF, f"Staff {_label(user)}"[:300], user, client_address(request))


def record(
    actor: Actor,
    verb: str,
    subject: models.Model,
    *,
    organization: Organization | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **detail: Any,
) -> AuditEvent:
    """Write one event. ``verb`` is ``<object>.<action>``; ``detail`` is what else matters of it.

    Of ``before`` and ``after``, only what differs is kept; what is made has no before, what is removed no after. What
    looks like a secret by its name or its form is masked. Raises RuntimeError outside a transaction: an event without
    its write, or a write without its event, must not be.
    """
    event = _event(actor, verb, subject, organization, before, after, detail)
    event.save(force_insert=True)
    return event


def _event(
    actor: Actor,
    verb: str,
    subject: models.Model,
    organization: Organization | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    detail: Mapping[str, Any],
) -> AuditEvent:
    if not connection.in_atomic_block:
        raise RuntimeError("An audit event belongs into the transaction of its write.")
    return AuditEvent(
        organization=organization,
        actor_kind=actor.kind,
        actor_user=actor.staff or actor.user,
        actor_label=recordable_text(actor.label)[:300],
        verb=verb,
        object_type=subject._meta.model_name or "",
        object_id="" if subject.pk is None else str(subject.pk),
        object_label=recordable_text(str(subject))[:300],
        address=actor.address,
        detail=recordable({**difference(before or {}, after or {}), **detail}),
    )


def record_about(
    actor: Actor,
    verb: str,
    user: User,
    *,
    subject: models.Model | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    **detail: Any,
) -> None:
    """Write an event about a person, or about something of theirs, into each of their organizations, so that those who
    run these see it; into the platform's log where there is none. Takes what ``record`` takes.

    In one statement: a sign-in that failed takes no longer for somebody who is in many.
    """
    organizations: list[Organization | None] = [*Organization.objects.of(user)]
    AuditEvent.objects.bulk_create(
        _event(actor, verb, subject or user, organization, before, after, detail)
        for organization in organizations or [None]
    )


def _label(user: User) -> str:
    return f"{user.get_full_name()} <{user.email}>"[:300]
