"""The operator's view of clusters."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from clusters.models import Cluster, Transition


@admin.register(Cluster)
class ClusterAdmin(admin.ModelAdmin[Cluster]):
    """Clusters, with what their reconciler is at. Wishes are made on the cluster's own page."""

    list_display = ["name", "workspace", "status", "target", "instance_type", "instances", "due_at", "failure_code"]
    list_filter = ["status", "instance_type"]
    list_select_related = ["workspace"]
    search_fields = ["name", "id", "workspace__name"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Clusters are made in their workspace."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Cluster | None = None) -> bool:
        """Only to look."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Cluster | None = None) -> bool:
        """A deleted row would leak its machines."""
        return False


@admin.register(Transition)
class TransitionAdmin(admin.ModelAdmin[Transition]):
    """The ledger."""

    list_display = ["at", "cluster", "seq", "kind", "status", "instances", "actor_label"]
    list_filter = ["kind", "status"]
    list_select_related = ["cluster"]
    search_fields = ["cluster__name", "cluster__id"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """The platform writes it."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Transition | None = None) -> bool:
        """Nobody changes the past."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Transition | None = None) -> bool:
        """Nobody removes the past."""
        return False
