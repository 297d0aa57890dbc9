"""The jobs app."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Runs on clusters."""

    name = "jobs"

    def ready(self) -> None:
        """Make the machine and the periodic work known, and have clusters wake the queue."""
        from clusters import reconcile as clusters
        from jobs import firing, prepare
        from jobs import reconcile as jobs
        from portal import reconcile, scheduler

        reconcile.register(jobs.RunMachine())
        clusters.settled_hooks.append(jobs.cluster_settled)
        scheduler.every(1, "schedules", firing.fire_due)
        scheduler.every(3600, "old sources", prepare.forget_old)
        scheduler.every(0.15, "poll runs", jobs.poll_runs)
