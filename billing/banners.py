"""What pages say of budgets that are nearly used up, and what the form of a new cluster says of what is left."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from accounts.models import User
from accounts.permissions import Perm
from billing.budgets import month_of, standings
from billing.holds import dollars
from billing.models import Budget, BudgetNotice, NoticeStep
from workspaces.models import Workspace

SHOWN = (
    *("month", "step", "acts_at", "budget__warn_percent", "budget__organization__name", "budget__workspace__name"),
    *("budget__user__first_name", "budget__user__last_name", "budget__user__email"),
    *("hold__cluster__name", "hold__cluster__workspace_id"),
)


@dataclass(frozen=True)
class Banner:
    """``url`` leads to the budget, for who may see it."""

    tone: str
    title: str
    text: str
    url: str


def budgets(request: HttpRequest) -> dict[str, Any]:
    """A context processor: the banners of the page's tenant. One query, where a page shows them."""
    return {"budget_banners": SimpleLazyObject(lambda: _banners(request))}


def _banners(request: Any) -> list[Banner]:
    organization = getattr(request, "organization", None)
    user = getattr(request, "user", None)
    permissions: frozenset[Perm] = getattr(request, "permissions", frozenset())
    if organization is None or not isinstance(user, User) or not permissions:
        return []
    workspace = getattr(request, "workspace", None)
    looks = Perm.USAGE_VIEW in permissions
    seen = Q(budget__workspace=None, budget__user=None) | Q(budget__user=user)
    if workspace is not None:
        seen |= Q(budget__workspace=workspace)
    elif looks:
        seen |= Q(budget__workspace__isnull=False)
    rows = BudgetNotice.objects.filter(seen, budget__organization=organization, withdrawn_at=None, acted_at=None)
    rows = rows.filter(month__gte=month_of(timezone.now()).first).order_by("acts_at", "pk")
    told: dict[UUID, list[BudgetNotice]] = defaultdict(list)
    related = rows.select_related("budget__organization", "budget__workspace", "budget__user", "hold__cluster")
    for notice in related.only(*SHOWN)[:200]:
        told[notice.budget_id].append(notice)
    return [_banner(notices, workspace, looks=looks) for notices in told.values()]


def _banner(notices: list[BudgetNotice], workspace: Workspace | None, *, looks: bool) -> Banner:
    """Of one budget, what is worst."""
    budget, month = notices[0].budget, f"{notices[0].month:%B}"
    url = budget.get_absolute_url() if looks else ""
    pauses = [notice for notice in notices if notice.step == NoticeStep.PAUSE]
    if pauses:
        found = [notice.hold.cluster for notice in pauses if notice.hold]
        named = [row.name for row in found if (row.workspace_id == workspace.pk if workspace else looks)]
        others = len(found) - len(named[:3])
        which = ", ".join(named[:3]) + (f" and {others} more" if others and named else "")
        are = "is" if len(found) == 1 else "are"
        return Banner(
            "bad",
            f"{which or 'Running clusters'} {are if which else 'are'} paused from {pauses[0].acts_at:%H:%M} UTC on",
            f"The budget of {budget} for {month} is used up. Jobs that are under way then are cancelled.",
            url,
        )
    if any(notice.step == NoticeStep.FULL for notice in notices):
        return Banner("bad", f"The budget of {budget} for {month} is spent", "Nothing more can be launched.", url)
    return Banner(
        "warn",
        f"{budget.warn_percent} % or more of the budget of {budget} for {month} is spent",
        "A launch that has no room in what is left is refused.",
        url,
    )


def room(workspace: Workspace, user: User) -> list[str]:
    """What is left of the budgets that bind somebody who launches there, a line for each."""
    now = timezone.now()
    rows = Budget.objects.binding(workspace, user.pk).select_related("organization", "workspace", "user")
    return [
        f"The budget of {each.budget} for {now:%B} has {dollars(max(each.left, Decimal(0)))} of "
        f"{dollars(each.limit)} USD left. Without a maximum lifetime, {each.budget.reserve_hours} hours are set aside."
        for each in standings(list(rows), month_of(now), now).values()
        if each.left is not None and each.limit is not None
    ]
