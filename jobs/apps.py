"""The jobs app."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Runs on clusters."""

    name = "jobs"

    def ready(self) -> None:
        """Make the machine and the periodic work known, and have clusters wake the queue."""
        from clusters import idleness, lifetimes
        from clusters import reconcile as clusters
        from jobs import firing, keep_alive, prepare, working
        from jobs import reconcile as jobs
        from jobs.models import JobTemplate
        from portal import reconcile, scheduler
        from workspaces import hooks
        from workspaces.models import Catalog, InstanceRole, Secret

        def templates_with(subject: hooks.Usable) -> list[str]:
            if isinstance(subject, Catalog):
                rows = JobTemplate.objects.in_workspace(subject.workspace).filter(catalog=subject)
            elif isinstance(subject, InstanceRole):
                used = JobTemplate.objects.in_workspace(subject.workspace)
                rows = used.filter(new_cluster__instance_role=str(subject.pk))
            else:
                group = subject.group if isinstance(subject, Secret) else subject
                used = JobTemplate.objects.in_workspace(group.workspace)
                rows = used.filter(secret_groups__contains=[{"id": str(group.pk)}])
            return [f"template {name}" for name in rows.order_by("name").values_list("name", flat=True)]

        hooks.uses.append(templates_with)

        reconcile.register(jobs.RunMachine())
        clusters.settled_hooks.append(jobs.cluster_settled)
        idleness.sources.append(keep_alive.signals_of)
        lifetimes.work_on = working.work_on
        scheduler.every(0.2, "schedules", firing.fire_due)
        scheduler.every(3600, "old sources", prepare.forget_old)
        scheduler.every(0.15, "poll runs", jobs.poll_runs)
