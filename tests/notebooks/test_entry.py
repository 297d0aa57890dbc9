"""Who comes in, and what ends a visit."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
import psutil
import psycopg
import pytest
from django.contrib.sessions.backends.db import SessionStore

from accounts.impersonation import SESSION_KEY
from tests.notebooks.stand import Stand, Visitor, database_url, page
from tests.pages.world import Tenants

pytestmark = [pytest.mark.django_db, pytest.mark.bodo]

SOON = 8.0
"""Seconds: two, and the rest for a busy machine."""


@pytest.fixture(scope="module")
def others(stand: Stand, tenants_of_stand: Tenants) -> dict[str, Visitor]:
    """Everybody else, signed in on the portal. Outside of a test's transaction."""
    return {role: stand.sign_in(person) for role, person in tenants_of_stand.people.items() if role != "inactive"}


@pytest.fixture
def outside() -> Any:
    """A database connection beside the test's transaction."""
    with psycopg.connect(database_url(), autocommit=True) as other:
        yield other


def test_a_ticket_is_good_once_for_its_server_and_for_thirty_seconds(
    stand: Stand, visitor: Visitor, outside: Any
) -> None:
    ticket = stand.ticket(visitor)
    status, headers, _ = stand.redeem(ticket)
    assert status == 303
    cookie = headers["set-cookie"]
    assert f"Path={stand.server.path};" in cookie
    assert {"HttpOnly", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert stand.redeem(ticket)[0] == 403
    old = stand.ticket(visitor)
    outside.execute("UPDATE notebooks_notebookticket SET made_at = made_at - interval '31 seconds'")
    assert stand.redeem(old)[0] == 403
    assert stand.redeem("")[0] == 403
    rows = outside.execute("SELECT key_hash FROM notebooks_notebookvisit").fetchall()
    assert cookie.partition("=")[2].partition(";")[0] not in {row[0] for row in rows}


@pytest.mark.parametrize("origin", ["http://evil.example", "null", ""])
def test_another_site_brings_nobody_in(stand: Stand, visitor: Visitor, origin: str) -> None:
    """Else it would put its own notebook into somebody's browser."""
    status, headers, body = stand.redeem(stand.ticket(visitor), Origin=origin, Accept="text/html")
    assert status == 403
    assert "set-cookie" not in headers
    assert b"Back to Organization" in body


def test_the_notebooks_host_itself_brings_nobody_in(stand: Stand, visitor: Visitor) -> None:
    assert stand.redeem(stand.ticket(visitor), Origin=stand.origin)[0] == 403


def test_nobody_but_the_owner_comes_in(stand: Stand, visitor: Visitor, others: dict[str, Visitor]) -> None:
    """Owner and admin of the organization and of the workspace least of all: their sign-in is no key, and their own
    page leads to their own server."""
    for role, other in others.items():
        if role == "developer":
            continue
        for cookie in (other.portal, other.portal.replace("sessionid", "portal-notebook")):
            status, *_ = stand.get(f"{stand.server.path}lab", Cookie=cookie)
            assert status == 403, role


def test_the_cookie_of_one_server_opens_no_other(stand: Stand, visitor: Visitor) -> None:
    other = "/notebooks/00000000-0000-4000-8000-000000000000/"
    assert stand.get(f"{other}lab", Cookie=visitor.visit)[0] == 403


def test_each_host_serves_its_own_and_nothing_else(stand: Stand, visitor: Visitor) -> None:
    portal = f"127.0.0.1:{stand.port}"
    for path in ("/", "/accounts/login/", "/healthz", "/static/portal/portal.css", f"/w/{stand.server.workspace_id}/"):
        status, headers, body = stand.get(path, Cookie=visitor.portal)
        assert (status, headers["location"], body) == (302, f"http://{portal}/", b"")
        assert stand.request("POST", path, b"x=1", Cookie=visitor.portal)[0] == 404
    assert stand.get("/notebooks/portal.css")[1]["content-type"].startswith("text/css")
    for path in ("lab", "api", "static/favicon.ico", "enter"):
        assert stand.get(stand.server.path + path, host=portal, Cookie=f"{visitor.visit}; {visitor.portal}")[0] == 404


def test_pages_say_what_to_do(stand: Stand) -> None:
    status, headers, body = stand.get(f"{stand.server.path}lab", Accept="text/html")
    assert status == 403
    assert "default-src 'none'" in headers["content-security-policy"]
    assert b"Back to Organization" in body
    assert b"clear your browser" in body
    status, headers, body = stand.get(f"{stand.server.path}api/contents", Accept="application/json")
    assert (status, json.loads(body)["reason"]) == (403, "NotebookForbidden")


def ends(stand: Stand, visitor: Visitor, takes_away: Callable[[], Any], sockets: int = 10) -> float:
    """How long ten open sockets outlive what ends the visit; requests end at once."""

    async def work() -> float:
        async with page(stand, visitor) as lab:
            kernel = await lab.kernel()
            opened = [await lab.channels(kernel, str(number)) for number in range(sockets)]
            assert await lab.run(opened[0], "print(1)") == "1\n"
            began = time.monotonic()
            await asyncio.to_thread(takes_away)
            async with lab.session.get(lab.url("api/kernels")) as answer:
                assert answer.status == 403
            for socket in opened:
                while True:
                    message = await socket.receive(timeout=10)
                    if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                        break
                assert socket.close_code == 4403
            print(f"{sockets} sockets ended within {time.monotonic() - began:.1f} s")
            return time.monotonic() - began

    return asyncio.run(work())


def test_losing_the_workspace_ends_ten_sockets(
    stand: Stand, visitor: Visitor, tenants_of_stand: Tenants, outside: Any
) -> None:
    user, lab = tenants_of_stand.people["developer"].pk, stand.server.workspace_id
    annex = tenants_of_stand.annex.workspace.pk
    where = "WHERE user_id = %s AND workspace_id = %s"

    def move(source: Any, destination: Any) -> None:
        outside.execute(
            f"UPDATE workspaces_workspacemembership SET workspace_id = %s {where}", [destination, user, source]
        )

    def be(role: str) -> None:
        outside.execute(f"UPDATE workspaces_workspacemembership SET role = %s {where}", [role, user, lab])

    try:
        assert ends(stand, visitor, lambda: move(lab, annex)) < SOON
        move(annex, lab)
        assert stand.visit("api/kernels", visitor)[0] == 200
        assert ends(stand, visitor, lambda: be("BodoViewer"), 1) < SOON
    finally:
        move(annex, lab)
        be("BodoDeveloper")
    assert stand.visit("api/kernels", visitor)[0] == 200


def test_whatever_keeps_the_owner_out_of_the_portal_keeps_them_out_here(
    stand: Stand, visitor: Visitor, tenants_of_stand: Tenants, outside: Any
) -> None:
    user, organization = tenants_of_stand.people["developer"].pk, tenants_of_stand.acme.pk
    changes = [
        ("accounts_user", "is_active", "false", user),
        ("accounts_user", "locked_at", "now()", user),
        ("accounts_user", "terms_version", "'1'", user),
        ("accounts_user", "last_login", "now() - interval '91 days'", user),
        ("accounts_organization", "require_second_factor", "true", organization),
        ("accounts_organization", "deleted_at", "now()", organization),
    ]
    outside.execute("UPDATE accounts_user SET date_joined = now() - interval '1 year' WHERE id = %s", [user])
    for table, column, worse, pk in changes:
        before = outside.execute(f"SELECT {column} FROM {table} WHERE id = %s", [pk]).fetchone()[0]
        outside.execute(f"UPDATE {table} SET {column} = {worse} WHERE id = %s", [pk])
        try:
            assert stand.visit("api/kernels", visitor)[0] == 403, column
        finally:
            outside.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [before, pk])
        assert stand.visit("api/kernels", visitor)[0] == 200, column


