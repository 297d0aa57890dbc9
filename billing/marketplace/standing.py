"""What an organization whose subscription does not stand can still do: all but start machines."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from accounts.letters import SUSPENDED
from accounts.models import MarketplaceSubscription, Organization, SubscriptionState
from billing.marketplace.each import each
from clusters.models import Cluster, ClusterStatus
from clusters.services import ACTIONS, act, refusal_of
from portal.clouds.base import Target
from portal.errors import UserError

WHAT_TO_DO = "Subscribe again in AWS Marketplace, then it goes on at once. Files, logs and bills stay as they are."


def refuse_suspended(actor: Actor, cluster: Cluster) -> None:
    """For ``clusters.launching.checks``. Raises UserError(SubscriptionEnded)."""
    organization = cluster.workspace.organization
    subscription = MarketplaceSubscription.objects.in_organization(organization).first()
    if subscription and subscription.suspended_at:
        why = SUSPENDED[SubscriptionState(subscription.state)]
        raise UserError("SubscriptionEnded", f"{organization} can start no cluster now. {why}", WHAT_TO_DO)


def pause_suspended() -> int:
    """Pause what runs in suspended organizations, once the time that was announced has come; spot clusters, which
    cannot pause, are stopped. What was still being deployed then is paused when it runs."""
    now, count = timezone.now(), 0
    for organization in Organization.objects.standing().filter(suspended_at__lte=now):
        subscription = MarketplaceSubscription.objects.in_organization(organization).first()
        if subscription and subscription.pauses_at and subscription.pauses_at <= now:
            running = Cluster.objects.filter(workspace__organization=organization, status=ClusterStatus.RUNNING)
            count += each(_pause, running.filter(target=Target.RUNNING))
    return count


@transaction.atomic
def _pause(seen: Cluster) -> bool:
    row = Cluster.objects.select_for_update(of=("self",)).get(pk=seen.pk)
    action = ACTIONS["stop" if row.spot else "pause"]
    if refusal_of(row, action):
        return False
    act(actor=audit.system("subscription ended"), cluster=row, action=action)
    return True
