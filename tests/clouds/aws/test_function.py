"""The function of a workspace: made once, current, and gone before what it hangs on."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO

import pytest

from portal.clouds.aws import files, function
from portal.clouds.aws.resources import Work
from portal.clouds.base import CloudError, Event, Failed, Handle, Network, Settled, Target, WorkspaceSpec
from tests.clouds.aws.cloud import REGION, Aws
from tests.clouds.aws.shim_lambda import FUNCTIONS
from tests.clouds.aws.world import World, census, new_world


@pytest.fixture
def world(aws: Aws) -> World:
    return new_world(aws)


def upto(world: World, name: str) -> Handle:
    handle: Handle = {}
    while name not in handle.get("steps", {}):
        step = world.advance(handle)
        assert not isinstance(step.outcome, Failed), step.outcome
        handle = step.handle
    return handle


def removed(world: World, handle: Handle) -> tuple[list[Event], list[str]]:
    """The events of a removal, and which steps stood when the first of them spoke of Lambda."""
    events: list[Event] = []
    standing: list[str] = []
    for _ in range(400):
        step = world.advance(handle, Target.TERMINATED)
        assert not isinstance(step.outcome, Failed), step.outcome
        handle = step.handle
        events += step.events
        if not standing and any("AWS Lambda still has" in event.message for event in step.events):
            standing = sorted(handle["steps"])
        if isinstance(step.outcome, Settled):
            return events, standing
    raise AssertionError("does not settle")


def test_the_archive_is_the_same_wherever_it_is_made() -> None:
    first = function.code()
    function.code.cache_clear()
    assert function.code() == first
    assert len(first) < 100_000
    with zipfile.ZipFile(BytesIO(first)) as archive:
        assert "portal/clouds/aws/files_handler.py" in archive.namelist()


def test_a_removal_waits_for_lambda_with_nothing_that_costs_money(world: World) -> None:
    handle = world.go()
    FUNCTIONS.shown = 5
    events, standing = removed(world, handle)
    waits = [event for event in events if "AWS Lambda still has 3 network interfaces" in event.message]
    assert len(waits) >= 5
    assert all(event.progress is not None for event in waits), "one line for all of them"
    costly = {"address", "nat-gateway", "filesystem", "key", "files-function"}
    assert not costly & set(standing)
    assert {"files-role", "nodes-group", "private-subnet-a", "vpc"} <= set(standing)
    assert set(world.there()) <= {"interfaces"}, "which moto keeps of its gateways"


def test_a_role_of_which_lambda_has_not_heard_is_no_failure_for_good(world: World) -> None:
    handle = upto(world, "files-function")
    words = "The role defined for the function cannot be assumed by Lambda."
    world.aws.fail("CreateFunction", "InvalidParameterValueException", words)
    step = world.advance(handle)
    assert isinstance(step.outcome, Failed)
    assert step.outcome.error.code == "RoleUnknown"
    assert not step.outcome.error.permanent
    world.aws.fail("CreateFunction", "InvalidParameterValueException", "Your runtime is no more.")
    step = world.advance(step.handle)
    assert isinstance(step.outcome, Failed)
    assert step.outcome.error.permanent
    world.go(handle=step.handle)


STATES = [
    ({"State": "Pending"}, False),
    ({"State": "Active", "LastUpdateStatus": "InProgress"}, False),
    ({"State": "Inactive"}, True),
]


@pytest.mark.parametrize(("state", "ready"), STATES)
def test_a_function_is_ready_once_it_is_connected(
    world: World, monkeypatch: pytest.MonkeyPatch, state: dict[str, str], ready: bool
) -> None:
    monkeypatch.setattr(function.Function, "look", lambda self, id: {"CodeSha256": function.digest(), **state})
    assert function.Function(_work(world), world.cloud.configuration, [], []).ready("f") is ready


def test_a_function_that_cannot_be_connected_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"State": "Failed", "StateReason": "The subnet has no free addresses."}
    monkeypatch.setattr(function.Function, "look", lambda self, id: seen)
    with pytest.raises(CloudError, match=r"FunctionFailed.*no free addresses"):
        function.Function(_work(world), world.cloud.configuration, [], []).ready("f")


def _work(world: World) -> Work:
    return Work(world.cloud.session(REGION), world.spec.id, world.spec.name)


def code_of(world: World, arn: str) -> str:
    found = world.aws.administrator().client("lambda").get_function_configuration(FunctionName=arn)
    return str(found["CodeSha256"])


def outdated(world: World, arn: str) -> None:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("old.py", "")
    world.aws.administrator().client("lambda").update_function_code(FunctionName=arn, ZipFile=buffer.getvalue())
    files._current.clear()
    assert code_of(world, arn) != function.digest()


def test_code_of_another_release_is_replaced_when_files_are_asked_for(world: World) -> None:
    handle = world.go()
    arn = handle["steps"]["files-function"]["id"]
    outdated(world, arn)
    assert world.cloud.files(handle).list("") == []
    assert code_of(world, arn) == function.digest()
    asked = world.aws.asked.count("UpdateFunctionCode")
    world.cloud.files(handle).list("")
    assert world.aws.asked.count("UpdateFunctionCode") == asked


def test_what_was_found_half_made_gets_the_code_of_this_release(world: World) -> None:
    handle = world.go()
    arn = handle["steps"]["files-function"]["id"]
    outdated(world, arn)
    handle["steps"]["files-function"]["state"] = "created"
    world.go(handle=handle)
    assert code_of(world, arn) == function.digest()


def own_network(world: World) -> Network:
    ec2 = world.aws.administrator().client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"][:2]
    groups = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["SecurityGroups"]
    return Network(vpc, [each["SubnetId"] for each in subnets], [groups[0]["GroupId"]])


def test_interfaces_that_a_function_of_somebody_else_shares_hold_nobody_up(world: World) -> None:
    network = own_network(world)
    world.spec = WorkspaceSpec(world.spec.id, "Analytics", REGION, network)
    handle = world.go()
    neighbour = new_neighbour(world, network)
    FUNCTIONS.shown = 10_000
    _, standing = removed(world, handle)
    assert standing == []
    neighbour.client("lambda").delete_function(FunctionName="theirs")
    assert census(REGION)["functions"] == 0


def test_interfaces_of_nobody_else_are_waited_for_in_the_customers_network(world: World) -> None:
    world.spec = WorkspaceSpec(world.spec.id, "Analytics", REGION, own_network(world))
    _, standing = removed(world, world.go())
    assert "files-role" in standing
    assert set(world.there()) <= {"interfaces"}


def new_neighbour(world: World, network: Network):  # type: ignore[no-untyped-def]
    session = world.aws.administrator()
    trust = {"Statement": [{"Principal": {"Service": "lambda.amazonaws.com"}}]}
    role = session.client("iam").create_role(RoleName="theirs", AssumeRolePolicyDocument=json.dumps(trust))
    point = census_point(world)
    session.client("lambda").create_function(
        FunctionName="theirs",
        Runtime="python3.12",
        Handler="x.y",
        Role=role["Role"]["Arn"],
        Code={"ZipFile": function.code()},
        VpcConfig={"SubnetIds": list(network.subnets), "SecurityGroupIds": list(network.security_groups)},
        FileSystemConfigs=[{"Arn": point, "LocalMountPath": "/mnt/x"}],
    )
    return session


def census_point(world: World) -> str:
    points = world.aws.administrator().client("efs").describe_access_points()["AccessPoints"]
    return str(points[0]["AccessPointArn"])
