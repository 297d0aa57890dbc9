"""What a region offers is asked for by a worker and kept, and nobody waits for it."""

from __future__ import annotations

import pytest

from accounts.models import AuditEvent
from portal.clouds.base import CloudError, Features, InstanceType
from tests.factories import actor, make_configuration, make_organization, make_workspace
from tests.fakes import FakeCloud, Killed, Workers, denied, throttled
from tests.jobs.flow import survive
from workspaces import offers, services, services_offers
from workspaces.models import Offers, Workspace

DAY = 24 * 3600.0


@pytest.fixture
def slow(fake_cloud: FakeCloud) -> FakeCloud:
    """A cloud that takes seconds to say what it has, for two regions."""
    fake_cloud.looks = fake_cloud.going = 0
    fake_cloud.catalogue_seconds, fake_cloud.features = DAY, Features(zones=True)
    fake_cloud.region_zones = ["a", "b", "c"]
    return fake_cloud


@pytest.fixture
def workspace(slow: FakeCloud, workers: Workers) -> Workspace:
    return make_workspace(make_organization())


def asked(cloud: FakeCloud) -> int:
    return cloud.count("instance-types")


def names(workspace: Workspace) -> list[str]:
    return [kind.name for kind in offers.types_of(workspace.cloud_configuration, workspace.region)]


def test_a_cloud_that_answers_at_once_is_asked_each_time(fake_cloud: FakeCloud, workers: Workers) -> None:
    workspace = make_workspace(make_organization())
    assert names(workspace) == ["local.1x", "local.2x", "local.4x"]
    fake_cloud.kinds = [InstanceType("new", 1, 1, 1)]
    assert names(workspace) == ["new"]
    found = offers.on_offer(workspace)
    assert (found.fetching, found.error, found.key) == (False, None, None)
    assert not Offers.objects.exists()


def test_it_is_asked_for_when_a_workspace_becomes_ready(slow: FakeCloud, workers: Workers) -> None:
    organization = make_organization()
    workspace = workers.do(
        lambda: services.create_workspace(
            actor=actor(),
            organization=organization,
            name="w",
            cloud_configuration=make_configuration(organization),
            region="local",
        )
    )
    workers.work()
    workspace.refresh_from_db()
    assert workspace.status == "READY"
    assert asked(slow) == 1
    found = offers.on_offer(workspace)
    assert [kind.name for kind in found.types] == ["local.1x", "local.2x", "local.4x"]
    assert (found.zones, found.fetching, found.error) == (["a", "b", "c"], False, None)
    assert asked(slow) == 1


def test_who_asks_first_has_it_fetched(slow: FakeCloud, workers: Workers, workspace: Workspace) -> None:
    found = workers.do(lambda: offers.on_offer(workspace))
    assert (found.fetching, list(found.types), found.error) == (True, [], None)
    with pytest.raises(CloudError, match="OffersNotKnown"):
        offers.types_of(workspace.cloud_configuration, workspace.region)
    assert asked(slow) == 0  # no page waits for it
    workers.work()
    assert names(workspace) == ["local.1x", "local.2x", "local.4x"]
    assert asked(slow) == 1


def test_an_emptied_queue_and_a_killed_worker_cost_seconds(
    slow: FakeCloud, workers: Workers, workspace: Workspace
) -> None:
    workers.do(lambda: offers.on_offer(workspace))
    workers.sent.clear()
    slow.fault(Killed, "instance-types")
    survive(workers, 60)
    assert names(workspace) == ["local.1x", "local.2x", "local.4x"]


def test_it_is_asked_for_again_each_day_as_long_as_somebody_wants_it(
    slow: FakeCloud, workers: Workers, workspace: Workspace
) -> None:
    workers.do(lambda: offers.on_offer(workspace))
    workers.work()
    slow.kinds = [InstanceType("new", 1, 1, 1)]
    workers.work(seconds=DAY - 60)
    assert asked(slow) == 1
    workers.work(seconds=DAY)
    assert (asked(slow), names(workspace)) == (2, ["new"])
    Workspace.objects.update(status="TERMINATED")
    workers.work(seconds=DAY)
    assert asked(slow) == 2
    assert Offers.objects.get().settled
    Workspace.objects.update(status="READY")
    workers.do(lambda: offers.on_offer(workspace))
    workers.work()
    assert asked(slow) == 3


def test_what_the_cloud_said_instead_is_told(slow: FakeCloud, workers: Workers, workspace: Workspace) -> None:
    slow.fault(denied, "instance-types")
    workers.do(lambda: offers.on_offer(workspace))
    workers.work(seconds=60)
    found = offers.on_offer(workspace)
    assert found.error is not None
    assert (found.error.code, found.error.message, found.fetching) == (
        "AccessDenied",
        "The role may not do this.",
        False,
    )
    with pytest.raises(CloudError, match="AccessDenied"):
        offers.types_of(workspace.cloud_configuration, workspace.region)
    workers.work(seconds=1000)  # after a quarter of an hour by itself
    assert offers.on_offer(workspace).error is None
    assert len(names(workspace)) == 3


def test_a_list_that_is_there_outlives_a_failure(slow: FakeCloud, workers: Workers, workspace: Workspace) -> None:
    workers.do(lambda: offers.on_offer(workspace))
    workers.work()
    slow.fault(throttled, "instance-types", times=100)
    workers.work(seconds=DAY + 120)
    found = offers.on_offer(workspace)
    assert found.error is not None
    assert found.error.code == "Throttled"
    assert len(found.types) == 3
    assert len(names(workspace)) == 3


def test_people_can_ask_again(slow: FakeCloud, workers: Workers, workspace: Workspace) -> None:
    slow.fault(denied, "instance-types")
    workers.do(lambda: offers.on_offer(workspace))
    workers.work(seconds=60)
    workers.do(lambda: services_offers.refresh(actor=actor(), workspace=workspace))
    assert offers.on_offer(workspace).fetching
    workers.work(seconds=60)
    assert len(names(workspace)) == 3
    assert AuditEvent.objects.filter(verb="workspace.refresh_offers").count() == 1


def test_a_workspace_has_the_zones_that_it_lies_in(slow: FakeCloud, workers: Workers, workspace: Workspace) -> None:
    slow.workspace_zones = ["b", "c", "d"]
    workers.do(lambda: offers.on_offer(workspace))
    workers.work()
    assert offers.on_offer(workspace).zones == ["b", "c"]


def test_two_accounts_do_not_share_a_list(slow: FakeCloud, workers: Workers, workspace: Workspace) -> None:
    other = make_workspace(make_organization())
    workers.do(lambda: offers.on_offer(workspace))
    workers.do(lambda: offers.on_offer(other))
    workers.do(lambda: offers.on_offer(other))
    workers.work()
    assert (asked(slow), Offers.objects.count()) == (2, 2)
