"""The form of a new workspace asks its cloud before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from django.test import Client
from django.urls import reverse

from portal.clouds.base import Check, CloudError, WorkspaceSpec
from tests.fakes import FakeCloud
from tests.pages.world import Tenants
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def cloud(fake_cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    monkeypatch.setattr(fake_cloud, "features", replace(fake_cloud.features, workspace_checks=True), raising=False)
    return fake_cloud


def answer(cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch, *checks: Check) -> list[WorkspaceSpec]:
    asked: list[WorkspaceSpec] = []

    def check(spec: WorkspaceSpec) -> Sequence[Check]:
        asked.append(spec)
        return checks

    monkeypatch.setattr(cloud, "check_workspace", check, raising=False)
    return asked


def send(tenants: Tenants, action: str) -> tuple[int, str]:
    client: Client = tenants.client("owner")
    form = {"name": "Fresh", "cloud_configuration": str(tenants.configuration.pk), "region": "", "action": action}
    response = client.post(reverse("workspaces:new", args=[tenants.acme.pk]), form)
    return response.status_code, response.content.decode()


def made() -> bool:
    return Workspace.objects.filter(name="Fresh").exists()


def test_check_shows_what_the_cloud_says_and_makes_nothing(
    tenants: Tenants, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer(cloud, monkeypatch, Check("VPCs", True, "5 allowed, 2 used."))
    status, text = send(tenants, "check")
    assert status == 200
    assert "5 allowed, 2 used." in text
    assert [spec.name for spec in asked] == ["Fresh"]
    assert not made()


def test_create_stops_where_a_check_fails_and_keeps_what_was_typed(
    tenants: Tenants, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(cloud, monkeypatch, Check("VPCs", False, "5 allowed, 5 used.", "Ask AWS for more."))
    status, text = send(tenants, "create")
    assert status == 422
    assert "Ask AWS for more." in text
    assert 'value="Fresh"' in text
    assert not made()


def test_create_goes_on_where_all_is_well(tenants: Tenants, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(cloud, monkeypatch, Check("VPCs", True, "5 allowed."))
    assert send(tenants, "create")[0] == 302
    assert len(asked) == 1
    assert made()


def test_a_cloud_that_cannot_answer_is_a_check_that_failed(
    tenants: Tenants, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(spec: WorkspaceSpec) -> Sequence[Check]:
        raise CloudError("Throttled", "Too many requests.", "Wait.")

    monkeypatch.setattr(cloud, "check_workspace", refuse, raising=False)
    status, text = send(tenants, "create")
    assert status == 422
    assert "Too many requests." in text
    assert not made()


def test_a_cloud_without_checks_is_not_asked(
    tenants: Tenants, fake_cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answer(fake_cloud, monkeypatch, Check("VPCs", False, "no"))
    page = tenants.client("owner").get(reverse("workspaces:new", args=[tenants.acme.pk])).content.decode()
    assert 'value="check"' not in page
    assert send(tenants, "create")[0] == 302
    assert asked == []
