"""The open pages of somebody who is removed: their event stream ends within the time that the documentation promises.

Time is the test's own: it passes where the stream waits for messages, and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.test import Client, RequestFactory

from accounts import services_people, sessions
from accounts.access import enter
from accounts.models import Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from portal import events
from tests.factories import (
    actor,
    add_to_organization,
    add_to_workspace,
    make_organization,
    make_user,
    make_workspace,
)
from workspaces import services_members
from workspaces.access import enter_workspace

pytestmark = pytest.mark.django_db
PROMISED_SECONDS = 2.0
REMOVED_AT = 5.0


@dataclass
class Channel:
    """Valkey and the clock: a message comes every ``every`` seconds, and at ``REMOVED_AT`` something happens."""

    every: float
    happens: Callable[[], object]
    now: float = 0.0
    waits: int = 0

    def time(self) -> float:
        return self.now

    def pubsub(self, **_: object) -> Any:
        @asynccontextmanager
        async def subscription() -> AsyncIterator[Channel]:
            yield self

        return subscription()

    async def subscribe(self, *_: object) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do."""

    async def get_message(self, timeout: float) -> dict[str, bytes] | None:
        following = (self.now // self.every + 1) * self.every
        before, self.now = self.now, min(self.now + timeout, following)
        self.waits += 1
        assert self.waits < 1000, "it waits for nothing"
        if before < REMOVED_AT <= self.now:
            await sync_to_async(self.happens)()
        return {"data": b"cluster-1"} if self.now == following else None


def last(
    monkeypatch: pytest.MonkeyPatch, channel: Channel, user: User, organization: Organization, check: Callable[..., Any]
) -> float:
    """When the stream of a page of that user ends."""
    browser = Client()
    browser.force_login(user)
    request = RequestFactory().get("/")
    request.session, request.user = browser.session, user
    monkeypatch.setattr("portal.events.aioredis.Redis.from_url", lambda _: channel)
    clock = SimpleNamespace(get_running_loop=lambda: channel, CancelledError=asyncio.CancelledError)
    monkeypatch.setattr(events, "asyncio", clock)
    monkeypatch.setattr(events, "close_old_connections", lambda: None)  # it would be that of the test's transaction

    async def follow() -> float:
        async for _ in events._events(organization.pk, sessions.still(request, check)):
            assert channel.now < REMOVED_AT + 60, "it goes on"
        return channel.now

    return async_to_sync(follow)()


@pytest.mark.parametrize(
    "every", [1000.0, 0.25, 1.875, 2.0], ids=["quiet", "busy", "just before it asks", "as it asks"]
)
@pytest.mark.parametrize("from_what", ["the organization", "a workspace"])
def test_a_stream_ends_in_time(monkeypatch: pytest.MonkeyPatch, every: float, from_what: str) -> None:
    owner, member = make_user("owner"), make_user("member")
    organization = make_organization(owner)
    add_to_organization(organization, member, OrganizationRole.MEMBER)
    workspace = make_workspace(organization)
    add_to_workspace(workspace, member, WorkspaceRole.VIEWER)

    def remove() -> None:
        if from_what == "the organization":
            services_people.remove_member(actor=actor(owner), organization=organization, user=member)
        else:
            services_members.remove_workspace_member(actor=actor(owner), workspace=workspace, user=member)

    def check(request: Any) -> object:
        in_workspace = from_what == "a workspace"
        return enter_workspace(request, workspace.pk) if in_workspace else enter(request, organization.pk)

    ended = last(monkeypatch, Channel(every, remove), member, organization, check)
    assert REMOVED_AT <= ended <= REMOVED_AT + PROMISED_SECONDS


def test_the_test_would_notice_a_stream_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = make_user("owner")
    organization = make_organization(owner)
    with pytest.raises(AssertionError, match="it goes on"):
        last(
            monkeypatch,
            Channel(0.25, lambda: None),
            owner,
            organization,
            lambda request: enter(request, organization.pk),
        )
