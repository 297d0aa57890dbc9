"""Every write to cloud configurations, but for what is made with access keys (``keys_configurations``)."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.models import Organization
from portal import events, queue
from portal.clouds.aws.configuration import configuration_of, new_external_id
from portal.clouds.aws.provider import AwsCloud
from portal.clouds.aws.session import Keys
from portal.clouds.base import Check, Cloud
from portal.errors import UserError
from workspaces import hooks, keys_configurations
from workspaces.clouds import aws_cloud, aws_configuration, cloud_of, local_cloud
from workspaces.models import CloudConfiguration, ConfigurationStatus, Provider, Way, WorkspaceStatus
from workspaces.reconcile_configurations import set_status

S = ConfigurationStatus

# --- LOCAL ------------------------------------------------------------------------------------------------------------


def local_directory(configuration_id: uuid.UUID, directory: str) -> str:
    """The directory of a LOCAL configuration: what was asked for, or one of its own below the first allowed root.

    Raises UserError(LocalCloudOff, DirectoryNotAllowed).
    """
    if not settings.PORTAL_LOCAL_CLOUD:
        raise UserError("LocalCloudOff", "The operator of this portal does not allow clusters on this machine.")
    roots = [root.resolve() for root in settings.PORTAL_LOCAL_ROOTS]
    path = _resolved(directory) if directory else (roots[0] / str(configuration_id)).resolve()
    if path is None or not any(path.is_relative_to(root) and path != root for root in roots):
        allowed = ", ".join(str(root) for root in roots)
        raise UserError(
            "DirectoryNotAllowed",
            f"{directory} is not below a directory that the operator allows.",
            f"Leave the field empty, or choose a directory below {allowed}.",
            status=422,
        )
    _refuse_taken(path)
    return str(path)


def _resolved(directory: str) -> Path | None:
    """Where a directory really is; None for what cannot be one."""
    path = Path(directory)
    if not path.is_absolute() or not directory.isprintable() or ".." in path.parts:
        return None
    if any(len(os.fsencode(part)) > 255 for part in path.parts):
        return None
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle
        return None


def _refuse_taken(path: Path) -> None:
    """No two configurations share a directory: they may belong to two tenants."""
    taken = CloudConfiguration.objects.filter(provider=Provider.LOCAL, deleted_at=None).values_list(
        "settings", flat=True
    )
    for other in (Path(settings_of["directory"]) for settings_of in taken):
        if path.is_relative_to(other) or other.is_relative_to(path):
            raise UserError(
                "DirectoryNotAllowed",
                f"{path} is used by another cloud configuration.",
                "Leave the field empty, or choose a directory of its own.",
                status=422,
            )


def validate_local(*, directory: str) -> list[Check]:
    """The named checks of a LOCAL configuration. Writes nothing."""
    return list(local_cloud(local_directory(uuid.uuid4(), directory)).check())


def create_local_configuration(
    *, actor: Actor, organization: Organization, name: str, directory: str
) -> CloudConfiguration:
    """A LOCAL configuration, checked first. Raises UserError(ChecksFailed, NameTaken, DirectoryNotAllowed)."""
    configuration_id = uuid.uuid4()
    path = local_directory(configuration_id, directory)
    checks = local_cloud(path).check()
    if not all(check.passed for check in checks):
        raise UserError("ChecksFailed", "Some checks failed.", "Do what each says, then validate again.", status=422)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('local directories'))")
        _refuse_taken(Path(path))  # again: somebody may have been quicker
        try:
            with transaction.atomic():
                configuration = CloudConfiguration.objects.create(
                    id=configuration_id,
                    organization=organization,
                    name=name,
                    provider=Provider.LOCAL,
                    settings={"directory": path},
                    checks=[asdict(check) for check in checks],
                    created_by=actor.user,
                )
        except IntegrityError:
            raise UserError("NameTaken", "A cloud configuration of this name exists.", "Choose another name.") from None
        audit.record(
            actor,
            "cloud_configuration.create",
            configuration,
            organization=organization,
            provider=Provider.LOCAL,
            directory=path,
        )
    return configuration


# --- AWS --------------------------------------------------------------------------------------------------------------


@transaction.atomic
def create_aws_configuration(
    *, actor: Actor, organization: Organization, name: str, region: str, way: str
) -> CloudConfiguration:
    """A configuration that is to be set up, with an External ID of its own. Raises UserError(AwsOff, NameTaken)."""
    if not settings.PORTAL_AWS:
        raise UserError("AwsOff", "The operator of this portal does not offer AWS.", "Choose another cloud.")
    configuration = CloudConfiguration(
        organization=organization,
        name=name,
        provider=Provider.AWS,
        status=S.SETUP,
        way=way,
        external_id=new_external_id(),
        settings={"region": region},
        created_by=actor.user,
    )
    try:
        with transaction.atomic():
            configuration.save(force_insert=True)
    except IntegrityError:
        raise UserError("NameTaken", "A cloud configuration of this name exists.", "Choose another name.") from None
    audit.record(
        actor,
        "cloud_configuration.create",
        configuration,
        organization=organization,
        provider=Provider.AWS,
        way=way,
        region=region,
    )
    return configuration


def validate_by_hand(*, actor: Actor, configuration: CloudConfiguration, values: Mapping[str, str]) -> list[Check]:
    """The named checks of what somebody entered (``region``, ``bucket``, ``table``, ``role_arn``), which is kept with
    them, so that people can leave and come back. Raises UserError(NotInSetup)."""
    _refuse_other(configuration, {Way.MANUAL}, {S.SETUP, S.FAILED})
    return _check_and_keep(actor, configuration, values, connect=False)


def connect_by_hand(*, actor: Actor, configuration: CloudConfiguration, values: Mapping[str, str]) -> list[Check]:
    """The same; where all checks pass, the configuration is READY. Raises UserError(NotInSetup)."""
    _refuse_other(configuration, {Way.MANUAL}, {S.SETUP, S.FAILED})
    return _check_and_keep(actor, configuration, values, connect=True)


def validate_configuration(*, actor: Actor, configuration: CloudConfiguration) -> list[Check]:
    """Check again what is known of a configuration. One whose things are all there, and that only the checks kept
    from it, becomes READY. Raises UserError(NotInSetup) where there is nothing to check yet."""
    if configuration.provider == Provider.AWS and not configuration.settings.get("role_arn"):
        raise UserError("NotInSetup", f"{configuration} is not set up yet.", "Go on on its page.")
    return _check_and_keep(actor, configuration, {}, connect=configuration.way != Way.MANUAL)


@transaction.atomic
def connect_with_keys(*, actor: Actor, configuration: CloudConfiguration, keys: Keys) -> None:
    """Make bucket, table and role with access keys, which go no further than to a thread of this process.

    Raises UserError(NotInSetup, TooBusy).
    """
    if keys_configurations.busy():
        hint = "Wait a minute, then enter the keys again."
        raise UserError("TooBusy", "Too many configurations are being made at this moment.", hint, status=503)
    row = _locked(configuration)
    if not row.interrupted:
        _refuse_other(row, {Way.KEYS}, {S.SETUP, S.FAILED})
    before = row.status
    if not row.interrupted:
        set_status(row, S.CREATING)
    token = keys_configurations.lease(row)
    row.progress_message, row.progress = "Looking whose keys they are", None
    _forget_failure(row)
    row.save(update_fields=["status", "lease_token", "lease_until", "progress_message", "progress", *FAILURE])
    _record(actor, "cloud_configuration.connect", row, way=row.way, before={"status": before})
    transaction.on_commit(lambda: keys_configurations.start(row, token, keys))


@transaction.atomic
def connect_by_stack(*, actor: Actor, configuration: CloudConfiguration, account: str) -> None:
    """Follow the stack that somebody makes in an account of twelve digits. Raises UserError(NotInSetup)."""
    row = _locked(configuration)
    _refuse_other(row, {Way.STACK}, {S.SETUP, S.CREATING, S.FAILED})
    before = {"status": row.status, "account": row.account}
    made = configuration_of(str(row.pk), account, row.settings["region"], row.external_id or "")
    row.settings = {**row.settings, "bucket": made.bucket, "table": made.table, "role_arn": made.role_arn}
    row.handle, row.due_at, row.attempts = {}, timezone.now(), 0
    row.revision += 1
    if row.status != S.CREATING:
        set_status(row, S.CREATING)
    _forget_failure(row)
    row.save(update_fields=["settings", "handle", "due_at", "attempts", "revision", "status", *FAILURE])
    _record(actor, "cloud_configuration.connect", row, way=row.way, before=before, after={"account": account})
    queue.enqueue("configuration", row.pk)
    _tell(row)


@transaction.atomic
def delete_configuration(*, actor: Actor, configuration: CloudConfiguration) -> None:
    """Forget a configuration; what it needed stays in the account. Raises UserError(ConfigurationInUse) while something
    stands on it."""
    row = CloudConfiguration.objects.select_for_update().get(pk=configuration.pk)
    used = row.workspaces.exclude(status=WorkspaceStatus.TERMINATED).count()
    if used:
        raise UserError(
            "ConfigurationInUse",
            f"{used} workspaces stand on {row.name}.",
            "Delete them first, then the configuration.",
        )
    networks = row.networks.filter(deleted_at=None).values_list("name", flat=True)
    if networks:
        raise UserError(
            "ConfigurationInUse",
            f"Networks belong to {row.name}: {', '.join(networks[:10])}.",
            "Delete them first, then the configuration.",
        )
    others = [name for ask in hooks.configuration_uses for name in ask(row)]
    if others:
        raise UserError(
            "ConfigurationInUse",
            f"{row.name} is used by {', '.join(others[:10])}.",
            "Delete what uses it first, then the configuration.",
        )
    row.deleted_at = timezone.now()
    row.due_at = row.lease_token = row.lease_until = None  # whoever still makes something of it finds that out
    row.save(update_fields=["deleted_at", "due_at", "lease_token", "lease_until"])
    _record(actor, "cloud_configuration.delete", row, provider=row.provider, location=row.location)


FAILURE = ["failure_code", "failure_message", "failure_hint"]


def _forget_failure(row: CloudConfiguration) -> None:
    row.failure_code = row.failure_message = row.failure_hint = ""


def _locked(configuration: CloudConfiguration) -> CloudConfiguration:
    row = CloudConfiguration.objects.select_for_update().filter(pk=configuration.pk, deleted_at=None).first()
    if row is None:
        raise UserError("ConfigurationGone", "The cloud configuration was deleted meanwhile.", "Make another one.")
    return row


def _refuse_other(row: CloudConfiguration, ways: set[Way], statuses: set[ConfigurationStatus]) -> None:
    if row.way not in ways or row.status not in statuses:
        raise UserError(
            "NotInSetup",
            f"{row} is {row.status}, so this cannot be done with it now.",
            "Reload its page to see how it stands.",
        )


def _check_and_keep(
    actor: Actor, configuration: CloudConfiguration, values: Mapping[str, str], *, connect: bool
) -> list[Check]:
    """Ask the cloud first, outside of any transaction; keep the answer where it is still about what is there."""
    checks = list(_cloud_with(configuration, values).check())
    asked = {**configuration.settings, **values}
    with transaction.atomic():
        row = _locked(configuration)
        if row.status == S.READY and row.settings != asked:
            raise UserError("NotInSetup", f"{row} was made READY meanwhile.", "Reload its page.")
        before = {"status": row.status, **row.settings}
        row.settings, row.checks, row.checked_at = asked, [asdict(check) for check in checks], timezone.now()
        verb, failed = "cloud_configuration.validate", [check.name for check in checks if not check.passed]
        if connect and not failed and row.status in {S.SETUP, S.FAILED}:
            verb = "cloud_configuration.connect"
            set_status(row, S.READY)
            _forget_failure(row)
        row.save(update_fields=["settings", "checks", "checked_at", "status", *FAILURE])
        _record(actor, verb, row, before=before, after={"status": row.status, **row.settings}, failed_checks=failed)
        _tell(row)
    return checks


def _cloud_with(configuration: CloudConfiguration, values: Mapping[str, str]) -> Cloud | AwsCloud:
    if configuration.provider == Provider.AWS:
        return aws_cloud(replace(aws_configuration(configuration), **values))
    return cloud_of(configuration)


def _record(actor: Actor, verb: str, row: CloudConfiguration, **detail: Any) -> None:
    audit.record(actor, verb, row, organization=row.organization, **detail)


def _tell(row: CloudConfiguration) -> None:
    events.notify(row.organization_id, f"configuration-{row.pk}")
