"""Every write of secrets and their groups. Values are sealed here, and go nowhere else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from portal.crypto import seal, unseal
from portal.errors import UserError
from workspaces.hooks import refuse_if_used
from workspaces.models import Secret, SecretGroup, Workspace
from workspaces.secrets import refuse_wrong


@transaction.atomic
def create_group(*, actor: Actor, workspace: Workspace, name: str, description: str = "") -> SecretGroup:
    """A group without secrets. Raises UserError(NameTaken)."""
    group = SecretGroup(workspace=workspace, name=name, description=description, created_by=actor.user)
    _save(group, f"A group of secrets named {name} exists.")
    audit.record(actor, "secret_group.create", group, after=_state(group), **_where(group))
    return group


@transaction.atomic
def update_group(*, actor: Actor, group: SecretGroup, name: str, description: str) -> None:
    """Another name or description. Raises UserError(NameTaken, Gone)."""
    row = _locked(group)
    before = _state(row)
    row.name, row.description = name, description
    _save(row, f"A group of secrets named {name} exists.", ["name", "description"])
    audit.record(actor, "secret_group.update", row, before=before, after=_state(row), **_where(row))


@transaction.atomic
def delete_group(*, actor: Actor, group: SecretGroup) -> None:
    """Forget a group with all its secrets. Raises UserError(InUse, Gone)."""
    row = _locked(group)
    refuse_if_used(row)
    names = sorted(row.secrets.values_list("name", flat=True))
    audit.record(actor, "secret_group.delete", row, before=_state(row), secret_names=names, **_where(row))
    row.delete()


@transaction.atomic
def create_secret(*, actor: Actor, group: SecretGroup, name: str, values: Mapping[str, str], kind: str = "") -> Secret:
    """A secret in a group.

    Raises UserError(NameTaken, KeyTaken, Gone, KeyNotAllowed, ValueNotAllowed, SecretEmpty, SecretTooLarge).
    """
    row = _locked(group)
    refuse_wrong(values)
    _refuse_taken(row, values, None)
    secret = Secret(
        group=row, name=name, kind=kind, sealed=seal(dict(values)), keys=sorted(values), changed_by=actor.user
    )
    _save(secret, f"The group {row.name} has a secret named {name}.")
    audit.record(actor, "secret.create", secret, after=_state(secret), **_where(row))
    return secret


@transaction.atomic
def update_secret(
    *, actor: Actor, secret: Secret, name: str, values: Mapping[str, str], removed: Collection[str] = ()
) -> None:
    """Another name, other values for some keys, new keys, keys taken away; keys that are not mentioned stay.

    Raises what ``create_secret`` raises.
    """
    group = _locked(secret.group)
    row = Secret.objects.filter(pk=secret.pk, group=group).first()
    if row is None:
        raise _gone(secret)
    row.group = group
    before, state = unseal(row.sealed), _state(row)
    after = {key: value for key, value in {**before, **values}.items() if key in values or key not in removed}
    refuse_wrong(after)
    _refuse_taken(group, after, row)
    row.name = name
    row.sealed, row.keys = seal(after), sorted(after)
    row.changed_by, row.changed_at = actor.user, timezone.now()
    _save(
        row,
        f"The group {group.name} has a secret named {name}.",
        ["name", "sealed", "keys", "changed_by", "changed_at"],
    )
    replaced = sorted(values.keys() & before.keys())
    audit.record(
        actor, "secret.update", row, before=state, after=_state(row), values_replaced=replaced, **_where(group)
    )


@transaction.atomic
def delete_secret(*, actor: Actor, secret: Secret) -> None:
    """Forget a secret. Raises UserError(InUse, Gone)."""
    group = _locked(secret.group)
    row = Secret.objects.filter(pk=secret.pk, group=group).first()
    if row is None:
        raise _gone(secret)
    refuse_if_used(row)
    audit.record(actor, "secret.delete", row, before=_state(row), **_where(group))
    row.delete()


def _locked(group: SecretGroup) -> SecretGroup:
    """The group as it is now. All writes of its secrets wait here, so that no key is taken twice."""
    rows = SecretGroup.objects.select_for_update(of=("self",)).select_related("workspace__organization")
    row = rows.filter(pk=group.pk).first()
    if row is None:
        raise _gone(group)
    return row


def _gone(subject: SecretGroup | Secret) -> UserError:
    return UserError("Gone", f"{subject} was deleted meanwhile.", "Reload the page.")


def _refuse_taken(group: SecretGroup, values: Mapping[str, str], own: Secret | None) -> None:
    """Within a group there is no order that could decide, so a key is in one secret only."""
    others = group.secrets.exclude(pk=own.pk) if own else group.secrets.all()
    for other in others.order_by("name"):
        for key in sorted(values.keys() & set(other.keys)):
            raise UserError(
                "KeyTaken",
                f"{key} is in the secret {other.name} of this group.",
                "Use another name, or another group: where two groups have a key, the one that a job names later wins.",
                status=422,
            )


def _save(row: SecretGroup | Secret, taken: str, fields: list[str] | None = None) -> None:
    try:
        with transaction.atomic():
            if fields is None:
                row.save(force_insert=True)
            else:
                row.save(update_fields=fields)
    except IntegrityError:
        raise UserError("NameTaken", taken, "Choose another name.") from None


def _state(row: SecretGroup | Secret) -> dict[str, Any]:
    """What the audit log may know of it."""
    if isinstance(row, Secret):
        return {"name": row.name, "keys": row.keys}
    return {"name": row.name, "description": row.description}


def _where(group: SecretGroup) -> dict[str, Any]:
    return {"organization": group.workspace.organization, "workspace": group.workspace.name}