def test_signing_out_and_a_new_password_end_it_here(
    stand: Stand, visitor: Visitor, tenants_of_stand: Tenants, outside: Any
) -> None:
    user = tenants_of_stand.people["developer"].pk
    again = _enter_outside(stand, outside)
    token = again.portal.partition("csrftoken=")[2]

    def sign_out() -> None:
        form = urlencode({"csrfmiddlewaretoken": token})
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        host = f"127.0.0.1:{stand.port}"
        assert stand.request("POST", "/accounts/logout/", form, host=host, Cookie=again.portal, **kind)[0] == 302

    assert ends(stand, again, sign_out, 2) < SOON
    again = _enter_outside(stand, outside)
    before = outside.execute("SELECT password FROM accounts_user WHERE id = %s", [user]).fetchone()[0]
    kept = outside.execute("SELECT * FROM django_session").fetchall()
    try:
        outside.execute("UPDATE accounts_user SET password = 'another' WHERE id = %s", [user])
        assert stand.visit("api/kernels", again)[0] == 403
    finally:
        outside.execute("UPDATE accounts_user SET password = %s WHERE id = %s", [before, user])
    for row in kept:
        outside.execute("INSERT INTO django_session VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", row)


def test_staff_who_act_as_the_owner_do_not_come_in(stand: Stand, outside: Any) -> None:
    """Neither with a session that becomes theirs, nor through the portal's page."""
    again = _enter_outside(stand, outside)
    assert stand.visit("api/kernels", again)[0] == 200
    key = again.portal.partition("=")[2].partition(";")[0]
    session = SessionStore(key)
    data = session.encode({**session.load(), SESSION_KEY: 1})
    outside.execute("UPDATE django_session SET session_data = %s WHERE session_key = %s", [data, key])
    assert stand.visit("api/kernels", again)[0] == 403


