"""The clusters app."""

from collections.abc import Collection

from django.apps import AppConfig


class ClustersConfig(AppConfig):
    """Clusters, their nodes and the ledger of their transitions."""

    name = "clusters"

    def ready(self) -> None:
        """Make the machine and the periodic work known, and answer for the clusters that keep a workspace."""
        from clusters import lifetimes, services_idle
        from clusters import reconcile as clusters
        from clusters.models import Cluster
        from portal import reconcile, scheduler
        from portal.clouds.base import Owned
        from workspaces import hooks
        from workspaces import services as workspaces
        from workspaces.models import CloudConfiguration, InstanceRole, Workspace

        def clusters_in(workspace: Workspace) -> list[str]:
            return list(Cluster.objects.in_workspace(workspace).values_list("name", flat=True))

        def deployments(configurations: Collection[CloudConfiguration]) -> list[Owned]:
            rows = Cluster.objects.filter(workspace__cloud_configuration__in=configurations)
            return [
                Owned("cluster", str(row.pk), row.name, row.workspace.region, row.handle)
                for row in rows.exclude(status="TERMINATED").select_related("workspace")
            ]

        def clusters_with(subject: hooks.Usable) -> list[str]:
            if not isinstance(subject, InstanceRole):
                return []
            used = Cluster.objects.in_workspace(subject.workspace).filter(instance_role=subject).order_by("name")
            return [f"the cluster {name}" for name in used.values_list("name", flat=True)]

        workspaces.clusters_in = clusters_in
        hooks.deployments.append(deployments)
        hooks.uses.append(clusters_with)
        reconcile.register(clusters.ClusterMachine())
        scheduler.every(2, "observe clusters", clusters.observe)
        scheduler.every(5, "pause idle clusters", services_idle.pause_idle)
        scheduler.every(20, "warn of idle clusters", services_idle.warn_idle)
        scheduler.every(5, "end lifetimes", lifetimes.end_lifetimes)
