"""The contract of a cloud, over AWS as moto has it: a workspace comes, and goes without a trace."""

from __future__ import annotations

import json
import logging
import zipfile
from dataclasses import replace
from io import BytesIO

import pytest

from portal.clouds import plan
from portal.clouds.aws import checks, prices, workspace
from portal.clouds.aws.grants_clusters import CLUSTERS
from portal.clouds.aws.permissions import GRANTS
from portal.clouds.base import CloudError, Failed, Handle, Settled, Target
from tests.clouds.aws.cloud import REGION, Aws
from tests.clouds.aws.world import World, new_world

WHOLE = {
    "vpcs": 1,
    "subnets": 6,
    "internet gateways": 1,
    "attachments": 1,
    "nat gateways": 1,
    "addresses": 1,
    "route tables": 3,  # one comes with the VPC
    "groups": 3,  # likewise
    "endpoints": 1,
    "filesystems": 1,
    "mount targets": 3,
    "access points": 1,
    "keys": 1,
    "aliases": 1,
    "parameters": 1,
    "roles": 2,
    "functions": 1,
    "interfaces of functions": 3,
    "profiles": 1,
}


@pytest.fixture
def world(aws: Aws) -> World:
    return new_world(aws)


def things(world: World) -> dict[str, int]:
    found = dict(world.there())
    found.pop("interfaces", None)
    return found


def test_a_workspace_comes_and_goes(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    handle = world.go()
    assert "OPENSSH" not in caplog.text
    assert things(world) == WHOLE
    assert world.advance(handle).outcome == Settled()
    handle = world.go(Target.TERMINATED, handle)
    assert handle["steps"] == {}
    assert things(world) == {}


def test_the_state_is_in_the_bucket_while_it_is_made_and_gone_in_the_end(world: World) -> None:
    store = world.cloud._store
    id = f"workspaces/{world.spec.id}"
    handle: Handle = {}
    while "key" not in handle.get("steps", {}):
        handle = world.advance(handle).handle
    halfway = store.load(id)
    assert halfway
    assert halfway["steps"]["vpc"]["id"] == handle["steps"]["vpc"]["id"]
    handle = world.go(handle=handle)
    whole = store.load(id)
    assert whole
    assert whole["steps"] == handle["steps"]
    assert whole["name"] == "Analytics"
    other = replace(store, holder="https://another.example.org")
    other.release(other.take(id, "x"))  # the lock was given back
    world.go(Target.TERMINATED, handle)
    assert store.load(id) is None


def test_another_portal_keeps_its_hands_off(world: World) -> None:
    handle = world.advance({}).handle
    handle = world.advance(handle).handle
    world.cloud.holder = "https://another.example.org"
    del handle["lock"]  # it is the other portal's to know
    step = world.advance(handle)
    assert isinstance(step.outcome, Failed)
    assert step.outcome.error.code == "StateLocked"
    assert step.handle == handle


def remove_bucket(world: World) -> None:
    s3, bucket = world.aws.administrator().client("s3"), world.cloud.configuration.bucket
    found = s3.list_object_versions(Bucket=bucket)
    for each in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        s3.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])
    s3.delete_bucket(Bucket=bucket)


def test_what_was_made_stays_known_when_its_state_cannot_be_written(world: World) -> None:
    handle = world.advance(world.advance({}).handle).handle
    made = world.advance(handle).handle
    remove_bucket(world)
    with pytest.raises(CloudError, match="NotFound") as caught:
        world.go(handle=made)
    assert caught.value.handle["steps"]["internet-gateway"]["id"]  # type: ignore[attr-defined]


def test_a_workspace_goes_also_where_bucket_and_table_went_before(world: World) -> None:
    handle = world.go()
    remove_bucket(world)
    handle = world.advance(handle, Target.TERMINATED).handle
    del handle["lock"]  # as if it had ended
    world.aws.administrator().client("dynamodb").delete_table(TableName=world.cloud.configuration.table)
    assert world.go(Target.TERMINATED, handle)["steps"] == {}
    assert things(world) == {}


