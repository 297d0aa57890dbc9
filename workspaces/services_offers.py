"""The write on what clouds offer: people have it asked for again."""

from __future__ import annotations

from django.db import transaction

from accounts import audit
from accounts.audit import Actor
from workspaces.clouds import cloud_of
from workspaces.models import Offers, Workspace
from workspaces.offers import fetch, want


@transaction.atomic
def refresh(*, actor: Actor, workspace: Workspace) -> None:
    """Ask the cloud of a workspace again what it offers, now. Nothing where its answers are not kept."""
    configuration = workspace.cloud_configuration
    if not cloud_of(configuration).catalogue_seconds:
        return
    want(configuration, workspace.region)
    row = Offers.objects.select_for_update().get(cloud_configuration=configuration, region=workspace.region)
    row.failure_code = row.failure_message = row.failure_hint = ""
    row.save(update_fields=["failure_code", "failure_message", "failure_hint"])
    fetch(row)
    audit.record(actor, "workspace.refresh_offers", workspace, organization=workspace.organization, region=row.region)
