"""The link in a warning by mail, with which somebody lets an idle cluster run on.

It is signed, proves who reads the mail of that person, and is good for one thing: to snooze this cluster for as long as
nobody uses it again, for a day. It works without a sign-in, since a warning is mostly read on a telephone, and costs at
most the price of one more day. What the person may do is asked anew each time. Whoever is signed in as somebody else
cannot use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.urls import reverse
from django.utils import timezone

from accounts import lockout
from accounts.models import User
from accounts.permissions import Perm, workspace_permissions
from clusters.models import Cluster, ClusterStatus
from portal.errors import UserError
from workspaces.access import role_in
from workspaces.models import WorkspaceStatus

LIFETIME = timedelta(days=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_signer = signing.Signer(salt="clusters.snooze")


@dataclass(frozen=True)
class SnoozeLink:
    """What a link is for: ``idle_since`` is the last activity, after which it is worth nothing."""

    cluster: Cluster
    user: User
    idle_since: datetime


def key_of(cluster: Cluster, user: User) -> str:
    """The secret part of the link of a cluster, idle as it is now, for a person."""
    idle_since = (cluster.last_activity_at - _EPOCH) // _MICROSECOND
    until = int((timezone.now() + LIFETIME).timestamp())
    return _signer.sign(f"{cluster.pk.hex}~{user.pk}~{idle_since}~{until}")


def link_to(cluster: Cluster, user: User) -> str:
    """The link for the mail."""
    return settings.SITE_URL + reverse("clusters:snooze_link", args=[key_of(cluster, user)])


def opened(key: str) -> SnoozeLink:
    """What a link is for, if its person may still change the cluster.

    Raises UserError: SnoozeLinkBroken, SnoozeLinkExpired, SnoozeLinkRefused, ClusterGone.
    """
    try:
        cluster_id, user_id, idle_since, until = _signer.unsign(key).split("~")
    except signing.BadSignature:
        raise UserError(
            "SnoozeLinkBroken",
            "This link does not work: it is not complete.",
            "The e-mail program may have cut it. Copy the whole link from the e-mail, or sign in and open the cluster.",
            status=404,
        ) from None
    if datetime.fromtimestamp(int(until), UTC) <= timezone.now():
        raise UserError(
            "SnoozeLinkExpired",
            "This link does not work any more: it was good for a day.",
            "Sign in and open the cluster to see how it stands.",
            status=410,
        )
    rows = Cluster.objects.select_related("workspace__organization")
    cluster = rows.filter(pk=UUID(cluster_id)).first()
    user = User.objects.filter(pk=user_id).first()
    if cluster is None or user is None or not may_change(cluster, user):
        raise UserError(
            "SnoozeLinkRefused",
            "This link does not work any more: who got it may not change this cluster now.",
            "Ask an admin of the workspace, or sign in with your own account.",
            status=403,
        )
    if cluster.status == ClusterStatus.TERMINATED:
        raise UserError("ClusterGone", f"The cluster {cluster.name} was deleted.", "Create another one.", status=410)
    return SnoozeLink(cluster, user, _EPOCH + int(idle_since) * _MICROSECOND)


def may_change(cluster: Cluster, user: User) -> bool:
    """Whether a person may change a cluster now, signed in or not."""
    roles = role_in(cluster.workspace, user) if cluster.workspace.status == WorkspaceStatus.READY else None
    return bool(roles and Perm.CLUSTER_EDIT in workspace_permissions(roles[1]) and not lockout.is_locked(user))
