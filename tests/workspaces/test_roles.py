"""Instance roles: registered with the cloud, tried again, taken off again; and who may not delete them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from jobs import services_templates
from jobs.spec import JobSpec, NewCluster
from portal.clouds.base import Features, Target
from portal.errors import UserError
from tests.factories import actor, make_cluster, make_instance_role, make_organization, make_user, make_workspace
from tests.fakes import FakeCloud, Killed, Workers, denied, throttled
from tests.jobs.flow import survive
from workspaces import services, services_roles
from workspaces.models import InstanceRole, Workspace

ARN = "arn:aws:iam::123456789012:role/reader"


@pytest.fixture
def workspace(fake_cloud: FakeCloud, workers: Workers) -> Workspace:
    fake_cloud.looks = fake_cloud.going = 0
    fake_cloud.features = Features(instance_roles=True, role="Role ARN")
    return make_workspace(make_organization(make_user("alice")))


def create(workspace: Workspace, name: str = "reader") -> InstanceRole:
    return services_roles.create_role(actor=actor(), workspace=workspace, name=name, role=ARN)


def now_is(role: InstanceRole) -> tuple[str, str]:
    role.refresh_from_db()
    return role.status, role.failure_code


def things(cloud: FakeCloud, role: InstanceRole) -> list[str]:
    return sorted(key.partition("/")[2] for key in cloud.things if key.startswith(str(role.pk)))


def test_a_role_becomes_active_is_used_and_taken_off_again(
    workspace: Workspace, workers: Workers, fake_cloud: FakeCloud
) -> None:
    role = workers.do(lambda: create(workspace))
    assert now_is(role) == ("NEW", "")
    workers.work()
    assert now_is(role) == ("ACTIVE", "")
    assert role.settled
    assert things(fake_cloud, role) == ["policies", "role"]
    cluster = make_cluster(workspace, instance_role=role)
    assert cluster.spec().instance_role == role.handle != {}
    cluster.delete()
    workers.do(lambda: services_roles.delete_role(actor=actor(), role=role))
    workers.work()
    assert now_is(role) == ("TERMINATED", "")
    assert things(fake_cloud, role) == []
    workers.do(lambda: create(workspace))  # the name is free again


def test_a_role_that_cannot_be_registered_says_why_and_can_be_tried_again(
    workspace: Workspace, workers: Workers, fake_cloud: FakeCloud
) -> None:
    fake_cloud.fault(denied, "create")
    role = workers.do(lambda: create(workspace))
    workers.work()
    assert now_is(role) == ("FAILED", "AccessDenied")
    workers.do(lambda: services_roles.retry_role(actor=actor(), role=role))
    assert now_is(role) == ("FAILED", "")
    workers.work()
    assert now_is(role) == ("ACTIVE", "")
    with pytest.raises(UserError, match="is ACTIVE"):
        services_roles.retry_role(actor=actor(), role=role)


@pytest.mark.parametrize("kind", ["find", "create", "ready"])
@pytest.mark.parametrize("after", [False, True])
def test_workers_that_die_leave_one_of_each(
    workspace: Workspace, workers: Workers, fake_cloud: FakeCloud, kind: str, after: bool
) -> None:
    fake_cloud.fault(Killed, kind, after=after, times=2)
    role = workers.do(lambda: create(workspace))
    survive(workers, 600)
    assert now_is(role) == ("ACTIVE", "")
    assert fake_cloud.duplicates == []
    fake_cloud.fault(Killed, "delete", after=after, times=2)
    workers.do(lambda: services_roles.delete_role(actor=actor(), role=role))
    survive(workers, 600)
    assert now_is(role) == ("TERMINATED", "")
    assert fake_cloud.things == {}


def test_a_removal_is_tried_for_as_long_as_it_takes(
    workspace: Workspace, workers: Workers, fake_cloud: FakeCloud
) -> None:
    role = workers.do(lambda: create(workspace))
    workers.work()
    fake_cloud.fault(throttled, "delete", times=20)
    workers.do(lambda: services_roles.delete_role(actor=actor(), role=role))
    workers.work(seconds=100)
    assert now_is(role) == ("TERMINATING", "Throttled")
    workers.work(seconds=3600)
    assert now_is(role) == ("TERMINATED", "")


def test_deleted_while_it_is_made(workspace: Workspace, workers: Workers, fake_cloud: FakeCloud) -> None:
    fake_cloud.fault(throttled, "ready", times=3)
    role = workers.do(lambda: create(workspace))
    workers.work(seconds=1)
    workers.do(lambda: services_roles.delete_role(actor=actor(), role=role))
    workers.work(seconds=600)
    assert now_is(role) == ("TERMINATED", "")
    assert fake_cloud.things == {}


def _cluster(workspace: Workspace, role: InstanceRole) -> None:
    make_cluster(workspace, name="big", instance_role=role, status="STOPPED")


def _template(workspace: Workspace, role: InstanceRole) -> None:
    services_templates.create_template(
        actor=actor(),
        workspace=workspace,
        name="nightly",
        spec=JobSpec(file="job.py"),
        place=NewCluster("local.1x", 1, "2026.10", instance_role=str(role.pk)),
    )


@pytest.mark.parametrize(("use", "named"), [(_cluster, "the cluster big"), (_template, "template nightly")])
def test_one_that_is_used_is_not_deleted(
    workspace: Workspace, use: Callable[[Workspace, InstanceRole], None], named: str
) -> None:
    role = make_instance_role(workspace)
    use(workspace, role)
    with pytest.raises(UserError, match=named):
        services_roles.delete_role(actor=actor(), role=role)
    assert now_is(role) == ("ACTIVE", "")


def test_a_terminated_cluster_keeps_no_role(workspace: Workspace) -> None:
    role = make_instance_role(workspace)
    make_cluster(workspace, instance_role=role, status="TERMINATED", target=Target.TERMINATED)
    services_roles.delete_role(actor=actor(), role=role)


def test_names_are_unique_whatever_their_case(workspace: Workspace) -> None:
    create(workspace)
    with pytest.raises(UserError) as caught:
        create(workspace, "READER")
    assert caught.value.code == "NameTaken"


def test_a_cloud_without_roles_takes_none(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    fake_cloud.features = Features()
    with pytest.raises(UserError) as caught:
        create(workspace)
    assert caught.value.code == "NotOffered"


def test_a_workspace_takes_its_roles_along_before_it_goes(
    workspace: Workspace, workers: Workers, fake_cloud: FakeCloud
) -> None:
    role = workers.do(lambda: create(workspace))
    workers.work()
    fake_cloud.fault(throttled, "delete", times=8)
    workers.do(lambda: services.delete_workspace(actor=actor(), workspace=workspace))
    workers.work(seconds=30)
    workspace.refresh_from_db()
    assert workspace.status == "TERMINATING"
    assert now_is(role)[0] == "TERMINATING"
    workers.work(seconds=600)
    workspace.refresh_from_db()
    assert (workspace.status, now_is(role)) == ("TERMINATED", ("TERMINATED", ""))


def test_the_pages_show_them(workspace: Workspace, fake_cloud: FakeCloud) -> None:
    client = Client(SERVER_NAME="127.0.0.1")
    alice = workspace.organization.memberships.get().user
    client.force_login(alice, "allauth.account.auth_backends.AuthenticationBackend")
    where = f"/w/{workspace.pk}/settings/roles/"
    assert "No instance roles yet" in client.get(where).content.decode()
    assert "Role ARN" in client.get(f"{where}new/").content.decode()
    assert client.post(f"{where}new/", {"name": "reader", "role": ARN}).status_code == 302
    page = client.get(where).content.decode()
    assert ARN in page
    assert "Try again" not in page
    InstanceRole.objects.update(status="FAILED", failure_message="There is no such role.", due_at=None)
    page = client.get(where).content.decode()
    assert "There is no such role." in page
    assert "Try again" in page
    clusters_page = client.get(f"/w/{workspace.pk}/clusters/new/").content.decode()
    assert "reader" not in clusters_page
