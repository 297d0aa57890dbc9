"""The sandbox in AWS's part: takes every record."""

from __future__ import annotations

from collections.abc import Sequence

from billing.marketplace.aws import Answer
from billing.models import MeterRecord, MeterState


def report(records: Sequence[MeterRecord]) -> dict[int, Answer]:
    """As ``aws.report``."""
    return {record.pk: Answer(MeterState.ACCEPTED, f"sandbox-{record.pk}") for record in records}
