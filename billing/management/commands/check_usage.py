"""``manage.py check_usage``: whether what is charged is what the ledgers say."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from accounts import audit
from billing import metering
from billing.models import MeteredCluster
from billing.proof import differences
from clusters.models import Cluster


class Command(BaseCommand):
    """Exit status 0 if all is well, 1 if not."""

    help = "Derive the usage of every cluster anew from its ledger, and say what differs from what is stored."
    requires_system_checks = ()  # these load every page and form; `make check` runs them

    def add_arguments(self, parser: CommandParser) -> None:
        """Whether to mend it."""
        parser.add_argument("--repair", action="store_true", help="write anew what differs")

    def handle(self, *args: Any, **options: Any) -> None:
        """Look at all, and print a line for each difference."""
        wrong: dict[UUID, list[str]] = {}
        for cluster in Cluster.objects.filter(ledger_length__gt=0).order_by("pk").iterator():
            found = list(differences(cluster))
            for line in found:
                self.stdout.write(f"{cluster.pk} {cluster.name}: {line}")
            if found:
                wrong[cluster.pk] = found
        self.stdout.write(f"{len(wrong)} clusters differ." if wrong else "All usage is what the ledgers say.")
        if wrong and options["repair"]:
            for pk, found in wrong.items():
                _repair(Cluster.objects.select_related("workspace__organization").get(pk=pk), found)
            self.stdout.write("They were written anew.")
        elif wrong:
            raise SystemExit(1)


@transaction.atomic
def _repair(cluster: Cluster, found: list[str]) -> None:
    """A bill that changes says why in the organization's audit log."""
    MeteredCluster.objects.filter(cluster=cluster).delete()
    metering.rebuild([cluster.pk])
    actor = audit.system("manage.py check_usage")
    audit.record(actor, "usage.repair", cluster, organization=cluster.workspace.organization, differences=found)
