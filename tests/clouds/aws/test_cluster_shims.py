"""What stands in front of moto does as AWS says: the other tests lean on it."""

from __future__ import annotations

from typing import Any

import pytest

from portal.clouds.aws.errors import AwsError
from tests.clouds.aws import shim_ssm
from tests.clouds.aws.cloud import Aws


def launched(aws: Aws, count: int) -> list[str]:
    ec2 = aws.administrator().client("ec2")
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "portal:cluster", "Value": "c1"}]}]
    found = ec2.run_instances(ImageId=image, MinCount=count, MaxCount=count, TagSpecifications=tags)
    return [each["InstanceId"] for each in found["Instances"]]


def send(ssm: Any, instances: list[str], line: str = "hostname") -> str:
    answer = ssm.send_command(DocumentName="AWS-RunShellScript", InstanceIds=instances, Parameters={"commands": [line]})
    return str(answer["Command"]["CommandId"])


def test_a_command_is_really_run_by_whoever_plays_the_machine(aws: Aws) -> None:
    one, two = launched(aws, 2)
    ssm = aws.administrator().client("ssm")
    played = shim_ssm.machines()
    played.execute = lambda instance, lines: (0, f"{lines[0]} on {instance}") if instance == one else (3, "no")
    played.late = 1
    command = send(ssm, [one, two])

    def statuses() -> dict[str, str]:
        found = ssm.list_command_invocations(CommandId=command, Details=True)["CommandInvocations"]
        return {each["InstanceId"]: each["Status"] for each in found}

    assert statuses() == {one: "InProgress", two: "InProgress"}
    assert statuses() == {one: "Success", two: "Failed"}
    found = ssm.list_command_invocations(CommandId=command, InstanceId=one, Details=True)["CommandInvocations"]
    assert found[0]["CommandPlugins"][0]["Output"] == f"hostname on {one}"


def test_machines_that_are_not_there_are_not_commanded(aws: Aws) -> None:
    one, two = launched(aws, 2)
    ssm = aws.administrator().client("ssm")
    filters = [{"Key": "tag-key", "Values": ["portal:cluster"]}]
    shim_ssm.machines().silent.add(two)
    shim_ssm.machines().lost[one] = 600
    found = ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
    assert [(each["InstanceId"], each["PingStatus"]) for each in found] == [(one, "ConnectionLost")]
    with pytest.raises(AwsError, match="InvalidInstanceId"):
        send(ssm, [two])
    aws.reset()
    assert not shim_ssm.machines().silent
