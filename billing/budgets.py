"""How budgets stand: what is spent of them in a month, what is set aside for clusters that run, and what is left.

Spent is what the bill will say: the days that are added up, the intervals that go on, counted until now, and what the
ledgers of clusters say that the bill does not have yet. Set aside is the rest of the time of each hold. The two meet at
this minute, so that no minute counts twice, and minutes are rounded as on the bill: together they stay the same while a
cluster runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Case, DateTimeField, DecimalField, F, Func, Q, Sum, Value, When
from django.db.models.functions import Greatest, Least

from accounts.models import Organization
from billing.metering import derived
from billing.models import Budget, BudgetOverride, SpendHold, UsageDay, UsageInterval
from billing.months import Month
from billing.usage import cost, minutes_between, minutes_within

MONEY = DecimalField(max_digits=40, decimal_places=6)
Place = tuple[UUID, int | None]
"""A workspace and a person, by their keys: whom a cluster's cost is charged to."""


@dataclass(frozen=True)
class Standing:
    """A budget in one month, in US dollars and not rounded. ``limit`` is what holds now: with what an owner gave more,
    and None where they lifted it. ``hourly`` is what all that runs costs in an hour."""

    budget: Budget
    month: Month
    override: BudgetOverride | None
    spent: Decimal
    held: Decimal
    hourly: Decimal

    @property
    def limit(self) -> Decimal | None:
        """What may be spent."""
        return limit_of(self.budget, self.override)

    @property
    def left(self) -> Decimal | None:
        """What can still be set aside; None without a limit. Below zero where more is promised than there is."""
        return None if self.limit is None else self.limit - self.spent - self.held

    @property
    def warned(self) -> bool:
        """Whether as much is spent that people are told."""
        return self.limit is not None and self.percent >= self.budget.warn_percent

    @property
    def over(self) -> bool:
        """Whether all is spent."""
        return self.limit is not None and self.spent >= self.limit

    @property
    def spent_share(self) -> int:
        """Of the limit, in thousandths and at most all of it: for a bar."""
        return _share(self.spent, self)

    @property
    def promised_share(self) -> int:
        """The same with what is set aside."""
        return _share(self.spent + self.held, self)

    @property
    def percent(self) -> Decimal:
        """What is spent, of what may be; of the budget's own limit where that is lifted."""
        return self.spent * 100 / (self.limit or self.budget.limit)


def _share(amount: Decimal, of: Standing) -> int:
    return min(1000, int(amount * 1000 / (of.limit or of.budget.limit)))


def month_of(at: datetime) -> Month:
    """The calendar month of a time, in UTC."""
    return Month.parse(f"{at:%Y-%m}", at.date())


def limit_of(budget: Budget, override: BudgetOverride | None) -> Decimal | None:
    """What may be spent in a month with this override; None: anything."""
    if override is None:
        return budget.limit
    return None if override.extra is None else budget.limit + override.extra


def overrides_of(budgets: Iterable[Budget], month: Month) -> dict[UUID, BudgetOverride]:
    """What owners gave more in a month, where it has not ended."""
    rows = BudgetOverride.objects.filter(budget__in=list(budgets), month=month.first, ended_at=None)
    return {row.budget_id: row for row in rows}


def standings(budgets: Sequence[Budget], month: Month, now: datetime) -> dict[UUID, Standing]:
    """How budgets of one organization stand in a month, by their keys. Five queries, or six with those of people; more
    only where the bill is behind."""
    if not budgets:
        return {}
    organization = budgets[0].organization_id
    overrides = overrides_of(budgets, month)
    behind = _behind(organization)
    people = [budget.user_id for budget in budgets if budget.user_id is not None]
    hourly: dict[Place, Decimal] = defaultdict(Decimal)
    running: dict[Place, Decimal] = defaultdict(Decimal)
    for place, price, rate in (*_running(organization, month, now, behind), *_unmetered(behind, month, now)):
        running[place] += price
        hourly[place] += rate
    # After the open ones: what ends in between is counted twice, and never not at all.
    spent = _ended(organization, month, behind, budgets) if month.start <= now else {}
    by_person = _ended_of_people(organization, month, behind, people) if people and month.start <= now else {}
    held = _held(organization, month, now)
    found = {}
    for budget in budgets:
        ended = by_person.get(budget.user_id, Decimal(0)) if budget.user_id else _of_places(spent, budget)
        found[budget.pk] = Standing(
            budget=budget,
            month=month,
            override=overrides.get(budget.pk),
            spent=ended + _charged_to(running, budget),
            held=_charged_to(held, budget),
            hourly=_charged_to(hourly, budget),
        )
    return found


def set_aside(hold: SpendHold, month: Month, now: datetime) -> Decimal:
    """What a hold still sets aside of a month's budget. One that has not begun is for the month that it now is."""
    if hold.began_at is None or hold.until is None:
        here = month.start <= now < month.end
        minutes = min(hold.minutes, minutes_between(now, month.end)) if here else 0
    else:
        minutes = minutes_within(hold.began_at, hold.until, max(now, month.start), month.end)
    return cost(minutes, hold.instances, hold.hourly)


def binds(budget: Budget, workspace_id: UUID, user_id: int | None) -> bool:
    """Whether what is launched there by that person is charged to a budget."""
    if budget.workspace_id:
        return budget.workspace_id == workspace_id
    return budget.user_id is None or budget.user_id == user_id


