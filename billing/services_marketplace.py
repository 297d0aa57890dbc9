"""What the operator does about records that AWS Marketplace did not take."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from billing.models import MeterRecord, MeterState
from portal.errors import UserError


@transaction.atomic
def retry_record(*, actor: Actor, record: MeterRecord) -> None:
    """Send a record again, as it is, that AWS refused because its customer was not subscribed; or now one that waits.

    Raises UserError: RecordTooLate, RecordUnderWay, RecordDone.
    """
    row = MeterRecord.objects.select_for_update(of=("self",)).get(pk=record.pk)
    now = timezone.now()
    if row.state not in {MeterState.PENDING, MeterState.REFUSED}:
        raise UserError("RecordDone", f"{row}: {row.get_state_display()}.", "AWS would answer the same again.")
    if row.closes_at <= now:
        raise UserError("RecordTooLate", f"AWS takes no record of {row} any more.", "What it stands for is lost.")
    if row.claim and row.due_at and row.due_at > now:
        raise UserError("RecordUnderWay", f"{row} is being sent now.", "Look again in a minute.")
    before, row.state, row.due_at, row.answered_at = row.state, MeterState.PENDING, now, None
    row.save(update_fields=["state", "due_at", "answered_at"])
    audit.record(
        actor,
        "meter_record.retry",
        row,
        organization=row.organization,
        before={"state": before},
        after={"state": row.state},
        quantity=row.quantity,
        dimension=row.dimension,
    )