def _enter_outside(stand: Stand, outside: Any) -> Visitor:
    """Another sign-in of the owner's, copied from the one there is: ours would be in the test's transaction."""
    data, expires = outside.execute(
        "SELECT s.session_data, s.expire_date FROM django_session s "
        "JOIN notebooks_notebookvisit v ON v.session_key = s.session_key LIMIT 1"
    ).fetchone()
    copied = uuid.uuid4().hex
    outside.execute("INSERT INTO django_session VALUES (%s, %s, %s)", [copied, data, expires])
    status, headers, _ = stand.get("/organizations/new/", host=f"127.0.0.1:{stand.port}", Cookie=f"sessionid={copied}")
    assert status == 200
    token = headers["set-cookie"].partition("csrftoken=")[2].partition(";")[0]
    visitor = Visitor(f"sessionid={copied}; csrftoken={token}")
    _, headers, _ = stand.redeem(stand.ticket(visitor))
    visitor.visit = headers["set-cookie"].partition(";")[0]
    return visitor


def test_two_hundred_idle_sockets_cost_less_than_100_mb(stand: Stand, visitor: Visitor) -> None:
    assert stand.process is not None
    web = psutil.Process(stand.process.pid)

    async def work() -> tuple[int, int]:
        async with page(stand, visitor) as lab:
            url = lab.url("api/events/subscribe")  # of Jupyter's own; one to a kernel would keep the kernel busy
            warm = [await lab.session.ws_connect(url) for _ in range(5)]
            before = web.memory_info().rss
            opened = await asyncio.gather(*(lab.session.ws_connect(url) for _ in range(200)))
            await asyncio.sleep(2.5)  # a round of questions
            after = web.memory_info().rss
            for socket in (*warm, *opened):
                assert not socket.closed
            return before, after

    before, after = asyncio.run(work())
    print(f"200 sockets: {(after - before) / 1e6:.1f} MB")
    assert after - before < 100e6


def test_a_killed_server_is_a_502_with_a_way_on_and_starts_again(
    stand: Stand, visitor: Visitor, outside: Any, django_db_blocker: Any
) -> None:
    from portal.clouds.local import kernel

    for who in kernel.marked(f"PORTAL_LAB={stand.files.parent / 'notebooks' / str(stand.server.pk)}"):
        kernel.send(who, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while (answer := stand.visit("lab", visitor, Accept="text/html"))[0] == 200:
        assert time.monotonic() < deadline
    assert answer[0] == 502
    assert b"update it there, then restart it" in answer[2]
