"""Every write that people and the platform make on clusters: wishes, which ``clusters.reconcile`` makes true."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from clusters import activity, choices, launching, ledger, pricing
from clusters.models import Activity, Cluster, ClusterStatus
from portal import events, queue
from portal.clouds.base import Target
from portal.errors import UserError
from workspaces.models import InstanceRole, Workspace, WorkspaceStatus

S = ClusterStatus
ANY = frozenset(S) - {S.TERMINATED, S.TERMINATING}


@dataclass(frozen=True)
class Action:
    """Something a person can ask of a cluster: from which statuses, and toward which target."""

    name: str
    label: str
    target: Target
    allowed: frozenset[str]
    refusal: str
    danger: bool = False
    confirm: str = ""
    restarts: bool = False


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action(
            "resume",
            "Resume",
            Target.RUNNING,
            frozenset({S.PAUSED, S.STOPPED, S.FAILED}),
            "It is not paused or stopped.",
        ),
        Action("pause", "Pause", Target.PAUSED, frozenset({S.RUNNING}), "Only a running cluster can be paused."),
        Action(
            "restart",
            "Restart",
            Target.RUNNING,
            frozenset({S.RUNNING}),
            "Only a running cluster can be restarted.",
            confirm="All machines start anew. A run that is under way is cancelled.",
            restarts=True,
        ),
        Action(
            "stop",
            "Stop",
            Target.STOPPED,
            frozenset({S.NEW, S.INPROGRESS, S.INITIALIZING, S.RUNNING, S.PAUSING, S.PAUSED, S.FAILED}),
            "It is stopped already.",
            confirm="The machines and their disks are removed, the definition stays. A run under way is cancelled.",
        ),
        Action(
            "delete",
            "Delete",
            Target.TERMINATED,
            ANY,
            "It is being deleted already.",
            danger=True,
            confirm="The cluster is removed for good. A run that is under way is cancelled. Logs of its runs stay.",
        ),
    )
}


@transaction.atomic
def create_cluster(
    *,
    actor: Actor,
    workspace: Workspace,
    name: str,
    instance_type: str,
    instances: int,
    release: str,
    spot: bool = False,
    zone: str = "",
    instance_role: InstanceRole | None = None,
    auto_pause_minutes: int = 0,
    auto_stop_minutes: int = 0,
    max_lifetime_minutes: int = 0,
    description: str = "",
    tags: dict[str, str] | None = None,
    dedicated_to: UUID | None = None,
) -> Cluster:
    """A cluster, to be deployed. Minutes of 0 mean never, or no maximum; without a ``zone`` the cloud chooses one. One
    that is ``dedicated_to`` a run takes no other run, and whoever made it removes it. Raises UserError(NameTaken,
    WorkspaceNotReady, NoRate), or what ``choices.refuse_unfit`` and ``launching.checks`` raise."""
    places = Workspace.objects.select_for_update(of=("self",)).select_related("cloud_configuration")
    place = places.get(pk=workspace.pk)
    if place.status != WorkspaceStatus.READY or place.target != Target.RUNNING:
        raise UserError("WorkspaceNotReady", f"The workspace {place.name} is {place.status}.")
    pricing.refuse_unpriced(place, instance_type)
    cluster = Cluster(
        workspace=place,
        name=name,
        instance_type=instance_type,
        instances=instances,
        release=release,
        spot=spot,
        zone=zone,
        instance_role=instance_role,
        auto_pause_minutes=auto_pause_minutes,
        auto_stop_minutes=auto_stop_minutes,
        max_lifetime_minutes=max_lifetime_minutes,
        description=description,
        tags=tags or {},
        dedicated_to=dedicated_to,
        created_by=actor.user,
        **activity.of_person(actor, Activity.CREATE),
    )
    choices.refuse_unfit(cluster, CHANGEABLE_STOPPED)
    try:
        with transaction.atomic():
            cluster.save(force_insert=True)
    except IntegrityError:
        raise UserError(
            "NameTaken", "A cluster of this name exists in the workspace.", "Choose another name."
        ) from None
    launching.allow(actor, cluster)
    ledger.requested(cluster, actor)
    cluster.save(update_fields=["ledger_length"])
    _record(actor, "cluster.create", cluster, after=_definition(cluster))
    nudge(cluster)
    return cluster


@transaction.atomic
def act(*, actor: Actor, cluster: Cluster, action: Action) -> Cluster:
    """Ask for a pause, resume, restart, stop or deletion. Raises UserError(NotNow, NoRate) where it cannot be, or what
    ``launching.checks`` raise."""
    row = _locked(cluster)
    refusal = refusal_of(row, action)
    if refusal:
        raise UserError("NotNow", f"{row.name} is {row.status}. {refusal}", "Its page shows what can be done now.")
    if action.target is Target.RUNNING:
        pricing.refuse_unpriced(row.workspace, row.instance_type)
    before, row.target = row.target, action.target
    if row.target == Target.RUNNING:
        launching.allow(actor, row)
    if action.restarts or (row.status == S.FAILED and action.target is Target.RUNNING):
        row.generation += 1  # what is left of failed machines must not be taken for new ones
    row.failure_code = row.failure_message = row.failure_hint = ""
    row.snoozed_until = None
    used = [] if actor.kind == "system" else activity.note(row, activity.of_person(actor, Activity(action.name)))
    ledger.requested(row, actor, restart=action.restarts)
    _wish(
        row,
        "target",
        "generation",
        "failure_code",
        "failure_message",
        "failure_hint",
        "snoozed_until",
        "ledger_length",
        *used,
    )
    _record(
        actor, f"cluster.{action.name}", row, before={"target": before}, after={"target": row.target}, status=row.status
    )
    nudge(row)
    return row


def refusal_of(cluster: Cluster, action: Action) -> str:
    """Why an action cannot be asked for now; empty when it can."""
    if cluster.target == Target.TERMINATED:
        return "It is being deleted."
    if cluster.spot and action.target is Target.PAUSED:
        return choices.SPOT_CANNOT_PAUSE
    if cluster.status not in action.allowed:
        return action.refusal
    if cluster.target == action.target and not action.restarts and not cluster.failure_code:
        return "That is under way already."
    if action.restarts and cluster.generation != cluster.deployed_generation:
        return "A restart is under way already."
    return ""


def can_scale(cluster: Cluster) -> bool:
    """Whether the number of instances can be changed now: at run time, or at rest."""
    at_rest = cluster.status in {S.PAUSED, S.STOPPED, S.FAILED}
    running = cluster.status == S.RUNNING and cluster.target == Target.RUNNING
    return cluster.target != Target.TERMINATED and (at_rest or running)


@transaction.atomic
def scale_cluster(*, actor: Actor, cluster: Cluster, instances: int) -> None:
    """Another number of instances. A running cluster changes between two runs. Raises UserError(NotNow), or what
    ``launching.checks`` raise."""
    row = _locked(cluster)
    if not can_scale(row):
        raise UserError("NotNow", f"{row.name} is {row.status}.", "It can be scaled when it is running or at rest.")
    before, row.instances = row.instances, instances
    if before == instances:
        return
    if instances > before and row.target == Target.RUNNING:
        launching.allow(actor, row)
    used = activity.note(row, activity.of_person(actor, Activity.SCALE))
    ledger.requested(row, actor)
    _wish(row, "instances", "ledger_length", *used)
    _record(actor, "cluster.scale", row, before={"instances": before}, after={"instances": instances})
    nudge(row)


CHANGEABLE_RUNNING = ("name", "description", "auto_pause_minutes", "auto_stop_minutes", "max_lifetime_minutes")
CHANGEABLE_STOPPED = (*CHANGEABLE_RUNNING, "instance_type", "release", "tags", "spot", "zone", "instance_role")


@transaction.atomic
def update_cluster(*, actor: Actor, cluster: Cluster, **changes: Any) -> None:
    """Change what may be changed in the cluster's status. Raises UserError(NotNow, NameTaken, NoRate, LifetimeOver),
    what ``choices.refuse_unfit`` raises, or what ``launching.checks`` raise where it may run for longer."""
    row = _locked(cluster)
    if row.target == Target.TERMINATED:
        raise UserError("NotNow", f"{row.name} is {row.status}.", "A cluster that is deleted cannot be changed.")
    allowed = CHANGEABLE_STOPPED if row.status == S.STOPPED and row.target == Target.STOPPED else CHANGEABLE_RUNNING
    changes = {field: value for field, value in changes.items() if getattr(row, field) != value}
    refused = [field for field in changes if field not in allowed]
    if refused:
        raise UserError(
            "NotNow",
            f"{', '.join(refused).replace('_', ' ')} cannot be changed while {row.name} is {row.status}.",
            "Stop the cluster first.",
        )
    if not changes:
        return
    if "instance_type" in changes:
        pricing.refuse_unpriced(row.workspace, changes["instance_type"])
    before = _chosen(row, changes)
    for field, value in changes.items():
        setattr(row, field, value)
    choices.refuse_unfit(row, changes)
    if "max_lifetime_minutes" in changes and row.target == Target.RUNNING:
        _refuse_over(row)
        launching.allow(actor, row)
    try:
        with transaction.atomic():
            row.save(update_fields=list(changes))
    except IntegrityError:
        raise UserError(
            "NameTaken", "A cluster of this name exists in the workspace.", "Choose another name."
        ) from None
    _record(actor, "cluster.update", row, before=before, after=_chosen(row, changes))
    events.notify(row.workspace_id, f"cluster-{row.pk}")


def _refuse_over(row: Cluster) -> None:
    if row.ends_at is not None and row.ends_at <= timezone.now():
        assert row.running_since is not None
        minutes = (timezone.now() - row.running_since) // timedelta(minutes=1)
        raise UserError(
            "LifetimeOver",
            f"{row.name} has been running for {minutes} minutes, so that it would be stopped at once.",
            "Choose a longer maximum lifetime, or stop the cluster.",
        )


# --- for the apps above ---------------------------------------------------------------------------------------------


def claim(cluster_id: UUID, holder: UUID, name: str = "", person_id: int | None = None) -> Cluster | None:
    """Take a free cluster for a run, and return it as it is now; also if the run has it already. None if it is not
    free. ``person_id`` is who asked for the run. Inside a transaction."""
    row = Cluster.objects.select_for_update().get(pk=cluster_id)
    if row.busy_with == holder:
        return row
    if not row.free:
        return None
    row.busy_with = holder
    row.save(update_fields=["busy_with", *activity.note(row, activity.of_run(holder, name, person_id))])
    events.notify(row.workspace_id, f"cluster-{row.pk}")
    return row


def release(cluster_id: UUID, holder: UUID, name: str = "") -> None:
    """Give a cluster back; activity ends now."""
    free = {"busy_with": None, **activity.of_run(holder, name)}
    if Cluster.objects.filter(pk=cluster_id, busy_with=holder).update(**free):
        nudge(Cluster.objects.get(pk=cluster_id))


def used(cluster: Cluster, run: UUID, name: str, person_id: int | None = None) -> None:
    """A run is, or was, waiting for a cluster: that is activity, now. Inside a transaction."""
    Cluster.objects.filter(pk=cluster.pk).update(**activity.of_run(run, name, person_id))
    events.notify(cluster.workspace_id, f"cluster-{cluster.pk}")


def nudge(cluster: Cluster) -> None:
    """Wake the reconciler and the pages, after the commit."""
    queue.enqueue("cluster", cluster.pk)
    events.notify(cluster.workspace_id, f"cluster-{cluster.pk}")


def _locked(cluster: Cluster) -> Cluster:
    """The row as it is now, locked; its workspace is read and not locked."""
    rows = Cluster.objects.select_for_update(of=("self",)).select_related("workspace__cloud_configuration")
    return rows.get(pk=cluster.pk)


def _wish(row: Cluster, *fields: str) -> None:
    row.revision += 1
    row.attempts = 0
    row.due_at = timezone.now()
    row.save(update_fields=["revision", "attempts", "due_at", *fields])


def _definition(cluster: Cluster) -> dict[str, Any]:
    """What people chose for a cluster."""
    return {field: value for field, value in _chosen(cluster, (*CHANGEABLE_STOPPED, "instances")).items() if value}


def _chosen(cluster: Cluster, fields: Iterable[str]) -> dict[str, Any]:
    """Some of its fields, as the audit log has them."""
    values = {field: getattr(cluster, field) for field in fields}
    return {field: str(value) if isinstance(value, InstanceRole) else value for field, value in values.items()}


def _record(actor: Actor, verb: str, cluster: Cluster, **detail: Any) -> None:
    audit.record(
        actor, verb, cluster, organization=cluster.workspace.organization, workspace=cluster.workspace.name, **detail
    )
