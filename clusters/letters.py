"""The mails about clusters. Posted within the transaction of what they tell about."""

from __future__ import annotations

from datetime import datetime

from django.conf import settings

from accounts import letters
from accounts.models import User
from clusters import snooze_links
from clusters.idleness import Outlook
from clusters.models import Cluster

_WHAT = {
    "pause": "paused: its machines are removed, its disks are kept, and it can be resumed",
    "stop": "stopped: its machines and disks are removed, its definition stays, and it can be resumed",
}


def idle(*, person: User, cluster: Cluster, outlook: Outlook, at: datetime) -> None:
    """To who last used a cluster that will be paused or stopped."""
    letters.send(
        person.email,
        f"{cluster.name} will be {'paused' if outlook.action == 'pause' else 'stopped'} at {at:%H:%M} UTC",
        f"The cluster {cluster.name} in the workspace {cluster.workspace} was last used at "
        f"{cluster.last_activity_at:%Y-%m-%d %H:%M} UTC. At {at:%Y-%m-%d %H:%M} UTC, after {outlook.minutes} minutes "
        f"without a job, it will be {_WHAT[outlook.action]}. If that is fine, do nothing.",
        "To let it run on, open this link and choose for how long. You need not be signed in, and nothing happens "
        "until you press the button there:",
        snooze_links.link_to(cluster, person),
        "It is for you alone, works for a day, and until the cluster is used again. The cluster's page:",
        settings.SITE_URL + cluster.get_absolute_url(),
    )
