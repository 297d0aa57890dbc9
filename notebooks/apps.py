"""The notebooks app."""

from django.apps import AppConfig


class NotebooksConfig(AppConfig):
    """Notebook servers, the proxy in front of them, and their pages."""

    name = "notebooks"

    def ready(self) -> None:
        """Make the machine and the periodic work known, and follow people and workspaces."""
        from accounts import hooks as people
        from notebooks import following, idle
        from notebooks import reconcile as notebooks
        from portal import reconcile, scheduler
        from workspaces import hooks

        reconcile.register(notebooks.NotebookMachine())
        people.membership_ended.append(following.left_organization)
        hooks.member_left.append(following.left_workspace)
        hooks.entered.append(following.entered)
        hooks.workspace_deleted.append(following.workspace_deleted)
        hooks.going_first.append(following.stands_in)
        scheduler.every(2, "observe notebooks", notebooks.observe)
        scheduler.every(10, "stop idle notebooks", idle.stop_idle)
        scheduler.every(30, "stop notebooks of people without the right", idle.stop_without_right)
        scheduler.every(600, "forget old notebook tickets", idle.forget_old)
