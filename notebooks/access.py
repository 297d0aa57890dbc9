"""Who may use a notebook server through the proxy, asked at every request and every two seconds of an open socket.

``look`` is the whole question, as a page would put it: does the sign-in stand from which the visit came, is it the
owner's own, is the owner still in the workspace with the right to notebooks, does the server run. It takes several
queries. So ``Gate`` puts it only when an answer is two seconds old, or when anything has changed on which the answer
depends: that is one statement, at every request.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from uuid import UUID

from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.http import Http404, HttpRequest

from accounts.impersonation import SESSION_KEY
from accounts.permissions import Perm, workspace_permissions
from accounts.sessions import let_in
from notebooks.models import NotebookVisit, S
from notebooks.services_entry import hash_of
from portal.clouds.base import CloudError, NotebookAddress, Target
from portal.crypto import unseal
from portal.errors import PermissionNeededError, UserError
from workspaces.access import enter_workspace
from workspaces.clouds import cloud_of

LOOK_AGAIN_SECONDS = 2.0
_KEPT = 5000

FINGERPRINT = """
SELECT md5(concat_ws('|', s.session_data, u.password, u.is_active, u.locked_at, u.last_login, u.unlocked_at,
    u.terms_version, m.role, o.deleted_at, o.require_second_factor, wm.role, w.status, n.status, n.target, n.revision,
    n.due_at IS NULL, n.handle, (SELECT count(*) FROM mfa_authenticator a WHERE a.user_id = u.id)))
FROM notebooks_notebookvisit v
JOIN notebooks_notebookserver n ON n.id = v.server_id
JOIN django_session s ON s.session_key = v.session_key AND s.expire_date > now()
JOIN accounts_user u ON u.id = n.user_id
JOIN workspaces_workspace w ON w.id = n.workspace_id
JOIN accounts_organization o ON o.id = w.organization_id
LEFT JOIN accounts_membership m ON m.user_id = u.id AND m.organization_id = o.id
LEFT JOIN workspaces_workspacemembership wm ON wm.user_id = u.id AND wm.workspace_id = w.id
WHERE v.key_hash = %s AND n.id = %s
"""
"""One row where the visit and its sign-in stand, none where not; all on which the answer depends is in its text."""


class Refusal(Exception):  # noqa: N818 - it is an answer
    """Why a request does not reach a notebook server: for a page, or for JupyterLab's own dialog."""

    def __init__(self, status: int, code: str, message: str, hint: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code, self.message, self.hint = status, code, message, hint


@dataclass(frozen=True)
class Upstream:
    """Where a server listens, and the secret that it asks for."""

    address: NotebookAddress
    secret: str


def stale() -> Refusal:
    """403: the visit is over, or was never one."""
    return Refusal(
        403,
        "NotebookForbidden",
        "This page was opened with a sign-in, or for a workspace, that does not fit any more.",
        "Go back to the organization with “Back to Organization”, enter the workspace again, and open “My notebook”. "
        "If that does not help, clear your browser's cache and sign in again.",
    )


def not_running(status: str, stopped_by: str = "") -> Refusal:
    """404 for a server that was stopped, 502 for one that should be there."""
    if stopped_by == "idle":
        what = "The notebook server was stopped, because nothing ran in it for a while."
    elif status in (S.STOPPED, S.STOPPING):
        what = "The notebook server is stopped."
    elif status in (S.NEW, S.INPROGRESS):
        what = "The notebook server is starting."
    else:
        what = "The notebook server is not there."
    hint = "Open “My notebook” in the portal and start it. If it fails again, update it there, then restart it."
    gone = status in (S.STOPPED, S.STOPPING, S.TERMINATING, S.TERMINATED)
    return Refusal(404 if gone else 502, "NotebookNotRunning", what, hint)


class Gate:
    """Answers for many requests. Blocking: to be asked in a thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, UUID], tuple[str, float, Upstream]] = OrderedDict()
        self._lock = Lock()

    def ask(self, key: str, server_id: UUID) -> Upstream:
        """Where to send a request of a visit. Raises Refusal."""
        if not key:
            raise stale()
        hashed = hash_of(key)
        now = time.monotonic()  # before the question: what changes after it must be seen by the next
        with connection.cursor() as cursor:
            cursor.execute(FINGERPRINT, [hashed, server_id])
            found = cursor.fetchone()
        if found is None:
            raise stale()
        fingerprint: str = found[0]
        with self._lock:
            known = self._known.get((hashed, server_id))
        if known and known[0] == fingerprint and now - known[1] < LOOK_AGAIN_SECONDS:
            return known[2]
        upstream = look(hashed, server_id)
        with self._lock:
            self._known[hashed, server_id] = (fingerprint, now, upstream)
            self._known.move_to_end((hashed, server_id))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return upstream


def look(hashed: str, server_id: UUID) -> Upstream:
    """The whole question. Raises Refusal."""
    rows = NotebookVisit.objects.filter(key_hash=hashed, server_id=server_id)
    visit = rows.select_related("server__workspace__cloud_configuration").first()
    if visit is None:
        raise stale()
    request = HttpRequest()
    request.session = SessionStore(visit.session_key)
    if SESSION_KEY in request.session or not let_in(request):
        raise stale()
    server = visit.server
    if server.user_id is None or server.user_id != request.user.pk:
        raise stale()
    try:
        workspace, _, role = enter_workspace(request, server.workspace_id)
    except (Http404, PermissionNeededError, UserError):
        raise stale() from None
    if Perm.NOTEBOOK_USE not in workspace_permissions(role):
        raise stale()
    if server.status != S.RUNNING or server.target != Target.RUNNING or server.due_at is not None:
        raise not_running(server.status, server.stopped_by)
    try:
        address = cloud_of(workspace.cloud_configuration).notebook_address(server.handle)
    except CloudError as error:
        raise Refusal(502, error.code, error.message, error.hint) from error
    return Upstream(address, unseal(server.sealed)["secret"])


def worked(server_id: UUID) -> None:
    """Note that its owner did something in a server: saved a file, started a kernel. One write a minute at most."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE notebooks_notebookserver SET last_activity_at = now() "
            "WHERE id = %s AND status = 'RUNNING' AND last_activity_at < now() - interval '1 minute'",
            [server_id],
        )
