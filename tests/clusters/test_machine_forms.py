"""The forms that ask for machines: hundreds of types, a list that is still on its way, and the launch doctor."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from clusters.models import Cluster
from portal.clouds.base import Check, Features, InstanceType, Target
from tests.factories import make_cluster, make_instance_role, make_organization, make_user, make_workspace
from tests.fakes import FakeCloud, Workers, denied, throttled
from workspaces import doctor, offers
from workspaces.models import Workspace

FIELDS = {
    "name": "fresh",
    "instance_type": "local.1x",
    "instances": "2",
    "release": "2026.10",
    "auto_pause_minutes": "0",
    "auto_stop_minutes": "0",
    "description": "typed and kept",
}
MANY = [
    InstanceType(f"{family}{number}.{size}xlarge", 4 * size, 2 * size, 8192 * size, accelerated_networking=size > 16)
    for number in range(10)
    for family in "cmri"
    for size in range(1, 21)
]
"""As many as AWS offers in a region."""


@pytest.fixture
def workspace(fake_cloud: FakeCloud, workers: Workers) -> Workspace:
    return make_workspace(make_organization(make_user("alice")))


@pytest.fixture
def client(workspace: Workspace) -> Client:
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(
        workspace.organization.memberships.get().user, "allauth.account.auth_backends.AuthenticationBackend"
    )
    return client


@pytest.fixture
def aws_like(fake_cloud: FakeCloud) -> FakeCloud:
    fake_cloud.features = Features(spot=True, zones=True, instance_roles=True, fast_network="EFA")
    fake_cloud.catalogue_seconds, fake_cloud.kinds = 3600.0, list(MANY)
    return fake_cloud


def new(client: Client, workspace: Workspace, status: int = 200, **fields: Any) -> str:
    where = f"/w/{workspace.pk}/clusters/new/"
    response = client.post(where, {**FIELDS, **fields}) if fields else client.get(where)
    assert response.status_code == status
    return response.content.decode()


def fetched(workers: Workers, workspace: Workspace) -> None:
    workers.do(lambda: offers.on_offer(workspace))
    workers.work(seconds=60)


def test_nobody_is_asked_for_what_is_not_there(client: Client, workspace: Workspace) -> None:
    page = new(client, workspace)
    assert re.search(r"local.1x · 1 core · 1 GiB · 0.\d+ USD/h", page)
    for name in ("spot", "zone", "instance_role"):
        assert f'name="{name}"' not in page
    assert "optgroup" not in page
    assert "Refresh" not in page


def test_hundreds_of_types_are_grouped_and_say_what_they_are(
    client: Client,
    workspace: Workspace,
    workers: Workers,
    aws_like: FakeCloud,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    fetched(workers, workspace)
    new(client, workspace)
    with django_assert_num_queries(10):
        page = new(client, workspace)
    assert aws_like.count("instance-types") == 1
    assert len(MANY) == 800
    assert page.count("<option") == 800 + 1 + 1 + 2 + 1  # with the empty one, a release, zones and the workspace's role
    groups = re.findall(r'<optgroup label="(\w+)">(.*?)</optgroup>', page)
    assert [name for name, _ in groups][:3] == ["c0", "c1", "c2"]
    assert re.findall(r'value="([^"]+)"', groups[0][1])[:3] == ["c0.1xlarge", "c0.2xlarge", "c0.3xlarge"]
    assert "c0.20xlarge · 80 vCPU · 40 cores · 160 GiB · EFA · 0.1 USD/h" in page
    assert "800 types, as of" in page
    assert '<option value="" selected>Choose an instance type' in page


def test_a_list_that_is_on_its_way_says_so_and_comes_by_itself(
    client: Client, workspace: Workspace, workers: Workers, aws_like: FakeCloud
) -> None:
    page = workers.do(lambda: new(client, workspace))
    assert "The list of instance types is being fetched" in page
    key = offers.on_offer(workspace).key
    assert f'data-live="offers-{key}"' in page
    look = {**FIELDS, "action": "look", "waiting": "1"}
    where = f"/w/{workspace.pk}/clusters/new/"
    assert client.post(where, look).status_code == 204  # nothing to swap under somebody's hands
    page = client.post(where, {**look, "waiting": ""}).content.decode()  # without scripts
    assert "being fetched" in page
    assert "This field is required" not in page
    assert "Choose an instance type" in new(client, workspace, 422, instance_type="")
    workers.work()
    page = client.post(where, look).content.decode()
    assert "being fetched" not in page
    assert "typed and kept" in page
    assert page.count("<optgroup") == 40


def test_a_list_that_does_not_come_says_why_and_can_be_asked_for_again(
    client: Client, workspace: Workspace, workers: Workers, aws_like: FakeCloud
) -> None:
    aws_like.fault(denied, "instance-types")
    fetched(workers, workspace)
    page = new(client, workspace)
    assert "Most often the credentials of the cloud configuration were not entered properly" in page
    assert "The role may not do this. Ask the account&#x27;s owner." in page
    page = workers.do(lambda: new(client, workspace, action="refresh"))
    assert "being fetched" in page
    assert "typed and kept" in page
    workers.work()
    assert "c0.20xlarge" in new(client, workspace)


def test_spot_and_auto_pause_do_not_go_together(
    client: Client, workspace: Workspace, workers: Workers, aws_like: FakeCloud
) -> None:
    fetched(workers, workspace)
    role = make_instance_role(workspace)
    chosen = {"instance_type": "c0.1xlarge", "spot": "on", "zone": "local-a", "instance_role": str(role.pk)}
    page = new(client, workspace, 422, **chosen, auto_pause_minutes="60")
    assert "A spot cluster cannot pause. Set this to 0, and use auto-stop." in page
    new(client, workspace, 302, **chosen)
    cluster = Cluster.objects.get()
    assert (cluster.spot, cluster.zone, cluster.instance_role) == (True, "local-a", role)


def test_roles_on_offer_are_the_workspaces_active_ones(
    client: Client, workspace: Workspace, workers: Workers, aws_like: FakeCloud
) -> None:
    fetched(workers, workspace)
    sister = make_workspace(workspace.organization, workspace.cloud_configuration)
    here, failed, there = (
        make_instance_role(workspace),
        make_instance_role(workspace, status="FAILED"),
        make_instance_role(sister),
    )
    page = new(client, workspace)
    assert [row.name in page for row in (here, failed, there)] == [True, False, False]
    new(client, workspace, 422, instance_type="c0.1xlarge", instance_role=str(there.pk))


def test_what_a_stopped_cluster_has_stays_a_choice(
    client: Client, workspace: Workspace, workers: Workers, aws_like: FakeCloud
) -> None:
    fetched(workers, workspace)
    cluster = make_cluster(
        workspace,
        status="STOPPED",
        target=Target.STOPPED,
        instance_type="old.1x",
        release="2025.1",
        zone="gone",
        spot=True,
    )
    where = f"/w/{workspace.pk}/clusters/{cluster.pk}/edit/"
    page = client.get(where).content.decode()
    assert '<option value="old.1x" selected>old.1x · not on offer any more' in page
    changed = {**FIELDS, "instance_type": "old.1x", "release": "2025.1", "zone": "gone", "spot": "on", "name": "n"}
    response = client.post(where, changed)
    assert response.status_code == 302, response.content.decode()
    page = client.get(f"/w/{workspace.pk}/clusters/{cluster.pk}/").content.decode()
    assert "never: spot clusters cannot pause" in page


# --- the launch doctor ----------------------------------------------------------------------------------------------

SHORT = [
    Check("vCPU quota", False, "32 more are needed, 8 are left.", "Ask AWS for more."),
    Check("Price", True, "0.4 USD per hour."),
]


def test_check_shows_what_the_cloud_says_and_makes_nothing(
    client: Client, workspace: Workspace, fake_cloud: FakeCloud
) -> None:
    fake_cloud.stands_in_the_way = SHORT
    page = new(client, workspace, action="check")
    assert "32 more are needed, 8 are left." in page
    assert "Ask AWS for more." in page
    assert "0.4 USD per hour." in page
    assert "typed and kept" in page
    (spec,) = fake_cloud.asked
    assert (spec.name, spec.instances, spec.workspace.id) == ("fresh", 2, str(workspace.pk))  # type: ignore[union-attr]
    fake_cloud.stands_in_the_way = []
    assert "Nothing stands in the way." in new(client, workspace, action="check")
    assert not Cluster.objects.exists()


def test_create_is_stopped_by_a_check_that_failed(client: Client, workspace: Workspace, fake_cloud: FakeCloud) -> None:
    fake_cloud.stands_in_the_way = SHORT
    page = new(client, workspace, 422, action="create")
    assert doctor.STOPPED in page
    assert "32 more are needed, 8 are left." in page
    assert "0.4 USD per hour." in page
    assert "typed and kept" in page
    assert not Cluster.objects.exists()
    fake_cloud.stands_in_the_way = SHORT[1:]
    new(client, workspace, 302, action="create")
    assert Cluster.objects.exists()


def test_a_cloud_that_will_not_say_is_a_check_that_failed(
    client: Client, workspace: Workspace, fake_cloud: FakeCloud
) -> None:
    fake_cloud.fault(throttled, "check-cluster")
    page = new(client, workspace, 422, action="create")
    assert "Too many requests." in page
    assert "typed and kept" in page
    fake_cloud.fault(RuntimeError, "check-cluster")
    assert "The portal made a mistake" in new(client, workspace, 422, action="create")
    new(client, workspace, 302, action="create")
