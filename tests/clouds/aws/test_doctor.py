"""The launch doctor: each check passed and failed, and what AWS does not answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from portal.clouds.aws import doctor, prices, quotas
from portal.clouds.aws.onboarding import POLICY_NAME
from portal.clouds.aws.permissions import GRANTS, filled_policy
from portal.clouds.aws.quotas import FAMILIES, family_of, machines_quota
from portal.clouds.base import Check, ClusterSpec, Handle, Network
from tests.clouds.aws.cloud import REGION, Aws
from tests.clouds.aws.world import World, new_world

ENOUGH = {"L-F678F1CE": 5, "L-0263D0A3": 5, "L-A4707A72": 5, "L-FE5A380F": 5, "L-1216C47A": 32, "L-34B43A08": 32}


@pytest.fixture
def world(aws: Aws) -> Iterator[World]:
    prices.forget()
    aws.quotas = dict(ENOUGH)
    yield new_world(aws)
    prices.forget()


@pytest.fixture
def subnets(world: World) -> dict[str, str]:
    """The subnets of the workspace, by zone: the first two zones have one each."""
    ec2 = world.aws.administrator().client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.40.0.0/16")["Vpc"]["VpcId"]
    made = {}
    for index, zone in enumerate(f"{REGION}{letter}" for letter in "ab"):
        answer = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.40.{index}.0/28", AvailabilityZone=zone)
        made[zone] = str(answer["Subnet"]["SubnetId"])
    return made


@pytest.fixture
def cluster(world: World, subnets: dict[str, str]) -> ClusterSpec:
    steps = {f"private-subnet-{zone[-1]}": {"id": subnet} for zone, subnet in subnets.items()}
    handle: Handle = {"steps": {**steps, "vpc": {"id": "vpc-1"}}}
    return ClusterSpec("c1", "Big", world.spec, handle, "c6i.xlarge", 2, "2025.1")


def failed(checks: Any) -> dict[str, Check]:
    found = list(checks)
    assert all(check.detail and (check.passed or check.hint) for check in found)
    assert len({check.name for check in found}) == len(found)
    return {check.name: check for check in found if not check.passed}


def named(checks: Sequence[Check], name: str) -> Check:
    return next(check for check in checks if check.name.startswith(name))


# --- Workspaces -------------------------------------------------------------------------------------------------------


def test_a_workspace_that_can_be_made(world: World) -> None:
    world.aws.asked.clear()
    found = world.cloud.check_workspace(world.spec)
    assert failed(found) == {}
    assert [check.name for check in found] == [
        *("Role", "Zones", "Quota: VPCs", "Quota: Elastic IPs", "Quota: Internet gateways"),
        *(f"Quota: NAT gateways in {REGION}a", "Node policy", "Permissions", "Price"),
    ]
    assert "$1.23 a day" in named(found, "Price").detail
    changing = {each for each in world.aws.asked if not each.startswith(("Describe", "Get"))}
    assert changing == {"AssumeRole", "SimulatePrincipalPolicy"}


def test_a_workspace_counts_what_is_used(world: World) -> None:
    world.aws.quotas = dict.fromkeys(ENOUGH, 1)
    ec2 = world.aws.administrator().client("ec2")
    ec2.allocate_address(Domain="vpc")
    ec2.create_internet_gateway()
    subnet = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [f"{REGION}a"]}])["Subnets"][0]
    gateway = ec2.create_nat_gateway(SubnetId=subnet["SubnetId"], ConnectivityType="private")["NatGateway"]
    found = failed(world.cloud.check_workspace(world.spec))
    assert list(found) == [
        *("Quota: VPCs", "Quota: Elastic IPs", "Quota: Internet gateways", f"Quota: NAT gateways in {REGION}a"),
    ]
    assert found["Quota: VPCs"].detail == "1 allowed, 1 used, 1 needed."  # the default VPC
    assert "L-FE5A380F" in found[f"Quota: NAT gateways in {REGION}a"].hint
    ec2.delete_nat_gateway(NatGatewayId=gateway["NatGatewayId"])
    assert f"Quota: NAT gateways in {REGION}a" not in failed(world.cloud.check_workspace(world.spec))


def test_a_role_that_is_not_lent_ends_the_questions(world: World, cluster: ClusterSpec) -> None:
    world.cloud.configuration = replace(world.cloud.configuration, external_id="wrong")
    for found in (world.cloud.check_workspace(world.spec), world.cloud.check_cluster(cluster)):
        assert list(failed(found)) == ["Role"]
        assert len(found) == 1


def test_aws_that_cannot_be_reached_ends_the_questions(world: World, cluster: ClusterSpec) -> None:
    """One that is waited for, not ten."""
    world.cloud.endpoint = "http://127.0.0.1:1"
    world.cloud._sessions.clear()
    for found in (world.cloud.check_workspace(world.spec), world.cloud.check_cluster(cluster)):
        assert list(failed(found)) == ["Role"]
        assert "did not answer" in found[0].detail


def without(world: World, action: str) -> None:
    configuration = world.cloud.configuration
    text = filled_policy(configuration.bucket, configuration.table_arn, configuration.node_policy_name)
    document = json.loads(text)
    for statement in document["Statement"]:
        statement["Action"] = [each for each in statement["Action"] if each != action] or ["none:None"]
    world.aws.administrator().client("iam").put_role_policy(
        RoleName=configuration.role_arn.rpartition("/")[2],
        PolicyName=POLICY_NAME,
        PolicyDocument=json.dumps(document),
    )


def test_what_the_role_may_not_do_is_named(world: World) -> None:
    without(world, "ec2:CreateVpc")
    assert failed(world.cloud.check_workspace(world.spec))["Permissions"].detail == "Missing: ec2:CreateVpc."


def test_what_a_cluster_needs_of_the_role_is_named(world: World, cluster: ClusterSpec) -> None:
    without(world, "iam:PassRole")
    assert failed(world.cloud.check_cluster(cluster))["Permissions"].detail == "Missing: iam:PassRole."


def test_what_is_asked_about_permissions_is_granted() -> None:
    granted = {action for grant in GRANTS for action in grant.actions}
    assert granted >= doctor.FOR_WORKSPACE | doctor.FOR_CLUSTER


def test_a_workspace_in_a_network_of_the_customers(world: World) -> None:
    spec = replace(world.spec, network=Network("vpc-0123", ["subnet-1"], ["sg-1"]))
    found = world.cloud.check_workspace(spec)
    assert list(failed(found)) == ["VPC"]
    assert not [check for check in found if check.name.startswith("Quota")]
    assert "$0.03 a day" in named(found, "Price").detail


# --- Clusters ---------------------------------------------------------------------------------------------------------


def test_a_cluster_that_can_be_made(world: World, cluster: ClusterSpec) -> None:
    world.aws.asked.clear()
    found = world.cloud.check_cluster(cluster)
    assert failed(found) == {}
    assert {check.name: check.detail for check in found} == {
        "Role": f"AWS lends {world.cloud.configuration.role_arn} to this portal.",
        "Instance type": "c6i.xlarge has 4 vCPUs.",
        "Zone": "c6i.xlarge is offered in us-east-2a, us-east-2b.",
        "Free addresses": named(found, "Free").detail,
        "Quota: vCPUs of Standard (A, C, D, H, I, M, R, T, Z) On-Demand instances": "32 allowed, 0 used, 8 needed.",
        "Permissions": "The role may do what this needs.",
        "Price": "On demand AWS asks $0.34 an hour, $0.17 for each.",
    }
    changing = {each for each in world.aws.asked if not each.startswith(("Describe", "Get"))}
    assert changing == {"AssumeRole", "SimulatePrincipalPolicy"}


def test_the_calls_are_granted(world: World, cluster: ClusterSpec) -> None:
    world.cloud.check_workspace(world.spec)
    for spot in (False, True):
        world.cloud.check_cluster(replace(cluster, spot=spot))
    allowed = {action for grant in GRANTS for action in grant.actions}
    assert world.cloud.fate.permissions - allowed == set(), "these would be refused"


def test_a_type_that_is_not_offered(world: World, cluster: ClusterSpec) -> None:
    found = world.cloud.check_cluster(replace(cluster, instance_type="c99.huge"))
    assert failed(found)["Instance type"].detail == "us-east-2 does not offer c99.huge."
    assert found[-1].name == "Instance type"


def offered(world: World, monkeypatch: pytest.MonkeyPatch, *zones: str) -> None:
    def pages(name: str, key: str, **arguments: Any) -> Any:
        if key == "InstanceTypeOfferings":
            return [{"InstanceType": "c6i.xlarge", "Location": zone} for zone in zones]
        return original(name, key, **arguments)

    session = world.cloud.session(REGION)
    client = session.client("ec2")
    original = client.pages
    monkeypatch.setattr(client, "pages", pages, raising=False)
    monkeypatch.setattr(
        session, "client", lambda service: client if service == "ec2" else type(session).client(session, service)
    )


def test_a_type_that_is_offered_in_other_zones(
    world: World, cluster: ClusterSpec, subnets: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered(world, monkeypatch, "us-east-2b", "us-east-2c")
    found = world.cloud.check_cluster(cluster)
    assert named(found, "Zone").detail == "c6i.xlarge is offered in us-east-2b."
    free = named(found, "Free addresses").detail
    assert subnets["us-east-2b"] in free
    assert subnets["us-east-2a"] not in free, "no machine will be there"
    check = failed(world.cloud.check_cluster(replace(cluster, zone="us-east-2a")))["Zone"]
    assert check == Check("Zone", False, "c6i.xlarge cannot be had in us-east-2a.", "Choose us-east-2b.")
    assert "Zone" in failed(world.cloud.check_cluster(replace(cluster, zone="us-east-2c"))), (
        "the workspace is not there"
    )
    monkeypatch.undo()
    offered(world, monkeypatch, "us-east-2c")
    check = failed(world.cloud.check_cluster(cluster))["Zone"]
    assert check.detail == "c6i.xlarge cannot be had in us-east-2a or us-east-2b."
    assert check.hint == "Choose another instance type."


def test_a_subnet_that_is_too_small(world: World, cluster: ClusterSpec, subnets: dict[str, str]) -> None:
    world.aws.quotas["L-1216C47A"] = 1000
    assert failed(world.cloud.check_cluster(replace(cluster, instances=11))) == {}
    check = failed(world.cloud.check_cluster(replace(cluster, instances=12)))["Free addresses"]
    assert check.detail.endswith("free; 12 machines are in one subnet.")
    assert all(f"{subnet} has 11" in check.detail for subnet in subnets.values())


def test_the_subnets_of_a_customers_network_count(world: World, cluster: ClusterSpec, subnets: dict[str, str]) -> None:
    own = replace(world.spec, network=Network("vpc-1", [subnets["us-east-2b"]], []))
    found = world.cloud.check_cluster(replace(cluster, workspace=own, workspace_handle={}))
    assert named(found, "Zone").detail == "c6i.xlarge is offered in us-east-2b."


def launch(world: World, instance_type: str, count: int, **more: Any) -> list[str]:
    ec2 = world.aws.administrator().client("ec2")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    made = ec2.run_instances(ImageId=image, InstanceType=instance_type, MinCount=count, MaxCount=count, **more)
    return [str(each["InstanceId"]) for each in made["Instances"]]


SPOT: dict[str, Any] = {"InstanceMarketOptions": {"MarketType": "spot"}}


def test_vcpus_are_counted_by_family_and_by_how_they_are_bought(world: World, cluster: ClusterSpec) -> None:
    launch(world, "m5.xlarge", 6)  # 24 of 32
    launch(world, "g4dn.xlarge", 2)
    launch(world, "m5.4xlarge", 1, **SPOT)
    stopped = launch(world, "m5.4xlarge", 1)
    world.aws.administrator().client("ec2").stop_instances(InstanceIds=stopped)
    assert named(world.cloud.check_cluster(cluster), "Quota").detail == "32 allowed, 24 used, 8 needed."
    check = named(world.cloud.check_cluster(replace(cluster, instances=3)), "Quota")
    assert not check.passed
    assert "L-1216C47A" in check.hint
    check = named(world.cloud.check_cluster(replace(cluster, spot=True, instances=5)), "Quota")
    assert check.detail == "32 allowed, 16 used, 20 needed."
    assert "L-34B43A08" in check.hint
    assert "spot" in check.name


def test_a_clusters_own_machines_do_not_count_against_it(world: World, cluster: ClusterSpec) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "portal:cluster", "Value": cluster.id}]}]
    launch(world, "c6i.xlarge", 6, TagSpecifications=tags)
    assert named(world.cloud.check_cluster(cluster), "Quota").detail == "32 allowed, 0 used, 8 needed."


def test_spot_that_is_not_to_be_had(world: World, cluster: ClusterSpec) -> None:
    world.aws.quotas["L-F7808C92"] = 1000
    hpc = replace(cluster, instance_type="hpc6a.48xlarge", spot=True)
    check = failed(world.cloud.check_cluster(hpc))["Instance type"]
    assert check.detail == "AWS has no spot instances of hpc6a.48xlarge."


def test_the_price_of_spot(world: World, cluster: ClusterSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    history: list[Any] = [{"SpotPrice": "0.051"}, {"SpotPrice": "0.060"}]
    inner = world.cloud.session(REGION).client("ec2").inner
    monkeypatch.setattr(inner, "describe_spot_price_history", lambda **_: {"SpotPriceHistory": history})
    found = world.cloud.check_cluster(replace(cluster, spot=True))
    words = "As spot instances, now, AWS asks $0.12 an hour, $0.06 for each. On demand they are $0.34."
    assert named(found, "Price").detail == words
    history.clear()
    found = world.cloud.check_cluster(replace(cluster, spot=True))
    assert failed(found)["Price"].detail == "There is no spot price of c6i.xlarge in us-east-2."


@pytest.mark.parametrize(
    ("operation", "name", "code"),
    [
        ("GetServiceQuota", "Quota", "AccessDenied"),
        ("DescribeInstances", "Quota", "Throttling"),
        ("DescribeSubnets", "Zone", "InternalError"),
        ("DescribeInstanceTypeOfferings", "Zone", "AccessDenied"),
        ("SimulatePrincipalPolicy", "Permissions", "AccessDenied"),
        ("GetProducts", "Price", "InternalError"),
        ("DescribeSpotPriceHistory", "Price", "Throttling"),
    ],
)
def test_what_aws_does_not_answer_stops_nobody(
    world: World, cluster: ClusterSpec, operation: str, name: str, code: str
) -> None:
    world.aws.fail(operation, code)
    spot = operation == "DescribeSpotPriceHistory"
    found = world.cloud.check_cluster(replace(cluster, spot=spot))
    assert failed(found) == {}
    assert "AWS does not say" in named(found, name).detail


# --- Quotas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "on_demand", "spot"),
    [
        ("c6i.xlarge", "L-1216C47A", "L-34B43A08"),
        ("i4i.32xlarge", "L-1216C47A", "L-34B43A08"),
        ("is4gen.large", "L-1216C47A", "L-34B43A08"),
        ("c7i-flex.large", "L-1216C47A", "L-34B43A08"),
        ("inf1.xlarge", "L-1945791B", "L-B5D1601B"),
        ("gr6.4xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("vt1.3xlarge", "L-DB2E81BA", "L-3819A6DF"),
        ("p4d.24xlarge", "L-417A185B", "L-7212CCBC"),
        ("p5.48xlarge", "L-417A185B", "L-C4BD4855"),
        ("x2idn.16xlarge", "L-7295265B", "L-E3A00192"),
        ("hpc6a.48xlarge", "L-F7808C92", None),
        ("u-6tb1.112xlarge", "L-43DA4232", None),
        ("mac1.metal", None, None),
    ],
)
def test_each_type_has_the_quota_of_its_family(type_: str, on_demand: str | None, spot: str | None) -> None:
    for wanted, is_spot in ((on_demand, False), (spot, True)):
        quota = machines_quota(type_, 4, spot=is_spot)
        assert (quota.code if quota else None) == wanted


def test_no_two_families_share_letters_or_codes() -> None:
    letters = [letter for family in FAMILIES for letter in family.letters]
    codes = [code for family in FAMILIES for code in (family.on_demand, family.spot) if code] + [quotas.SPOT_OF_P5]
    assert len(letters) == len(set(letters))
    assert len(codes) == len(set(codes))


def test_every_type_on_offer_has_a_family(aws: Aws) -> None:
    names = {str(each.name) for each in new_world(aws).cloud.instance_types(REGION)}
    assert {name for name in names if family_of(name) is None} == set()
