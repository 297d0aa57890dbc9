"""Every write that people make on runs."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from clusters import services as clusters
from clusters.models import Cluster, ClusterStatus
from jobs.models import MAX_QUEUED, JobSchedule, JobTemplate, Run, RunStatus, RunTarget
from jobs.spec import JobSpec, NewCluster, Place
from portal import events, queue
from portal.clouds.base import Target
from portal.errors import UserError
from workspaces.catalogs import refuse_gone
from workspaces.models import InstanceRole, Workspace


@transaction.atomic
def submit_run(
    *,
    actor: Actor,
    workspace: Workspace,
    name: str,
    spec: JobSpec,
    place: Place,
    template: JobTemplate | None = None,
    schedule: JobSchedule | None = None,
) -> Run:
    """Put a run into its cluster's queue; for a ``NewCluster``, make that first.

    Raises UserError(ClusterNotAvailable, QueueFull, NameTaken, WorkspaceNotReady, CatalogGone).
    """
    if spec.catalog:
        refuse_gone(workspace, spec.catalog)
    run = Run(
        workspace=workspace,
        name=name,
        template=template,
        template_revision=template.revision if template else None,
        schedule=schedule,
        requested_by=actor.user,
    )
    run.take(spec)
    if isinstance(place, NewCluster):
        run.cluster = _make_cluster(actor, run, place)
    else:
        run.cluster = _queue_of(run, place, spec)
    run.save(force_insert=True)
    audit.record(
        actor,
        "run.submit",
        run,
        organization=workspace.organization,
        workspace=workspace.name,
        cluster=run.cluster.name,
        template=template.name if template else "",
        code_type=run.code_type,
        source=run.source_location or run.source_type,
        file=run.file,
        mode=run.mode,
        catalog=run.catalog_name,
    )
    nudge(run)
    return run


def submit_template(*, actor: Actor, template: JobTemplate, schedule: JobSchedule | None = None) -> Run:
    """Run a template as it stands. Raises UserError as ``submit_run`` does, TemplateGone, and NoCluster where the
    template does not say where it runs."""
    rows = JobTemplate.objects.select_related("workspace__organization", "cluster")
    row = rows.filter(pk=template.pk, deleted_at=None).first()
    if row is None:
        raise UserError("TemplateGone", f"The template {template.name} was deleted.", "Choose another one.")
    if row.place is None:
        raise UserError(
            "NoCluster", f"The template {row.name} does not say where it runs.", "Give it a cluster, or choose one now."
        )
    return submit_run(
        actor=actor,
        workspace=row.workspace,
        name=row.name,
        spec=row.spec(),
        place=row.place,
        template=row,
        schedule=schedule,
    )


def _queue_of(run: Run, cluster: Cluster, spec: JobSpec) -> Cluster:
    """The cluster, locked and used, if it takes one more run."""
    place = Cluster.objects.in_workspace(run.workspace).select_for_update().filter(pk=cluster.pk).usable().first()
    if place is None:
        raise UserError(
            "ClusterNotAvailable", "The cluster is stopped, failed or gone.", "Choose another, or resume it."
        )
    resting = place.target == Target.PAUSED or place.status in {ClusterStatus.PAUSED, ClusterStatus.PAUSING}
    if resting and not spec.auto_resume:
        raise UserError(
            "ClusterNotAvailable", f"{place.name} is {place.status}.", "Resume it, or let the run resume it."
        )
    if Run.objects.filter(cluster=place, status=RunStatus.PENDING).count() >= MAX_QUEUED:
        raise UserError(
            "QueueFull", f"{MAX_QUEUED} runs wait for {place.name}.", "Wait for some to end, or cancel some."
        )
    if place.spot and spec.pause_on_finish:
        raise UserError(
            "SpotCannotPause",
            f"{place.name} is a spot cluster, which cannot pause at the end.",
            "Let the job leave it running; its auto-stop removes the machines when nobody uses them.",
            status=422,
        )
    clusters.used(place, run.pk, run.name, run.requested_by_id)
    return place


def _make_cluster(actor: Actor, run: Run, wanted: NewCluster) -> Cluster:
    """A cluster for this run alone. It never goes to rest by itself: the run's end removes it."""
    return clusters.create_cluster(
        actor=actor,
        workspace=run.workspace,
        name=f"{run.name[:80]} {str(run.pk)[:8]}",
        instance_type=wanted.instance_type,
        instances=wanted.instances,
        release=wanted.release,
        spot=wanted.spot,
        zone=wanted.zone,
        instance_role=_role_of(run, wanted),
        max_lifetime_minutes=wanted.max_lifetime_minutes,
        description=f"Made for the job {run.name}, and removed with it.",
        tags=run.tags,
        dedicated_to=run.pk,
    )


def _role_of(run: Run, wanted: NewCluster) -> InstanceRole | None:
    if not wanted.instance_role:
        return None
    role = InstanceRole.objects.in_workspace(run.workspace).filter(pk=wanted.instance_role).first()
    if role is None:
        raise UserError(
            "RoleNotUsable", "The instance role of its new cluster was deleted.", "Choose another.", status=422
        )
    return role


@transaction.atomic
def cancel_run(*, actor: Actor, run: Run) -> None:
    """Ask for the end of a run and of all its ranks. Raises UserError(AlreadyEnded)."""
    rows = Run.objects.select_for_update(of=("self",)).select_related("workspace__organization")
    row = rows.get(pk=run.pk)
    if row.ended:
        raise UserError("AlreadyEnded", f"{row.name} has ended already: {row.status}.")
    if row.target == RunTarget.CANCELLED:
        return
    before, row.target = row.target, RunTarget.CANCELLED
    row.revision += 1
    row.attempts = 0
    row.due_at = timezone.now()
    row.save(update_fields=["target", "revision", "attempts", "due_at"])
    audit.record(
        actor,
        "run.cancel",
        row,
        organization=row.workspace.organization,
        before={"target": before},
        after={"target": row.target},
        status=row.status,
        workspace=row.workspace.name,
    )
    nudge(row)


def wake_queue(cluster_id: UUID) -> None:
    """Something changed on a cluster: let its waiting runs, and the one that has it, look again.

    Outside a transaction, because runs are locked before clusters.
    """
    cluster = Cluster.objects.get(pk=cluster_id)
    waiting = Run.objects.queued_on(cluster_id)
    if cluster.status in {ClusterStatus.RUNNING, ClusterStatus.PAUSED}:
        waiting = waiting[:1]
    _look_again([*waiting, *Run.objects.filter(cluster=cluster).active()])


def wake_next(cluster_id: UUID) -> None:
    """A run has ended: let the next one look again. Outside a transaction."""
    _look_again(list(Run.objects.queued_on(cluster_id)[:1]))


def _look_again(runs: list[Run]) -> None:
    for run in runs:
        Run.objects.filter(pk=run.pk).exclude(due_at=None).update(due_at=timezone.now())
        queue.send("run", run.pk)


def nudge(run: Run) -> None:
    """Wake the reconciler and the pages, after the commit."""
    queue.enqueue("run", run.pk)
    events.notify(run.workspace_id, f"run-{run.pk}")