def test_what_was_deleted_by_hand_does_not_stop_a_removal(world: World) -> None:
    handle = world.go()
    steps = handle["steps"]
    session = world.aws.administrator()
    session.client("efs").delete_access_point(AccessPointId=steps["access-point"]["id"])
    session.client("ssm").delete_parameter(Name=steps["ssh-key"]["id"])
    session.client("ec2").delete_nat_gateway(NatGatewayId=steps["nat-gateway"]["id"])
    session.client("iam").remove_role_from_instance_profile(
        InstanceProfileName=steps["node-profile"]["id"], RoleName=steps["node-role"]["id"]
    )
    session.client("kms").schedule_key_deletion(KeyId=steps["key"]["id"], PendingWindowInDays=7)
    assert world.go(Target.TERMINATED, handle)["steps"] == {}
    left = things(world)
    left.pop("aliases", None)  # of the key that goes; AWS takes it along
    assert left == {}


REFUSALS = [
    ("CreateVpc", "VpcLimitExceeded", "QuotaExceeded"),
    ("CreateNatGateway", "NatGatewayLimitExceeded", "QuotaExceeded"),
    ("CreateKey", "ThrottlingException", "Throttled"),
    ("CreateRole", "AccessDenied", "PermissionDenied"),
    ("PutParameter", "InternalServerError", "ProviderUnavailable"),
]


def test_a_refusal_fails_the_step_and_can_be_tried_again(world: World) -> None:
    handle: Handle = {}
    for operation, reason, _ in REFUSALS:
        world.aws.fail(operation, reason)
    for code in (REFUSALS[index][2] for index in (0, 3, 2, 1, 4)):
        with pytest.raises(CloudError, match=code) as caught:
            world.go(handle=handle)
        handle = caught.value.handle  # type: ignore[attr-defined]
    world.go(handle=handle)
    assert things(world) == WHOLE


def test_a_vpc_with_something_of_the_customers_in_it_says_so(world: World) -> None:
    handle = world.go()
    world.aws.fail("DeleteVpc", "DependencyViolation", "The vpc has dependencies and cannot be deleted.")
    with pytest.raises(CloudError, match="InUse") as caught:
        world.go(Target.TERMINATED, handle)
    assert "has dependencies" in caught.value.message
    world.go(Target.TERMINATED, caught.value.handle)  # type: ignore[attr-defined]
    assert things(world) == {}


def test_a_region_with_one_zone_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.clouds.aws.workspace.zones_of", lambda session: ["us-east-2a"])
    with pytest.raises(CloudError, match="TooFewZones"):
        world.go()


def test_zones_and_regions(world: World) -> None:
    assert world.cloud.zones(REGION) == ["us-east-2a", "us-east-2b", "us-east-2c"]
    assert world.cloud.regions() == ["us-east-1", "us-east-2", "us-west-1", "us-west-2"]


def another_archive() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("old.py", "")
    return buffer.getvalue()


USED_BY_AWS_FOR_US = {
    # EFS makes the interfaces of mount targets, and looks at networks, with the permissions of who asks.
    *("ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DescribeNetworkInterfaces"),
    # Tags in the call that makes a thing are permissions of their own.
    *("ec2:CreateTags", "elasticfilesystem:TagResource", "kms:TagResource", "ssm:AddTagsToResource", "iam:TagRole"),
    "iam:TagInstanceProfile",
    # EFS and parameters encrypt with the key of who asks.
    *("kms:CreateGrant", "kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"),
    *("iam:PassRole", "iam:CreateServiceLinkedRole", "lambda:TagResource"),
}


