"""What happens as a budget is used up, each step told before it is taken, and told once.

a part is spent (80 %)          → people are told
no room for a launch            → it is refused (``billing.holds``)
no room to renew a hold, or
more promised than there is and
the rest spent in a quarter hour → people are told that the cluster is paused, and when
that time has come, still no room → it is paused, also with a run under way

Any number of schedulers may do it, and any of them may die: what was told is a row that there is once, written in one
transaction with its mails; what is to be done is looked at anew each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit
from accounts.models import Organization
from billing import holds, letters_budgets
from billing.budgets import Standing, budgets_of, limit_of, month_of, overrides_of, standings
from billing.models import Budget, BudgetNotice, NoticeStep, SpendHold
from billing.months import Month
from clusters import services as clusters
from clusters.models import Cluster, ClusterStatus
from clusters.services import ACTIONS, refusal_of
from jobs.working import work_on
from portal import events

NOTICE = timedelta(minutes=15)
"""Between what people are told of a pause and the pause."""

AHEAD = NOTICE + timedelta(minutes=5)
"""How long before its end a hold is renewed."""


@dataclass
class _Doomed:
    """The holds that a budget cannot go on with, and when each is over."""

    standing: Standing
    ends: dict[int, datetime] = field(default_factory=dict)


def climb_all() -> int:
    """One look at every budget; returns how many clusters were paused."""
    rows = Organization.objects.filter(budgets__isnull=False) | Organization.objects.filter(
        pk__in=SpendHold.objects.active().values("organization")
    )
    return sum(climb(organization) for organization in rows.distinct())


def climb(organization: Organization) -> int:
    """Renew holds, tell people, and pause what has no room; returns how many clusters were paused."""
    holds.repair(organization)
    now = timezone.now()
    budgets = budgets_of(organization)
    doomed = _unrenewable(organization, budgets, now)
    for standing in standings(budgets, month_of(now), now).values():
        _tell_parts(standing, now)
        if standing.budget.pauses and _runs_out(standing):
            own = doomed.setdefault((standing.budget.pk, standing.month.first), _Doomed(standing))
            for hold in SpendHold.objects.of(standing.budget).active():
                own.ends[hold.pk] = now
    _withdraw(organization, doomed, now)
    for each in doomed.values():
        _tell_of_pauses(each, now)
    return sum(_pause(notice, doomed) for notice in _due(organization, now))


Key = tuple[UUID, object]
"""A budget, and the first day of a month."""


def _unrenewable(organization: Organization, budgets: list[Budget], now: datetime) -> dict[Key, _Doomed]:
    found: dict[Key, _Doomed] = {}
    ending = SpendHold.objects.in_organization(organization).active().filter(until__lte=now + AHEAD)
    for hold in ending:
        for budget in holds.renew(hold, AHEAD):
            month = month_of(max(hold.until or now, now))
            key = (budget.pk, month.first)
            if key not in found:
                own = next((each for each in budgets if each.pk == budget.pk), budget)
                found[key] = _Doomed(standings([own], month, now)[own.pk])
            found[key].ends[hold.pk] = hold.until or now
    return found


def _runs_out(standing: Standing) -> bool:
    """More is promised than there is, as after a limit was lowered, and the rest is spent in no time."""
    if standing.limit is None or standing.left is None or standing.left >= 0:
        return False
    soon = standing.hourly * Decimal(NOTICE / timedelta(hours=1))
    return bool(standing.spent + soon >= standing.limit)


def _tell_parts(standing: Standing, now: datetime) -> None:
    """That a part is spent, or all where nothing is paused. Taken back where a limit was raised, so that it can be told
    again."""
    budget, percent = standing.budget, standing.percent
    lifted = standing.limit is None
    _tell_part(standing, NoticeStep.WARN, now, told=not lifted and percent >= budget.warn_percent)
    _tell_part(standing, NoticeStep.FULL, now, told=not lifted and percent >= 100 and not budget.pauses)


def _tell_part(standing: Standing, step: NoticeStep, now: datetime, *, told: bool) -> None:
    month = standing.month.first
    standing_rows = BudgetNotice.objects.filter(budget=standing.budget, month=month, step=step, withdrawn_at=None)
    if standing_rows.exists() == told:
        return
    with transaction.atomic():
        budget = Budget.objects.select_for_update(no_key=True).filter(pk=standing.budget.pk).first()
        if budget is None or standing_rows.exists() == told:
            return
        if not told:
            standing_rows.filter(created_at__lt=now).update(withdrawn_at=timezone.now())
            return
        BudgetNotice.objects.create(budget=budget, month=month, step=step, created_at=now)
        verb = "budget.warn" if step == NoticeStep.WARN else "budget.full"
        _record(verb, standing.budget, spent=str(round(standing.spent, 2)), limit=str(standing.limit))
        (letters_budgets.warned if step == NoticeStep.WARN else letters_budgets.full)(standing)


def _tell_of_pauses(doomed: _Doomed, now: datetime) -> None:
    """One mail for all that people have not been told of yet."""
    budget, month = doomed.standing.budget, doomed.standing.month.first
    with transaction.atomic():
        if not Budget.objects.select_for_update(no_key=True).filter(pk=budget.pk).exists():
            return
        told = BudgetNotice.objects.filter(
            budget=budget, step=NoticeStep.PAUSE, withdrawn_at=None, hold__in=doomed.ends
        )
        new = set(doomed.ends) - set(told.values_list("hold_id", flat=True))
        rows = SpendHold.objects.active().filter(pk__in=new).order_by("pk")
        related = rows.select_related("workspace", "cluster__created_by", "cluster__workspace")
        found = [(hold, max(doomed.ends[hold.pk], now + NOTICE), work_on(hold.cluster)) for hold in related]
        if not found:
            return
        BudgetNotice.objects.bulk_create(
            BudgetNotice(budget=budget, month=month, step=NoticeStep.PAUSE, hold=hold, acts_at=at, created_at=now)
            for hold, at, _ in found
        )
        _record("budget.announce", budget, clusters=[f"{hold.cluster} at {at:%F %H:%M} UTC" for hold, at, _ in found])
        letters_budgets.pausing(doomed.standing, found)
        for hold, _, _ in found:
            events.notify(hold.workspace_id, f"cluster-{hold.cluster_id}")


def _withdraw(organization: Organization, doomed: dict[Key, _Doomed], now: datetime) -> None:
    """What was told and need not come: there is room again, or the cluster rests already."""
    for notice in _open(organization).filter(created_at__lt=now):  # another scheduler may know more since
        own = doomed.get((notice.budget_id, notice.month))
        if own is None or notice.hold_id not in own.ends:
            BudgetNotice.objects.filter(pk=notice.pk, acted_at=None).update(withdrawn_at=timezone.now())


def _open(organization: Organization) -> QuerySet[BudgetNotice]:
    rows = BudgetNotice.objects.filter(budget__organization=organization, step=NoticeStep.PAUSE)
    return rows.filter(withdrawn_at=None, acted_at=None).select_related("hold")


def _due(organization: Organization, now: datetime) -> list[BudgetNotice]:
    return list(_open(organization).filter(acts_at__lte=now))


def _pause(seen: BudgetNotice, doomed: dict[Key, _Doomed]) -> bool:
    """Pause one cluster, or stop it where it cannot be paused; one that is still deployed is paused when it runs."""
    own = doomed.get((seen.budget_id, seen.month))
    if own is None or seen.hold is None:
        return False
    standing = own.standing
    with transaction.atomic():
        rows = Cluster.objects.select_for_update(of=("self",)).select_related("workspace")
        cluster = rows.get(pk=seen.hold.cluster_id)
        budget = Budget.objects.select_for_update(no_key=True).filter(pk=seen.budget_id).first()
        notice = _open(standing.budget.organization).filter(pk=seen.pk, hold__released_at=None).first()
        if notice is None or budget is None or not budget.pauses:
            return False
        if _limit_now(budget, standing.month) != standing.limit:
            return False  # somebody gave more since we looked
        action = ACTIONS["stop" if refusal_of(cluster, ACTIONS["pause"]) else "pause"]
        if (cluster.status != ClusterStatus.RUNNING and cluster.running_since is None) or refusal_of(cluster, action):
            return False
        clusters.act(actor=audit.system(f"budget of {standing.budget}"), cluster=cluster, action=action)
        notice.acted_at = timezone.now()
        notice.save(update_fields=["acted_at"])
        return True


def _limit_now(budget: Budget, month: Month) -> object:
    return limit_of(budget, overrides_of([budget], month).get(budget.pk))


def _record(verb: str, budget: Budget, **detail: Any) -> None:
    audit.record(audit.system("budgets"), verb, budget, organization=budget.organization, **detail)
