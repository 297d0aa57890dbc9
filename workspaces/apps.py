"""The workspaces app."""

from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    """Cloud configurations, workspaces, their members and files."""

    name = "workspaces"

    def ready(self) -> None:
        """Make the machine known."""
        from portal import reconcile
        from workspaces.reconcile import WorkspaceMachine

        reconcile.register(WorkspaceMachine())
