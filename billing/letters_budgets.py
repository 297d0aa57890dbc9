"""The mails about budgets. Posted within the transaction of the notice that they are."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings

from accounts.letters import send
from accounts.models import User
from accounts.permissions import OrganizationRole, Perm, organization_permissions
from billing.budgets import Standing
from billing.holds import dollars
from billing.models import Budget, SpendHold
from clusters.lifetimes import Work, admins_of

PAYING = [role for role in OrganizationRole if Perm.BILLING_MANAGE in organization_permissions(role)]


def concerned(budget: Budget) -> list[User]:
    """Owners and those who pay; the admins of the workspace or the person that it is of."""
    rows = User.objects.filter(
        memberships__organization=budget.organization, memberships__role__in=PAYING, is_active=True
    )
    found = {user.pk: user for user in rows}
    if budget.workspace:
        found |= {user.pk: user for user in admins_of(budget.workspace)}
    if budget.user and budget.user.is_active and budget.user.memberships.filter(organization=budget.organization):
        found[budget.user.pk] = budget.user
    return list(found.values())


def warned(standing: Standing) -> None:
    """A part of it is spent."""
    budget = standing.budget
    _send(
        concerned(budget),
        budget,
        f"{standing.percent:.0f} % of the budget of {budget} is spent",
        f"{_figures(standing)} From {budget.warn_percent} % on you are told.",
        "A launch that has no room in what is left is refused. When nothing is left, "
        + ("clusters are paused; you are told before." if budget.pauses else "clusters that run go on."),
    )


def full(standing: Standing) -> None:
    """All of it is spent, and nothing is paused."""
    budget = standing.budget
    _send(
        concerned(budget),
        budget,
        f"The budget of {budget} is spent",
        f"{_figures(standing)} Nothing more can be launched this month. Clusters that run go on: this budget does not "
        "pause them.",
    )


def pausing(standing: Standing, doomed: Iterable[tuple[SpendHold, datetime, Work | None]]) -> None:
    """Clusters are paused soon, with the runs that have them. Also to who made them and whose runs are cut."""
    budget, rows = standing.budget, list(doomed)
    people = {user.pk: user for user in concerned(budget)}
    for hold, _, work in rows:
        for user in (hold.cluster.created_by, work and work.person):
            if user and user.is_active:
                people[user.pk] = user
    lines = [
        f"- {hold.cluster} in {hold.workspace} at {at:%H:%M} UTC"
        + (f"; the job {work.name} is under way on it and is cancelled then" if work else "")
        for hold, at, work in rows
    ]
    first = min(at for _, at, _ in rows)
    names = f"{rows[0][0].cluster} is" if len(rows) == 1 else f"{len(rows)} clusters are"
    _send(
        list(people.values()),
        budget,
        f"{names} paused at {first:%H:%M} UTC: the budget of {budget} is used up",
        f"{_figures(standing)} That is not enough for another hour of what runs. These clusters are paused, with their "
        "disks kept:",
        "\n".join(lines),
        "To let them run, raise the budget before, or have an owner lift it for this month.",
    )


def _figures(standing: Standing) -> str:
    limit = "without a limit" if standing.limit is None else f"of {dollars(standing.limit)} USD"
    return (
        f"In {standing.month.first:%B %Y}, {limit}, {dollars(standing.spent)} USD are spent by {standing.budget} and "
        f"{dollars(standing.held)} are set aside for clusters that run."
    )


def _send(people: Iterable[User], budget: Budget, subject: str, *paragraphs: str) -> None:
    address = settings.SITE_URL + budget.get_absolute_url()
    for person in sorted(people, key=lambda user: user.pk):
        send(person.email, subject, *paragraphs, f"The budget: {address}")
