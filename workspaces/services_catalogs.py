"""Every write of catalogs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from portal.clouds.base import Check
from portal.crypto import seal, unseal
from portal.errors import UserError
from workspaces.catalogs import moves_secret, refuse_wrong
from workspaces.hooks import refuse_if_used
from workspaces.models import Catalog, Workspace


@transaction.atomic
def create_catalog(
    *,
    actor: Actor,
    workspace: Workspace,
    name: str,
    kind: str,
    settings: Mapping[str, str],
    secret: Mapping[str, str],
    description: str = "",
) -> Catalog:
    """A catalog. Raises UserError(NameTaken, KindUnknown, SettingNotAllowed, SecretNotAllowed)."""
    refuse_wrong(kind, settings, secret)
    catalog = Catalog(
        workspace=workspace,
        name=name,
        kind=kind,
        description=description,
        settings=dict(settings),
        sealed=seal(dict(secret)) if secret else "",
        changed_by=actor.user,
    )
    _save(catalog)
    audit.record(actor, "catalog.create", catalog, after=_state(catalog), **_where(catalog))
    return catalog


@transaction.atomic
def update_catalog(
    *,
    actor: Actor,
    catalog: Catalog,
    name: str,
    settings: Mapping[str, str],
    secret: Mapping[str, str] | None,
    description: str = "",
) -> None:
    """Another name, other settings, another secret; None keeps the one that is stored, an empty one forgets it.

    Raises UserError(NameTaken, SettingNotAllowed, SecretNotAllowed, SecretNeeded, Gone).
    """
    row = _locked(catalog)
    if secret is None and moves_secret(row, settings):
        raise UserError(
            "SecretNeeded", "The stored password was given for another account or user.", "Enter it again.", status=422
        )
    refuse_wrong(row.kind, settings, unseal(row.sealed) if secret is None else secret)
    before, replaced = _state(row), secret is not None
    untested = dict(settings) != row.settings or replaced
    row.name, row.description, row.settings = name, description, dict(settings)
    row.changed_by, row.changed_at = actor.user, timezone.now()
    if secret is not None:
        row.sealed = seal(dict(secret)) if secret else ""
    if untested:
        row.checks, row.tested_at = [], None
    _save(
        row,
        ["name", "description", "settings", "sealed", "checks", "tested_at", "changed_by", "changed_at"],
    )
    audit.record(
        actor, "catalog.update", row, before=before, after=_state(row), secret_replaced=replaced, **_where(row)
    )


@transaction.atomic
def delete_catalog(*, actor: Actor, catalog: Catalog) -> None:
    """Forget a catalog; what it leads to stays as it is. Raises UserError(InUse, Gone)."""
    row = _locked(catalog)
    refuse_if_used(row)
    audit.record(actor, "catalog.delete", row, before=_state(row), **_where(row))
    row.delete()


@transaction.atomic
def record_test(*, actor: Actor, catalog: Catalog, checks: Sequence[Check]) -> None:
    """What a test of the connection found, unless the catalog was changed since it began. Raises UserError(Gone)."""
    row = _locked(catalog)
    if (row.settings, row.sealed) == (catalog.settings, catalog.sealed):
        row.checks, row.tested_at = [asdict(check) for check in checks], timezone.now()
        row.save(update_fields=["checks", "tested_at"])
    failed = [check.name for check in checks if not check.passed]
    audit.record(actor, "catalog.test", row, failed_checks=failed, **_where(row))


def _locked(catalog: Catalog) -> Catalog:
    rows = Catalog.objects.select_for_update(of=("self",)).select_related("workspace__organization")
    row = rows.filter(pk=catalog.pk).first()
    if row is None:
        raise UserError("Gone", f"The catalog {catalog} was deleted meanwhile.", "Reload the page.")
    return row


def _save(row: Catalog, fields: list[str] | None = None) -> None:
    try:
        with transaction.atomic():
            if fields is None:
                row.save(force_insert=True)
            else:
                row.save(update_fields=fields)
    except IntegrityError:
        raise UserError("NameTaken", f"A catalog named {row.name} exists.", "Choose another name.") from None


def _state(row: Catalog) -> dict[str, Any]:
    """What the audit log may know of it."""
    return {
        "name": row.name,
        "kind": row.kind,
        "description": row.description,
        **row.settings,
        "has_secret": bool(row.sealed),
    }


def _where(row: Catalog) -> dict[str, Any]:
    return {"organization": row.workspace.organization, "workspace": row.workspace.name}
