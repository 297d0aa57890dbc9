"""What becomes of servers that nobody uses, or whose owner lost the right to them. Acts as the system."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.sessions.models import Session
from django.db.models import DateTimeField, DurationField, ExpressionWrapper, F, Value
from django.utils import timezone

from accounts import audit
from accounts.permissions import Perm, workspace_permissions
from notebooks import services
from notebooks.models import NotebookServer, NotebookTicket, NotebookVisit, S
from notebooks.services_entry import TICKET_SECONDS
from portal.clouds.base import Target
from workspaces.access import role_in

NOTICE = timedelta(minutes=10)
"""How long before an idle server is stopped its page says so in a notice, beside the countdown."""


def stop_idle() -> int:
    """Stop each server in which nothing happened for its idle time. Returns how many."""
    length = ExpressionWrapper(F("idle_stop_minutes") * Value(timedelta(minutes=1)), output_field=DurationField())
    since = ExpressionWrapper(Value(timezone.now(), output_field=DateTimeField()) - length, DateTimeField())
    rows = NotebookServer.objects.filter(
        status=S.RUNNING, target=Target.RUNNING, due_at=None, busy=False, idle_stop_minutes__gt=0
    )
    count = 0
    for row in rows.filter(last_activity_at__lte=since):
        services.stop(actor=audit.system("notebook was idle"), server=row, idle=True)
        count += 1
    return count


def stop_without_right() -> int:
    """Stop the servers of people who may not use notebooks there any more, and remove those of people who are gone."""
    count = 0
    rows = NotebookServer.objects.exclude(status=S.TERMINATED).exclude(target=Target.TERMINATED)
    for row in rows.select_related("workspace", "user"):
        roles = role_in(row.workspace, row.user) if row.user else None
        if roles is None and (row.user is None or row.user.is_active):
            services.end(actor=audit.system("its owner left"), server=row, reason="its owner is not in the workspace")
            count += 1
        elif (roles is None or Perm.NOTEBOOK_USE not in workspace_permissions(roles[1])) and row.target != "STOPPED":
            services.stop(actor=audit.system("its owner may not use notebooks"), server=row)
            count += 1
    return count


def forget_old() -> None:
    """Tickets that nobody used, and visits whose sign-in is over."""
    NotebookTicket.objects.filter(made_at__lt=timezone.now() - timedelta(seconds=2 * TICKET_SECONDS)).delete()
    sessions = Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    NotebookVisit.objects.exclude(session_key__in=sessions).delete()
