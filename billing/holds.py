"""What is set aside at a launch, so that all that runs together never costs more than its budgets allow.

A launch locks the budgets that it is charged to, in the order of their keys, within its own transaction; so launches
wait for each other there, and each sees what those before it set aside. A hold follows its cluster's ledger from there:

    asked to run            → set aside: rate × instances × maximum lifetime, or some hours where there is none
    became RUNNING, scaled  → from then on it is the time that is left
    asked to rest, failed   → released

It ends with the month at the latest: what comes after is the next month's budget's. Then, or when the hours are over,
the scheduler renews it (``renew``) or pauses the cluster (``billing.ladder``). ``repair`` makes holds from clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from accounts.audit import Actor
from accounts.models import Organization
from billing.budgets import Standing, month_of, set_aside, standings
from billing.models import Budget, MeteredCluster, SpendHold, UsageInterval
from billing.months import Month
from billing.rates import hourly_at
from billing.usage import ENDING, minutes_between
from clusters.ledger import RESTART
from clusters.models import Cluster, ClusterStatus, Transition, TransitionKind
from portal.clouds.base import Target
from portal.errors import UserError

S = ClusterStatus
HOUR = timedelta(hours=1)
NOTHING = Decimal(0)


def reserve(actor: Actor, cluster: Cluster) -> None:
    """The check of ``clusters.launching``: set aside what a cluster may cost. Raises UserError(BudgetExceeded).

    One query where no budget binds. What sets aside no more than before is never refused.
    """
    budgets = _locked(cluster)
    if not budgets:
        return
    now = timezone.now()
    old = SpendHold.objects.active().filter(cluster=cluster).first()
    new = _wanted(cluster, budgets, old, now)
    for month in _months(now, new.until or now):
        asked = set_aside(new, month, now)
        more = asked - (set_aside(old, month, now) if old else 0)
        if more > 0:
            _refuse_over(standings(budgets, month, now), more, asked, new)
    _put(new, old)


def follow(cluster: Cluster, line: Transition) -> None:
    """A new line of a ledger, in its transaction: what it means for the cluster's hold."""
    holds = SpendHold.objects.active().filter(cluster=cluster)
    if line.kind == TransitionKind.REQUEST:
        if line.status in ENDING and line.status != RESTART:
            holds.update(released_at=line.at, released_why=f"asked to become {line.status}")
    elif line.status == S.FAILED:
        holds.update(released_at=line.at, released_why="failed")
    elif line.status == S.RUNNING and (hold := holds.first()):
        _begin(hold, cluster, line)


def renew(hold: SpendHold, ahead: timedelta) -> list[Budget]:
    """Set aside the next hour for a cluster whose hold ends within ``ahead``, or the rest of its life; returns the
    budgets that have no room for it, of those that pause clusters. They are asked in the month of that hour."""
    with transaction.atomic():
        cluster = Cluster.objects.select_for_update(of=("self",)).select_related("workspace").get(pk=hold.cluster_id)
        row = SpendHold.objects.active().filter(pk=hold.pk).first()
        now = timezone.now()
        if row is None or row.until is None or row.until - now > ahead or cluster.target != Target.RUNNING:
            return []
        if cluster.ends_at is not None and cluster.ends_at <= row.until:
            return []  # its own end comes first
        budgets = [budget for budget in _locked(cluster) if budget.pauses]
        start = max(row.until, now)
        month = month_of(start)
        standing = standings(budgets, month, now)
        full: list[Budget] = []
        for end in _ends(cluster, start, month):
            longer = copy(row)
            longer.until = end
            more = set_aside(longer, month, now) - set_aside(row, month, now)
            full = [each.budget for each in standing.values() if _lacks(each, more)]
            if not full:
                longer.save(update_fields=["until"])
                return []
        return full


