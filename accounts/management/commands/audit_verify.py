"""``manage.py audit_verify``: whether the audit log is as it was written."""

from __future__ import annotations

import contextlib
import re
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from accounts.audit_chain import Chain, Head, Report, all_chains, chain_of, lost, switched_off, verify
from accounts.models import PLATFORM, Organization
from portal.snapshot import snapshot


class Command(BaseCommand):
    """Exit status 0 if all is well, 1 if something is wrong with the log, 2 if the question is."""

    help = "Read the audit log's chains again, and say what was changed, removed, exchanged or put in."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which chains, and what somebody noted of them."""
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--organization", metavar="ID or NAME", help="only the chain of this organization")
        which.add_argument("--platform", action="store_true", help="only the chain of events without an organization")
        parser.add_argument(
            "--expect",
            metavar="SEQUENCE:HASH",
            action="append",
            default=[],
            help="a head that an earlier run printed; it must still be in the chain. Can be given several times",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each chain, and one for each problem."""
        noted = [_head(text) for text in options["expect"]]
        with snapshot():
            chains = _chains(options["organization"], platform=options["platform"])
            wrong = switched_off()
            for problem in wrong:
                self.stdout.write(problem)
            reports = [self._verify(chain, noted) for chain in chains]
        kept = {head for report in reports for head in report.kept}
        missing = [lost(head, reports[0] if len(reports) == 1 else None) for head in noted if head not in kept]
        for problem in missing:
            self.stdout.write(problem)
        problems = len(wrong) + len(missing) + sum(report.problem_count for report in reports)
        if problems:
            raise CommandError(f"The audit log is not as it should be: {problems} problems.", returncode=1)

    def _verify(self, chain: Chain, noted: list[Head]) -> Report:
        report = verify(chain, noted)
        state = "WRONG" if report.problem_count else "OK"
        head = f"head {report.head}" if report.head else "empty"
        self.stdout.write(f"{state:6}{chain.name} ({chain.id}): {report.count} events, {head}")
        for problem in report.problems:
            self.stdout.write(f"      {problem}")
        if report.problem_count > len(report.problems):
            self.stdout.write(f"      … and {report.problem_count - len(report.problems)} more")
        return report


def _head(text: str) -> Head:
    found = re.fullmatch(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", text.strip())
    if found is None:
        raise CommandError(f"{text} is no head. A head is a number, a colon and 64 hexadecimal digits.", returncode=2)
    return Head(int(found[1]), found[2])


def _chains(organization: str | None, *, platform: bool) -> list[Chain]:
    if platform:
        return [chain_of(PLATFORM, "")]
    if organization is None:
        return all_chains()
    wanted = Q(name__iexact=organization)
    with contextlib.suppress(ValueError):
        wanted |= Q(pk=UUID(organization))
    found = list(Organization.objects.filter(wanted).order_by("created_at"))
    if len(found) == 1:
        return [chain_of(found[0].pk, found[0].name)]
    if not found:
        raise CommandError(f"There is no organization {organization}.", returncode=2)
    ids = ", ".join(str(row.pk) for row in found)
    raise CommandError(f"Several organizations were called {organization}. Name one by its id: {ids}.", returncode=2)
