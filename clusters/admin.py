"""The operator's view of clusters."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin_base import WithAudit
from clusters.models import Cluster, Transition
from portal.admin import RECONCILED, LookOnlyAdmin


@admin.register(Cluster)
class ClusterAdmin(WithAudit[Cluster], LookOnlyAdmin[Cluster]):
    """Clusters, with what their reconciler is at. Wishes are made on the cluster's own page."""

    list_display = ["name", "workspace", "status", "target", "instance_type", "instances", "due_at", "failure_code"]
    list_filter = ["status"]
    list_select_related = ["workspace"]
    search_fields = ["name", "id", "workspace__name", "workspace__organization__name"]
    date_hierarchy = "created_at"
    ordering = ["-number"]
    readonly_fields = ["nodes", *RECONCILED]


@admin.register(Transition)
class TransitionAdmin(LookOnlyAdmin[Transition]):
    """The ledger, from which the bill is made."""

    list_display = ["at", "cluster", "seq", "kind", "status", "instances", "actor_label"]
    list_filter = ["kind"]
    list_select_related = ["cluster"]
    search_fields = ["cluster__name", "cluster__id"]
    ordering = ["-id"]