def repair(organization: Organization) -> int:
    """Make the holds of an organization what its clusters and budgets ask for, and return how many were not. Finds
    nothing but clusters that ran before their budget was there, and what somebody changed by hand."""
    _note_counted(organization)
    budgets = list(Budget.objects.in_organization(organization))
    active = SpendHold.objects.in_organization(organization).active()
    wrong = set(active.exclude(_right(budgets)).values_list("cluster_id", flat=True))
    if budgets:
        running = Cluster.objects.filter(_running(), _bound(budgets), workspace__organization=organization)
        held = SpendHold.objects.active().filter(cluster=OuterRef("pk"))
        wrong |= set(running.filter(~Exists(held)).values_list("pk", flat=True))
    return sum(_derive(cluster_id) for cluster_id in sorted(wrong))


def _running(path: str = "") -> Q:
    """Clusters that should run; ``path`` leads to them."""
    wanted = Q(**{f"{path}target": Target.RUNNING, f"{path}failure_code": ""})
    return wanted & ~Q(**{f"{path}status__in": [S.FAILED, S.TERMINATED]})


def _bound(budgets: Sequence[Budget], path: str = "") -> Q:
    """Clusters that are charged to one of the budgets, all of one organization."""
    if any(budget.workspace_id is None and budget.user_id is None for budget in budgets):
        return Q()
    places = [budget.workspace_id for budget in budgets if budget.workspace_id]
    people = [budget.user_id for budget in budgets if budget.user_id]
    return Q(**{f"{path}workspace__in": places}) | Q(**{f"{path}created_by__in": people})


def _right(budgets: Sequence[Budget]) -> Q:
    """Holds that are as their clusters ask for."""
    if not budgets:
        return Q(pk=None)
    runs, settled = Q(cluster__status=S.RUNNING), Q(cluster__instances=F("cluster__deployed_instances"))
    begun, same = Q(began_at__isnull=False), Q(instances=F("cluster__instances"))
    return _running("cluster__") & _bound(budgets, "cluster__") & (~runs | (begun & (~settled | same)))


@transaction.atomic
def _derive(cluster_id: UUID) -> bool:
    rows = Cluster.objects.select_for_update(of=("self",), skip_locked=True).select_related("workspace")
    cluster = rows.filter(pk=cluster_id).first()
    if cluster is None:  # somebody is at it
        return False
    now = timezone.now()
    hold = SpendHold.objects.active().filter(cluster=cluster).first()
    budgets = _locked(cluster)
    rests = not Cluster.objects.filter(_running(), pk=cluster_id).exists()
    if rests or not budgets:
        if hold is not None:
            hold.released_at, hold.released_why = now, "no longer runs" if rests else "no budget"
            hold.save(update_fields=["released_at", "released_why"])
        return hold is not None
    if hold is not None and SpendHold.objects.filter(_right(budgets), pk=hold.pk).exists():
        return False
    _put(_wanted(cluster, budgets, hold, now), hold)
    return True


def _note_counted(organization: Organization) -> None:
    """Of what was released, the bill soon has everything."""
    done = MeteredCluster.objects.filter(cluster=OuterRef("cluster"), ledger_length=F("cluster__ledger_length"))
    over = SpendHold.objects.in_organization(organization).filter(counted=False, released_at__isnull=False)
    SpendHold.objects.filter(pk__in=over.filter(Exists(done)).values("pk")).update(counted=True)


def _locked(cluster: Cluster) -> list[Budget]:
    """The budgets that a cluster is charged to, which nobody else changes or reserves from until this transaction
    ends."""
    rows = Budget.objects.binding(cluster.workspace, cluster.created_by_id)
    related = rows.select_related("organization", "workspace", "user")
    return list(related.select_for_update(of=("self",), no_key=True))


def _wanted(cluster: Cluster, budgets: Sequence[Budget], old: SpendHold | None, now: datetime) -> SpendHold:
    """The hold that a cluster should have; not saved. ``old`` is the one that it has."""
    hours = max(budget.reserve_hours for budget in budgets)
    new = SpendHold(
        organization_id=cluster.workspace.organization_id,
        workspace_id=cluster.workspace_id,
        cluster=cluster,
        hourly=_hourly(cluster, now),
        instances=cluster.instances,
        minutes=cluster.max_lifetime_minutes or hours * 60,
    )
    if not _runs(cluster):
        return new
    end = month_of(now).end
    if old is not None and old.until is not None:
        end = max(end, old.until)  # renewed already for the month that comes
    until = old.until if old is not None and old.until is not None and old.until > now else now + timedelta(hours=hours)
    new.began_at = now
    new.until = max(now, min(cluster.ends_at or until, end))
    return new