def _charged_to(amounts: dict[Place, Decimal], budget: Budget) -> Decimal:
    return sum((amount for place, amount in amounts.items() if binds(budget, *place)), Decimal(0))


def _of_places(amounts: dict[UUID, Decimal], budget: Budget) -> Decimal:
    if budget.workspace_id:
        return amounts.get(budget.workspace_id, Decimal(0))
    return sum(amounts.values(), Decimal(0))


def _behind(organization: UUID) -> list[UUID]:
    """Clusters with holds of which the bill does not have everything yet."""
    rows = SpendHold.objects.filter(organization=organization, counted=False)
    other = Q(cluster__metered=None) | ~Q(cluster__metered__ledger_length=F("cluster__ledger_length"))
    return list(rows.filter(other, cluster__ledger_length__gt=0).values_list("cluster_id", flat=True).distinct())


def _days(organization: UUID, month: Month, behind: list[UUID]) -> Any:
    rows = UsageDay.objects.filter(organization=organization, day__gte=month.first, day__lt=month.next.first)
    return rows.exclude(cluster__in=behind) if behind else rows


def _ended(organization: UUID, month: Month, behind: list[UUID], budgets: Sequence[Budget]) -> dict[UUID, Decimal]:
    """What intervals that have ended cost, by workspace."""
    rows = _days(organization, month, behind)
    if all(budget.workspace_id or budget.user_id for budget in budgets):
        places = [budget.workspace_id for budget in budgets if budget.workspace_id]
        if not places:
            return {}
        rows = rows.filter(workspace__in=places)
    return _per_hour(rows, "workspace_id")


def _ended_of_people(organization: UUID, month: Month, behind: list[UUID], people: list[int]) -> dict[Any, Decimal]:
    return _per_hour(
        _days(organization, month, behind).filter(cluster__created_by__in=people), "cluster__created_by_id"
    )


def _per_hour(rows: Any, key: str) -> dict[Any, Decimal]:
    total = Sum(F("minutes") * F("hourly"), output_field=MONEY)
    return {found: hours / 60 for found, hours in rows.order_by().values_list(key).annotate(total=total)}


def _running(
    organization: UUID, month: Month, now: datetime, behind: list[UUID]
) -> Iterable[tuple[Place, Decimal, Decimal]]:
    """What open intervals cost in the month until now, and what they cost in an hour."""
    rows = UsageInterval.objects.filter(organization=organization, ended_at=None)
    if behind:
        rows = rows.exclude(cluster__in=behind)
    until, since = min(now, month.end), min(now, month.start)
    minutes = Minutes(F("started_at"), _at(until)) - Minutes(F("started_at"), _at(since))
    each = F("instances") * F("hourly")
    grouped = rows.order_by().values_list("workspace_id", "cluster__created_by_id")
    totals = grouped.annotate(hours=Sum(minutes * each, output_field=MONEY), hourly=Sum(each, output_field=MONEY))
    return [((workspace, user), hours / 60, hourly) for workspace, user, hours, hourly in totals]


def _unmetered(behind: list[UUID], month: Month, now: datetime) -> Iterable[tuple[Place, Decimal, Decimal]]:
    """The same for clusters that the bill does not have all of, from their ledgers, and with what has ended."""
    for row in derived(behind) if behind else ():
        minutes = minutes_within(row.started_at, row.ended_at or max(now, row.started_at), month.start, month.end)
        hourly = row.instances * row.hourly if row.ended_at is None else Decimal(0)
        yield (row.workspace_id, row.cluster.created_by_id), cost(minutes, row.instances, row.hourly), hourly


def _held(organization: UUID, month: Month, now: datetime) -> dict[Place, Decimal]:
    """What is set aside: ``set_aside`` of all active holds, added up by the database."""
    end = Least(F("until"), _at(month.end))
    start = Least(F("until"), _at(max(now, month.start)))
    here = month.start <= now < month.end
    whole = Least(F("minutes"), Value(minutes_between(now, month.end))) if here else Value(0)
    minutes = Case(
        When(began_at=None, then=whole),
        default=Greatest(Minutes(F("began_at"), end) - Minutes(F("began_at"), start), Value(Decimal(0))),
        output_field=MONEY,
    )
    rows = SpendHold.objects.filter(organization=organization).active().order_by()
    total = Sum(minutes * F("instances") * F("hourly"), output_field=MONEY)
    grouped = rows.values_list("workspace_id", "cluster__created_by_id").annotate(total=total)
    return {(workspace, user): hours / 60 for workspace, user, hours in grouped}


class Minutes(Func):
    """``usage.minutes_between`` in the database: whole minutes, half up, never below zero. Exact: in PostgreSQL the
    seconds of an interval are a decimal number."""

    template = "GREATEST(0, FLOOR((EXTRACT(EPOCH FROM (%(expressions)s)) + 30) / 60))"
    arg_joiner = " - "
    output_field = MONEY

    def __init__(self, start: Any, end: Any) -> None:
        super().__init__(end, start)


def _at(at: datetime) -> Value:
    return Value(at, DateTimeField())


def budgets_of(organization: Organization) -> list[Budget]:
    """All of an organization, with whom they are of: its own first, then workspaces, then people."""
    rows = Budget.objects.in_organization(organization).select_related("organization", "workspace", "user")
    return sorted(rows, key=lambda row: (bool(row.user_id), bool(row.workspace_id), str(row).lower()))
