"""Whether the usage that is stored is what the ledgers say, by deriving it anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from billing import savings
from billing.metering import day_rows
from billing.models import MeteredCluster, Saving, UsageDay, UsageInterval
from billing.usage import intervals
from clusters.models import Cluster
from portal.snapshot import snapshot


def differences(cluster: Cluster) -> Iterator[str]:
    """What is not as it should be, in words; nothing if all is well. A ledger that grew since it was metered is read as
    far as it was."""
    with snapshot():  # metering writes both tables and how far it is in one transaction
        metered = MeteredCluster.objects.filter(cluster=cluster).first()
        length = metered.ledger_length if metered else 0
        ledger = list(cluster.transitions.filter(seq__lte=length).order_by("seq"))
        stored = list(UsageInterval.objects.filter(cluster=cluster).order_by("started_at"))
        saved = set(map(savings.facts, Saving.objects.filter(cluster=cluster)))
        days = set(UsageDay.objects.filter(cluster=cluster).values_list(*DAY_FIELDS))
    if [line.seq for line in ledger] != list(range(1, length + 1)):
        yield f"the ledger has {len(ledger)} lines of {length}"
    derived = {(row.started_at, row.ended_at, row.instance_type, row.instances) for row in intervals(ledger)}
    kept = {(row.started_at, row.ended_at, row.instance_type, row.instances) for row in stored}
    yield from (f"missing: {_words(row)}" for row in sorted(derived - kept, key=str))
    yield from (f"not in the ledger: {_words(row)}" for row in sorted(kept - derived, key=str))
    should = set(map(savings.facts, savings.rows_of(savings.Metered(cluster, ledger, stored))))
    times = sorted({row[0] for row in should ^ saved})
    yield from (f"what was saved from {at:%Y-%m-%d %H:%M:%S} UTC is not what the ledger says" for at in times)
    wanted = {tuple(getattr(row, field) for field in DAY_FIELDS) for row in day_rows(cluster, stored)}
    yield from (f"the total of {row[0]} is not that of its intervals" for row in sorted(wanted ^ days, key=str))


DAY_FIELDS = ("day", "instance_type", "hourly", "minutes")


def _words(row: tuple[Any, ...]) -> str:
    started, ended, instance_type, instances = row
    until = f"until {ended:%Y-%m-%d %H:%M:%S}" if ended else "until now"
    return f"{instances} × {instance_type} from {started:%Y-%m-%d %H:%M:%S} {until} UTC"
