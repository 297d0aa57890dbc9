"""A cloud configuration that a CloudFormation stack sets up, followed to the end over HTTP against moto."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.urls import reverse
from pytest_django import Settings

from portal import reconcile
from portal.clouds.aws import onboarding
from portal.clouds.base import Settled
from portal.models import DeploymentEvent
from tests.clouds.aws.cloud import CUSTOMER, PLATFORM, Aws
from tests.fakes import Clock, Workers
from tests.pages.world import Tenants
from workspaces import reconcile_configurations
from workspaces.models import CloudConfiguration

pytestmark = pytest.mark.django_db
TEMPLATE = "https://templates.s3.us-east-1.amazonaws.com/bodo.json"


@pytest.fixture
def row(offered: Aws, tenants: Tenants, settings: Settings) -> CloudConfiguration:
    settings.PORTAL_AWS_TEMPLATE_URL = TEMPLATE
    form = {"name": "Finance", "region": "us-east-2", "way": "STACK"}
    new = reverse("workspaces:configuration_new_aws", args=[tenants.acme.pk])
    response = tenants.client("owner").post(new, form)
    return CloudConfiguration.objects.get(pk=response["Location"].split("/")[-2])


def page_of(row: CloudConfiguration) -> str:
    return reverse("workspaces:configuration", args=[row.organization_id, row.pk])


def run(workers: Workers, row: CloudConfiguration) -> None:
    """One worker, at this time, if it is due."""
    reconcile.sweep()
    if ("configuration", str(row.pk)) in workers.sent:
        with workers.capture(execute=True):
            reconcile.run("configuration", str(row.pk))
    workers.sent.clear()


def make_stack(aws: Aws, row: CloudConfiguration) -> None:
    """What the template makes, under the names that the link hands over."""
    work = onboarding.begin(aws.administrator(), str(row.pk), row.external_id or "", PLATFORM)
    handle: dict[str, Any] = {}
    for _ in range(60):
        step = work.advance(handle)
        handle = step.handle
        if isinstance(step.outcome, Settled):
            return


def test_followed_to_the_end(
    offered: Aws, tenants: Tenants, row: CloudConfiguration, workers: Workers, clock: Clock
) -> None:
    owner = tenants.client("owner")
    for wrong in ("", "12345", "12345678901a", "１２３４５６７８９０１２"):
        assert owner.post(page_of(row), {"account": wrong}).status_code == 422
    assert owner.post(page_of(row), {"account": CUSTOMER}).status_code == 302
    page = owner.get(page_of(row)).content.decode()
    found = re.search(r'href="(https://us-east-2\.console[^"]+)" target="_blank" rel="noopener noreferrer"', page)
    assert found
    query = parse_qs(unescape(found[1]).partition("quickcreate?")[2])
    assert query["templateURL"] == [TEMPLATE]
    assert query["param_ExternalId"] == [row.external_id]
    assert query["param_PlatformAccount"] == [PLATFORM]
    assert query["stackName"] == [row.resource_name]
    run(workers, row)
    row.refresh_from_db()
    assert row.status == "CREATING"
    assert row.due_at
    assert "Waiting for the stack" in DeploymentEvent.objects.of(row.pk)[0].message
    clock.move(seconds=10)
    run(workers, row)
    assert DeploymentEvent.objects.of(row.pk).count() == 1, "the same is not said twice"
    make_stack(offered, row)
    clock.move(seconds=10)
    run(workers, row)
    row.refresh_from_db()
    assert (row.status, row.failure_message) == ("READY", "")
    assert CloudConfiguration.objects.filter(pk=row.pk, due_at=None).exists()
    assert row.account == CUSTOMER
    assert row.checks
    assert f"All {len(row.checks)} passed" in owner.get(page_of(row)).content.decode()


def test_a_stack_that_nobody_makes_is_not_waited_for_for_ever(
    offered: Aws,
    tenants: Tenants,
    row: CloudConfiguration,
    workers: Workers,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = tenants.client("owner")
    owner.post(page_of(row), {"account": "333333333333"})
    run(workers, row)
    monkeypatch.setattr(reconcile_configurations, "GIVES_UP", -1.0)
    clock.move(seconds=10)
    run(workers, row)
    row.refresh_from_db()
    assert (row.status, row.failure_code) == ("FAILED", "StackNotFinished")
    monkeypatch.undo()
    page = owner.get(page_of(row)).content.decode()
    assert "Open the link and make the stack" in page


def test_another_account_starts_over(offered: Aws, tenants: Tenants, row: CloudConfiguration, workers: Workers) -> None:
    owner = tenants.client("owner")
    owner.post(page_of(row), {"account": "333333333333"})
    run(workers, row)
    owner.post(page_of(row), {"account": CUSTOMER})
    row.refresh_from_db()
    assert (row.account, row.handle) == (CUSTOMER, {})
    owner.post(reverse("workspaces:configuration_delete", args=[row.organization_id, row.pk]))
    row.refresh_from_db()
    assert row.due_at is None, "nobody looks for it any more"
