"""What may be spent in a month, what is set aside for clusters that run, and what people were told about it."""

from __future__ import annotations

import uuid
from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization, User
from clusters.models import Cluster
from workspaces.models import Workspace


class BudgetQuerySet(models.QuerySet["Budget"]):
    """Budgets."""

    def in_organization(self, organization: Organization) -> BudgetQuerySet:
        """Those of one organization, also of its workspaces and people."""
        return self.filter(organization=organization)

    def binding(self, workspace: Workspace, user_id: int | None) -> BudgetQuerySet:
        """Those that what a person launches in a workspace is charged to, in the order in which they are locked."""
        whole = Q(workspace=None, user=None)
        mine = Q(user=user_id) if user_id is not None else Q(pk=None)
        return self.filter(whole | Q(workspace=workspace) | mine, organization=workspace.organization_id).order_by("pk")


class Budget(models.Model):
    """What may be spent in each calendar month (UTC): by an organization, by one of its workspaces, or by one of its
    people, whose spending is that of the clusters they made. One for each.

    ``limit`` is in US dollars. ``reserve_hours`` is what is set aside at a launch for a cluster without a maximum
    lifetime, and ``pauses`` whether clusters are paused when nothing is left.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="budgets")
    workspace = models.ForeignKey(Workspace, null=True, blank=True, on_delete=models.PROTECT, related_name="budgets")
    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.CASCADE, related_name="budgets")
    limit = models.DecimalField(max_digits=12, decimal_places=2, validators=[MinValueValidator(Decimal("0.01"))])
    warn_percent = models.PositiveSmallIntegerField(
        default=80, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )
    pauses = models.BooleanField(default=True)
    reserve_hours = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(1), MaxValueValidator(744)]
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = BudgetQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization"], condition=Q(workspace=None, user=None), name="budget_one_of_organization"
            ),
            models.UniqueConstraint(
                fields=["workspace"], condition=Q(workspace__isnull=False), name="budget_one_of_workspace"
            ),
            models.UniqueConstraint(
                fields=["organization", "user"], condition=Q(user__isnull=False), name="budget_one_of_user"
            ),
            models.CheckConstraint(condition=Q(workspace=None) | Q(user=None), name="budget_one_scope"),
            models.CheckConstraint(condition=Q(limit__gt=0), name="budget_limit_positive"),
            models.CheckConstraint(condition=Q(warn_percent__range=(1, 100)), name="budget_warns_within"),
            models.CheckConstraint(condition=Q(reserve_hours__range=(1, 744)), name="budget_reserves_some_hours"),
        ]

    def __str__(self) -> str:
        if self.workspace:
            return f"the workspace {self.workspace}"
        return f"{self.user}" if self.user else f"the organization {self.organization}"

    def get_absolute_url(self) -> str:
        """The budget's page."""
        return reverse("billing:budget", args=[self.organization_id, self.pk])


class BudgetOverride(models.Model):
    """An owner's leave to spend more in one month: ``extra`` US dollars more, or without a limit (None)."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="overrides")
    month = models.DateField(help_text="its first day")
    extra = models.DecimalField(max_digits=12, decimal_places=2, null=True)
    reason = models.CharField(max_length=500)
    given_by = models.CharField(max_length=300)
    created_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    ended_by = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "month"], condition=Q(ended_at=None), name="budget_override_one_at_a_time"
            ),
            models.CheckConstraint(condition=Q(extra=None) | Q(extra__gt=0), name="budget_override_extra_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.budget}: {'no limit' if self.extra is None else f'{self.extra} USD more'} in {self.month:%Y-%m}"


class SpendHoldQuerySet(models.QuerySet["SpendHold"]):
    """Holds."""

    def in_organization(self, organization: Organization) -> SpendHoldQuerySet:
        """Those of one organization."""
        return self.filter(organization=organization)

    def active(self) -> SpendHoldQuerySet:
        """Those that still set something aside."""
        return self.filter(released_at=None)

    def of(self, budget: Budget) -> SpendHoldQuerySet:
        """Those that count for a budget."""
        rows = self.filter(organization=budget.organization_id)
        if budget.workspace_id:
            rows = rows.filter(workspace=budget.workspace_id)
        return rows.filter(cluster__created_by=budget.user_id) if budget.user_id else rows


class SpendHold(models.Model):
    """What is set aside for one launch of a cluster: ``instances`` times ``hourly`` US dollars, for ``minutes`` from
    when it runs. Until then ``began_at`` and ``until`` are None; from then on it is the time from now to ``until`` that
    is set aside, because the time before is on the bill.

    ``counted``: the bill has all of the cluster's time, so that its ledger need not be read.
    """

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+", db_index=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="+")
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="holds")
    hourly = models.DecimalField(max_digits=12, decimal_places=6)
    instances = models.PositiveIntegerField()
    minutes = models.PositiveIntegerField()
    began_at = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    released_at = models.DateTimeField(null=True)
    released_why = models.CharField(max_length=100, blank=True)
    counted = models.BooleanField(default=False)

    objects = SpendHoldQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["cluster"], condition=Q(released_at=None), name="hold_one_of_cluster"),
            models.CheckConstraint(
                condition=Q(began_at=None, until=None) | Q(began_at__isnull=False, until__isnull=False),
                name="hold_begun_or_not",
            ),
            models.CheckConstraint(condition=Q(hourly__gte=0, instances__gte=1), name="hold_of_something"),
        ]
        indexes = [
            models.Index(fields=["organization"], condition=Q(released_at=None), name="hold_active"),
            models.Index(fields=["organization"], condition=Q(counted=False), name="hold_not_counted"),
        ]

    def __str__(self) -> str:
        return f"{self.cluster}: {self.instances} × {self.hourly} USD per hour"


class NoticeStep(models.TextChoices):
    """What people are told of a budget."""

    WARN = "WARN", "A part is spent"
    FULL = "FULL", "All is spent"
    PAUSE = "PAUSE", "A cluster is paused"


class BudgetNotice(models.Model):
    """Something that people were told of a budget and a month, once. For PAUSE, ``hold`` is what runs out and
    ``acts_at`` when its cluster is paused; ``withdrawn_at`` is set where the reason went away."""

    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, related_name="notices")
    month = models.DateField(help_text="its first day")
    step = models.CharField(max_length=10, choices=NoticeStep.choices)
    hold = models.ForeignKey(SpendHold, null=True, on_delete=models.CASCADE, related_name="notices")
    created_at = models.DateTimeField(default=timezone.now)
    acts_at = models.DateTimeField(null=True)
    acted_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "month", "step"],
                condition=Q(withdrawn_at=None, hold=None),
                name="budget_notice_once",
            ),
            models.UniqueConstraint(
                fields=["budget", "month", "step", "hold"],
                condition=Q(withdrawn_at=None, hold__isnull=False),
                name="budget_notice_once_of_hold",
            ),
            models.CheckConstraint(
                condition=Q(step="PAUSE", hold__isnull=False, acts_at__isnull=False)
                | (~Q(step="PAUSE") & Q(hold=None, acts_at=None)),
                name="budget_notice_of_a_hold",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_step_display()}: {self.budget}, {self.month:%Y-%m}"
