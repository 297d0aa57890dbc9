"""When a waiting run will start, as far as one can know."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median

from django.db.models import F
from django.utils import timezone

from jobs.models import Run, RunReason, RunStatus

RECENT = 20


def expected_start(run: Run) -> datetime | None:
    """About when a run that waits will start: after those before it, each as long as the cluster's latest runs took.

    None where nothing is known, or it does not wait.
    """
    if run.status != RunStatus.PENDING:
        return None
    now = timezone.now()
    if run.reason == RunReason.RETRYING:
        return run.not_before
    rows = Run.objects.filter(cluster=run.cluster_id)
    ended = rows.filter(status=RunStatus.SUCCEEDED, started_at__isnull=False, ended_at__isnull=False)
    lengths = (
        ended.order_by("-number").annotate(length=F("ended_at") - F("started_at")).values_list("length", flat=True)
    )
    seconds = [length.total_seconds() for length in lengths[:RECENT]]
    if not seconds:
        return None
    usual = timedelta(seconds=median(seconds))
    before = Run.objects.queued_on(run.cluster_id).filter(number__lt=run.number).count()
    current = rows.active().values_list("started_at", flat=True).first()
    rest = max(timedelta(), usual - (now - current)) if current else timedelta()
    return now + rest + before * usual
