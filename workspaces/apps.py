"""The workspaces app."""

from django.apps import AppConfig


class WorkspacesConfig(AppConfig):
    """Cloud configurations, workspaces, their members and files."""

    name = "workspaces"

    def ready(self) -> None:
        """Make the machine known, and follow the people of organizations."""
        from accounts import hooks
        from portal import reconcile
        from workspaces import hooks as own_hooks
        from workspaces import membership
        from workspaces.offers import OffersMachine
        from workspaces.reconcile import WorkspaceMachine
        from workspaces.reconcile_configurations import ConfigurationMachine
        from workspaces.reconcile_orphans import LostThingMachine, OrphanSearchMachine
        from workspaces.reconcile_roles import InstanceRoleMachine

        reconcile.register(WorkspaceMachine())
        reconcile.register(ConfigurationMachine())
        reconcile.register(OffersMachine())
        reconcile.register(OrphanSearchMachine())
        reconcile.register(LostThingMachine())
        own_hooks.configuration_pages.append(("What stands there", "workspaces:orphans", ("AWS",)))
        reconcile.register(InstanceRoleMachine())
        hooks.membership_ended.append(membership.membership_ended)
        hooks.invitation_accepted.append(membership.invitation_accepted)
        hooks.organization_in_use.append(membership.in_use)
        hooks.permissions_in_workspace = membership.permissions