def _runs(cluster: Cluster) -> bool:
    return cluster.status == S.RUNNING or cluster.running_since is not None


def _put(new: SpendHold, old: SpendHold | None) -> None:
    """One row for each launch: what it sets aside changes, and it stays."""
    if old is None:
        new.save(force_insert=True)
    else:
        fields = ("hourly", "instances", "minutes", "began_at", "until")
        SpendHold.objects.filter(pk=old.pk).update(**{name: getattr(new, name) for name in fields})


def _hourly(cluster: Cluster, now: datetime) -> Decimal:
    """What the interval that goes on costs; else what one that begins now would."""
    if _runs(cluster):
        running = UsageInterval.objects.filter(cluster=cluster, ended_at=None, instance_type=cluster.instance_type)
        found = running.values_list("hourly", flat=True).first()
        if found is not None:
            return found
    provider = cluster.workspace.cloud_configuration.provider
    return hourly_at(provider, cluster.instance_type, now) or Decimal(0)


def _begin(hold: SpendHold, cluster: Cluster, line: Transition) -> None:
    """An interval begins: with its size, its rate and its start, so that hold and bill count the same minutes."""
    provider = cluster.workspace.cloud_configuration.provider
    hold.hourly = hourly_at(provider, line.instance_type, line.at) or Decimal(0)
    hold.instances = line.instances
    if hold.until is None:
        hold.until = min(line.at + timedelta(minutes=hold.minutes), month_of(line.at).end)
    hold.began_at = line.at
    hold.save(update_fields=["hourly", "instances", "began_at", "until"])


def _ends(cluster: Cluster, start: datetime, month: Month) -> list[datetime]:
    """Until when a hold could be renewed, the best first."""
    last = min(cluster.ends_at or month.end, month.end)
    return [*([last] if cluster.ends_at else []), min(start + HOUR, last)]


def _months(first: datetime, last: datetime) -> list[Month]:
    found = [month_of(first)]
    while found[-1].end < last:
        found.append(found[-1].next)
    return found


def _refuse_over(standing: dict[UUID, Standing], more: Decimal, asked: Decimal, hold: SpendHold) -> None:
    for each in standing.values():
        if _lacks(each, more):
            raise exceeded(each, more, asked, hold)


def _lacks(standing: Standing, more: Decimal) -> bool:
    """All that is left may be set aside, and what costs nothing always."""
    return standing.left is not None and more > max(standing.left, NOTHING)


def exceeded(standing: Standing, more: Decimal, asked: Decimal, hold: SpendHold) -> UserError:
    """The refusal: which budget, how it stands, what was asked for, and what to do."""
    assert standing.limit is not None
    minutes = hold.minutes if hold.until is None else minutes_between(timezone.now(), hold.until)
    budget, month = standing.budget, f"{standing.month.first:%B %Y}"
    spent, held, needed = map(dollars, (standing.spent, standing.held, asked))
    further = f", which is {dollars(more)} more than is set aside for it already" if more != asked else ""
    return UserError(
        "BudgetExceeded",
        f"The budget of {budget} for {month} has no room for this. Of {dollars(standing.limit)} USD, {spent} are spent "
        f"and {held} are set aside for clusters that run; {hold.instances} × {hold.cluster.instance_type} for "
        f"{_hours(minutes)} would need {needed}{further}.",
        "Ask for fewer or smaller instances or a shorter maximum lifetime, or pause what is not needed. Owners of "
        f"{budget.organization} and people with its role Billing can raise the budget; an owner can lift it for the "
        "month.",
    )


def dollars(amount: Decimal) -> str:
    """An amount as people read it: cents, and more of what is less than a dollar."""
    return f"{amount:,.2f}" if abs(amount) >= 1 or not amount else f"{amount:.4f}"


def _hours(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    parts = [f"{hours} h" if hours else "", f"{rest} min" if rest or not hours else ""]
    return " ".join(filter(None, parts))
