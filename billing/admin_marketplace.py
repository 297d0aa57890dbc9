"""The operator's view of what is reported to AWS Marketplace."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from accounts import audit
from accounts.admin_base import WithAudit
from billing import services_marketplace
from billing.models import MeterPeriod, MeterRecord, MeterState
from portal.admin import LookOnlyAdmin, Task


def _retry(request: HttpRequest, record: MeterRecord, _: str) -> str:
    services_marketplace.retry_record(actor=audit.staff_of(request), record=record)
    return f"{record} is sent again."


@admin.register(MeterRecord)
class MeterRecordAdmin(WithAudit[MeterRecord], LookOnlyAdmin[MeterRecord]):
    """Hours, and what AWS answered for each."""

    list_display = ["hour", "organization", "subscription", "dimension", "quantity", "state", "attempts", "closes_at"]
    list_filter = ["state", "dimension"]
    list_select_related = ["organization", "subscription"]
    search_fields = ["organization__name", "subscription__customer", "metering_record_id", "error"]
    search_help_text = "Organization, customer, AWS's number or an error"
    date_hierarchy = "hour"
    ordering = ["-id"]
    tasks = [
        Task(
            "retry",
            "Send again",
            "AWS gets the same record once more, within seconds. It counts an hour of a customer once, so nothing is "
            "charged twice.",
            _retry,
            permission="billing.change_meterrecord",
            offered=lambda record: record.state in {MeterState.PENDING, MeterState.REFUSED},
            bulk=True,
        )
    ]


@admin.register(MeterPeriod)
class MeterPeriodAdmin(LookOnlyAdmin[MeterPeriod]):
    """From when until when usage is reported, and to which subscription."""

    list_display = ["organization", "subscription", "started_at", "ended_at", "frozen_until", "settled"]
    list_filter = [("ended_at", admin.EmptyFieldListFilter), "settled"]
    list_select_related = ["organization", "subscription"]
    search_fields = ["organization__name", "subscription__customer"]
    ordering = ["-id"]