def test_the_table_of_permissions_is_what_is_really_called(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "Session", lambda region, **_: world.cloud.session(region))
    world.aws.quotas = {"L-F678F1CE": 5, "L-0263D0A3": 5, "L-1216C47A": 32}
    assert all(check.passed for check in world.cloud.check())
    handle = world.go()
    world.cloud.instance_types(REGION)
    arn = handle["steps"]["files-function"]["id"]
    world.aws.administrator().client("lambda").update_function_code(FunctionName=arn, ZipFile=another_archive())
    world.cloud.files(handle).list("")
    prices.forget()
    for spot in (False, True):
        prices.hourly(world.cloud.session(REGION), REGION, "c6i.xlarge", spot)
    with pytest.raises(CloudError, match="StateLocked"):
        replace(world.cloud._store, holder="y").take(world.cloud._store.take("x", "x").id, "x")
    world.go(Target.TERMINATED, handle)
    tested_elsewhere = ("Alarm", "OwnRole", "Run", *(grant.name for grant in CLUSTERS), "Orphan")
    grants = [grant for grant in GRANTS if not grant.name.startswith(tested_elsewhere)]
    allowed = {action for grant in grants for action in grant.actions}
    called = world.cloud.fate.permissions
    assert called - allowed == set(), "these would be refused"
    assert allowed - called - USED_BY_AWS_FOR_US == set(), "these are allowed for nothing"


# --- Dying at every point ---------------------------------------------------------------------------------------------


def aborted(world: World, handle: Handle, kept: set[str]) -> Handle:
    """The removal of what is not among ``kept``: what a removal of the whole does first."""
    for _ in range(100):
        work = workspace.work_of(world.cloud.session(REGION), world.spec, handle)
        wanted = workspace.wanted(work, world.cloud.configuration, handle["zones"], None)
        known = workspace.known(work, world.cloud.configuration)
        steps = [step for step in wanted if step.name in kept]
        step = plan.advance(steps, known, handle)
        assert not isinstance(step.outcome, Failed), step.outcome
        handle = {**json.loads(json.dumps(step.handle)), "zones": handle["zones"]}
        if set(handle["steps"]) <= kept:
            return handle
    raise AssertionError("does not go")


def dying_and_going_on(world: World, target: Target, handle: Handle) -> tuple[Handle, int]:
    """Each call is died at twice, before and after its effect; then the next process goes on from what was stored."""
    for deaths in range(0, 400, 2):
        for after in (False, True):
            handle, died = world.until_death(0, after, target, handle)
            if not died:
                return handle, deaths
    raise AssertionError("does not get on")


def test_dying_at_every_call_of_the_making_and_going_on(world: World) -> None:
    handle, deaths = dying_and_going_on(world, Target.RUNNING, {})
    assert deaths > 80
    assert things(world) == WHOLE
    world.go(Target.TERMINATED, handle)
    assert things(world) == {}


def test_dying_at_every_call_of_the_removal_and_going_on(world: World) -> None:
    handle, deaths = dying_and_going_on(world, Target.TERMINATED, world.go())
    assert deaths > 50
    assert handle["steps"] == {}
    assert things(world) == {}


def test_dying_at_every_call_of_the_making_and_removing(world: World) -> None:
    """A process dies before and after each call of each step; then the step is removed, and all is as it was before it.
    What came before the step is removed as in any removal."""
    handle = world.advance({}).handle
    deaths = 0

    def ready(handle: Handle) -> set[str]:
        return {name for name, entry in handle["steps"].items() if entry["state"] == "ready"}

    def standing(world: World) -> dict[str, int]:
        found = things(world)
        found.pop("interfaces of functions", None)  # Lambda takes its time
        return found

    def one_step(handle: Handle, number: int, after: bool) -> tuple[Handle, bool]:
        known = len(ready(handle))
        return world.until_death(number, after, Target.RUNNING, handle, lambda seen: len(ready(seen)) > known)

    for _ in world_steps(world, handle):
        kept, before = ready(handle), standing(world)
        for number, after in ((number, after) for number in range(20) for after in (False, True)):
            cut, died = one_step(handle, number, after)
            if not died:
                handle = cut
                break
            deaths += 1
            handle = aborted(world, cut, kept)
            assert standing(world) == before, f"after dying at call {number} in {set(cut['steps']) - kept}"
    assert deaths > 80
    assert things(world) == WHOLE


def world_steps(world: World, handle: Handle) -> list[str]:
    work = workspace.work_of(world.cloud.session(REGION), world.spec, handle)
    return [step.name for step in workspace.wanted(work, world.cloud.configuration, handle["zones"], None)]
