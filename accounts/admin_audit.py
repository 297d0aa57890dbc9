"""The audit log across all organizations, and the seals that chain it."""

from __future__ import annotations

from django.contrib import admin

from accounts.models import AuditEvent, AuditSeal
from portal.admin import LookOnlyAdmin


@admin.register(AuditEvent)
class AuditEventAdmin(LookOnlyAdmin[AuditEvent]):
    """What was done, by whom."""

    list_display = ["at", "organization", "actor_label", "verb", "object_label", "address"]
    list_filter = ["actor_kind"]
    list_select_related = ["organization"]
    search_fields = ["actor_label", "object_label", "object_id__exact", "verb__exact"]  # each has its index
    search_help_text = "A person, an object, a whole id, or a whole verb such as user.unlock"
    ordering = ["-number"]


@admin.register(AuditSeal)
class AuditSealAdmin(LookOnlyAdmin[AuditSeal]):
    """The place of each event in the chain of its organization. ``manage.py audit_verify`` checks them all."""

    list_display = ["event_id", "chain", "sequence", "hash"]
    search_fields = ["chain__exact", "event__number__exact"]
    search_help_text = "The id of an organization, or the number of an event"
    ordering = ["-event_id"]
