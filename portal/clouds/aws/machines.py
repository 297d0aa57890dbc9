"""The machines of a cluster: their template, the Auto Scaling group that launches them, themselves, and their pause.

The group launches and removes machines when it is told to, and never by itself: all that it could do on its own is
suspended. So a machine that is lost is missed (``observe``), and not silently replaced by one that nobody prepared.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from portal.clouds.aws import launching
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.placement import ClusterWork
from portal.clouds.aws.resources import AGAIN, CLUSTER_TAG, Ec2Resource, Resource
from portal.clouds.base import CloudError, Event, Pending

DISK_GIB = 100
LAUNCH_SECONDS = 900.0
"""How long all machines together may take until Systems Manager hears of them."""

OF_ITS_OWN = (
    "AZRebalance",
    "AlarmNotification",
    "HealthCheck",
    "InstanceRefresh",
    "ReplaceUnhealthy",
    "ScheduledActions",
)
"""What an Auto Scaling group would do without being asked (its User Guide, "Suspend and resume processes")."""

_LIVING = ["pending", "running", "stopping", "stopped"]
_LEAVING = ("Terminat", "Detach")
Instance = Mapping[str, Any]


class LaunchTemplate(Ec2Resource):
    """What each machine is made of."""

    name, label, group = "launch-template", "launch template", "launch-template"
    kind, describe, listed = "launch-template", "describe_launch_templates", "LaunchTemplates"
    key, id_filter = "LaunchTemplateId", ""
    work: ClusterWork

    def __init__(self, work: ClusterWork, made_of: Mapping[str, Any], user_data: str) -> None:
        super().__init__(work)
        self.made_of, self.user_data = made_of, user_data
        what = {key: value for key, value in made_of.items() if key not in {"places", "software"}}
        self.fingerprint = hashlib.sha256(json.dumps([what, DISK_GIB], sort_keys=True).encode()).hexdigest()[:16]

    def create(self) -> str:
        """Make it."""
        answer = self.ec2.create_launch_template(
            LaunchTemplateName=self.work.title_in_aws, LaunchTemplateData=self.data(), **self.tagged
        )
        return str(answer["LaunchTemplate"]["LaunchTemplateId"])

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it is shown."""
        return self.seen(id) is not None

    def look(self, id: str) -> Mapping[str, Any] | None:
        """As EC2 describes it. There is no filter for ids."""
        try:
            found = self.ec2.describe_launch_templates(LaunchTemplateIds=[id])["LaunchTemplates"]
        except AwsError as error:
            if error.absent:
                return None
            raise
        return found[0] if found else None

    def remove(self, id: str, seen: Mapping[str, Any]) -> None:
        """Delete it with its versions."""
        self.ec2.delete_launch_template(LaunchTemplateId=id)

    def data(self) -> dict[str, Any]:
        """As EC2 wants it."""
        what = self.made_of
        interface = {
            "DeviceIndex": 0,
            "Groups": list(what["groups"]),
            "AssociatePublicIpAddress": False,
            "DeleteOnTermination": True,
            **({"InterfaceType": "efa"} if what["efa"] else {}),
        }
        disk = {
            "VolumeType": "gp3",
            "VolumeSize": DISK_GIB,
            "Encrypted": True,
            "KmsKeyId": what["key"],
            "DeleteOnTermination": True,
        }
        once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        spot = {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": once}} if what["spot"] else {}
        tags = self.work.tag_list("machines")
        return {
            "ImageId": what["image"],
            "InstanceType": what["instance_type"],
            "IamInstanceProfile": {"Name": what["profile"]},
            "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": disk}],
            "NetworkInterfaces": [interface],
            "UserData": base64.b64encode(self.user_data.encode()).decode(),
            "TagSpecifications": [
                {"ResourceType": kind, "Tags": tags} for kind in ("instance", "volume", "network-interface")
            ],
            **({"Placement": {"GroupName": self.work("placement-group")}} if what["placement"] else {}),
            **spot,
        }


class _OfGroup(Resource):
    """What has to do with the Auto Scaling group."""

    work: ClusterWork

    @property
    def scaling(self) -> Any:
        """The client of Auto Scaling."""
        return self.work.session.client("autoscaling")

    def groups(self, **which: Any) -> list[Mapping[str, Any]]:
        """The cluster's groups, without those that are going."""
        found = self.scaling.pages("describe_auto_scaling_groups", "AutoScalingGroups", **which)
        return [each for each in found if "delet" not in str(each.get("Status", "")).lower()]

    def group_of(self, name: str) -> Mapping[str, Any] | None:
        """The group as it is now."""
        return next(iter(self.groups(AutoScalingGroupNames=[name])), None)

    def instances(self, states: Sequence[str] = _LIVING) -> list[Instance]:
        """The cluster's machines in these states."""
        filters = [
            {"Name": f"tag:{CLUSTER_TAG}", "Values": [self.work.cluster]},
            {"Name": "instance-state-name", "Values": list(states)},
        ]
        found = self.work.session.client("ec2").pages("describe_instances", "Reservations", Filters=filters)
        return [instance for reservation in found for instance in reservation["Instances"]]


class Group(_OfGroup):
    """The Auto Scaling group, made empty: in one zone, because MPI wants its machines near each other."""

    name, label, group = "scaling-group", "Auto Scaling group", "scaling-group"

    def __init__(self, work: ClusterWork, template: str, subnet: str) -> None:
        super().__init__(work)
        self.subnet = subnet
        self.fingerprint = f"{template} {subnet}"
        suffix = hashlib.sha256(self.fingerprint.encode()).hexdigest()[:8]
        self.title = f"{work.title_in_aws}-{suffix}"

    def find(self) -> str | None:
        """By the cluster's tag."""
        filters = [{"Name": f"tag:{CLUSTER_TAG}", "Values": [self.work.cluster]}]
        return next((str(each["AutoScalingGroupName"]) for each in self.groups(Filters=filters)), None)

    def create(self) -> str:
        """Make it. One that AWS did not show and that is there is ours: nobody else knows its name."""
        # What machines carry is said by their template, volumes and interfaces included.
        tags = [
            {"Key": key, "Value": value, "PropagateAtLaunch": False} for key, value in self.work.tags(self.name).items()
        ]
        try:
            self.scaling.create_auto_scaling_group(
                AutoScalingGroupName=self.title,
                LaunchTemplate={"LaunchTemplateId": self.work("launch-template"), "Version": "1"},
                MinSize=0,
                MaxSize=0,
                DesiredCapacity=0,
                VPCZoneIdentifier=self.subnet,
                HealthCheckType="EC2",
                NewInstancesProtectedFromScaleIn=True,
                Tags=tags,
            )
        except AwsError as error:
            if error.code != "AlreadyExists":
                raise
        return self.title

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it does nothing of its own."""
        seen = self.group_of(id)
        if seen is None:
            return False
        suspended = {each["ProcessName"] for each in seen["SuspendedProcesses"]}
        if suspended >= set(OF_ITS_OWN):
            return True
        self.scaling.suspend_processes(AutoScalingGroupName=id, ScalingProcesses=list(OF_ITS_OWN))
        return AGAIN

    def delete(self, id: str | None) -> bool:
        """The group, then whatever machines there still are, until none is left."""
        id = id or self.find()
        if id is not None and self.group_of(id) is not None:
            self.scaling.delete_auto_scaling_group(AutoScalingGroupName=id, ForceDelete=True)
        living = [str(each["InstanceId"]) for each in self.instances()]
        if living:
            self.work.session.client("ec2").terminate_instances(InstanceIds=living)
        return not self.instances([*_LIVING, "shutting-down"]) and (id is None or not self._any(id))

    def _any(self, name: str) -> bool:
        """Also one that is going: its name is free, and its template can go, only when it is gone."""
        found = self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        return bool(found["AutoScalingGroups"])


class Machines(_OfGroup):
    """As many machines as there should be. ``nodes`` are those that were there before, in their order, and once ready
    those that are there."""

    name, label, group = "machines", "machines", "machines"

    def __init__(
        self,
        work: ClusterWork,
        fingerprint: str,
        made_of: Mapping[str, Any],
        count: int,
        place: Mapping[str, str],
        nodes: Sequence[Mapping[str, str]],
        since: float,
    ) -> None:
        super().__init__(work)
        self.fingerprint, self.made_of, self.count, self.place = fingerprint, made_of, count, place
        self.before, self.since = nodes, since
        self.nodes: list[dict[str, str]] | None = None
        self.label = f"{count} {made_of.get('instance_type', 'machine')} in {place.get('zone', 'a zone')}"

    def find(self) -> str | None:
        """None: to ask for them again changes nothing."""
        return None

    def create(self) -> str:
        """Ask for them."""
        name = self.work("scaling-group")
        self._aim(name)
        return name

    def ready(self, id: str) -> bool | Pending | Event:
        """Once all are there and Systems Manager hears of them. One thing is said at a time."""
        group = self.group_of(id)
        if group is None:
            return self._late("AWS does not show the Auto Scaling group.")
        members = [each for each in group["Instances"] if not str(each["LifecycleState"]).startswith(_LEAVING)]
        suspended = {each["ProcessName"] for each in group["SuspendedProcesses"]}
        if "Terminate" in suspended:
            return self._resume(id, "Terminate")
        if len(members) > self.count:
            return self._dismiss(members)
        if (group["DesiredCapacity"], group["MaxSize"]) != (self.count, self.count):
            self._aim(id)
            return AGAIN
        if len(members) < self.count:
            if "Launch" in suspended:
                return self._resume(id, "Launch")
            return self._wait_for_launch(id)
        there = {str(each["InstanceId"]): each for each in self.instances()}
        if not all(str(each["InstanceId"]) in there for each in members):
            return self._missed([str(each["InstanceId"]) for each in members if each["InstanceId"] not in there])
        mine = [there[str(each["InstanceId"])] for each in members]
        stopped = [each for each in mine if each["State"]["Name"] in {"stopping", "stopped"}]
        if stopped:
            raise _lost(stopped[0])
        if any(each["State"]["Name"] != "running" for each in mine):
            return self._late("AWS did not start all machines.")
        if "Launch" not in suspended:
            self.scaling.suspend_processes(AutoScalingGroupName=id, ScalingProcesses=["Launch"])
            return AGAIN
        silent = set(there) & {str(each["InstanceId"]) for each in mine} - heard_of(self.work)
        if silent:
            return self._late(f"Systems Manager does not hear of {', '.join(sorted(silent))}.", initializing=True)
        self.nodes = _in_order(mine, self.before)
        return True

    def delete(self, id: str | None) -> bool:
        """They go with the group."""
        return True

    def _aim(self, name: str) -> None:
        self.scaling.update_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=0, MaxSize=self.count, DesiredCapacity=self.count
        )

    def _resume(self, name: str, process: str) -> Pending:
        self.scaling.resume_processes(AutoScalingGroupName=name, ScalingProcesses=[process])
        return AGAIN

    def _dismiss(self, members: Sequence[Instance]) -> Pending:
        """The last one goes, never the head."""
        order = [node["id"] for node in self.before]
        ranked = sorted(
            (str(each["InstanceId"]) for each in members),
            key=lambda id: (order.index(id) if id in order else len(order), id),
        )
        self.scaling.terminate_instance_in_auto_scaling_group(
            InstanceId=ranked[-1], ShouldDecrementDesiredCapacity=True
        )
        return AGAIN

    def _wait_for_launch(self, name: str) -> Pending | bool:
        activities = self.scaling.describe_scaling_activities(AutoScalingGroupName=name, MaxRecords=20)["Activities"]
        zone = self.place["zone"]
        error = launching.failure(activities, self.since, str(self.made_of["instance_type"]), zone)
        if error:
            raise error
        return self._late(launching.reason(activities, self.since) or "AWS does not say why.")

    def _missed(self, ids: Sequence[str]) -> Pending | bool:
        """AWS does not show them yet, or they went again at once: then it says why."""
        gone = [each for each in self.instances(["shutting-down", "terminated"]) if each["InstanceId"] in ids]
        if gone:
            raise _lost(gone[0])
        return self._late(f"AWS does not show {', '.join(ids)}.")

    def _late(self, why: str, *, initializing: bool = False) -> Pending | bool:
        if time.time() - self.since > LAUNCH_SECONDS:
            message = f"The machines were not there after {LAUNCH_SECONDS / 60:.0f} minutes. {why}"
            hint = "Start the cluster again; if it happens again, try another zone or instance type."
            raise CloudError("MachinesLate", message, hint, permanent=True)
        return Pending(self.work.poll, initializing=initializing)


class Paused(_OfGroup):
    """The machines, stopped: their disks stay, and cost. The group must not see to them meanwhile."""

    name, label, group = "pause", "pause of the machines", "pause"
    work: ClusterWork

    def __init__(self, work: ClusterWork, *, resuming: bool) -> None:
        super().__init__(work)
        self.resuming = resuming

    def find(self) -> str | None:
        """None: to stop them again changes nothing."""
        return None

    def create(self) -> str:
        """Let the group launch and remove nothing."""
        name = self.work("scaling-group")
        self.scaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["Launch", "Terminate"])
        return name

    def ready(self, id: str) -> bool | Pending | Event:
        """Once none of them runs."""
        living = self.instances()
        running = [str(each["InstanceId"]) for each in living if each["State"]["Name"] == "running"]
        if running:
            self.work.session.client("ec2").stop_instances(InstanceIds=running)
            return AGAIN
        return all(each["State"]["Name"] == "stopped" for each in living)

    def delete(self, id: str | None) -> bool:
        """Start them again, unless they are to go."""
        if not self.resuming:
            return True
        living = self.instances()
        stopped = [str(each["InstanceId"]) for each in living if each["State"]["Name"] == "stopped"]
        if stopped:
            self.work.session.client("ec2").start_instances(InstanceIds=stopped)
        return not any(each["State"]["Name"] in {"stopping", "stopped"} for each in self.instances())


def heard_of(work: ClusterWork) -> set[str]:
    """The machines of a cluster that Systems Manager can command."""
    found = work.session.client("ssm").pages(
        "describe_instance_information",
        "InstanceInformationList",
        Filters=[{"Key": f"tag:{CLUSTER_TAG}", "Values": [work.cluster]}],
    )
    return {str(each["InstanceId"]) for each in found if each["PingStatus"] == "Online"}


def _in_order(instances: Sequence[Instance], before: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """Those that were there before keep their places, so that the head stays the head."""
    address = {str(each["InstanceId"]): str(each["PrivateIpAddress"]) for each in instances}
    known = [node["id"] for node in before if node["id"] in address]
    return [{"id": id, "address": address[id]} for id in [*known, *sorted(set(address) - set(known))]]


def _lost(instance: Instance) -> CloudError:
    said = instance.get("StateReason", {}).get("Message") or instance["State"]["Name"]
    message = f"Machine {instance['InstanceId']} went while it was being made: {said}"
    return CloudError("MachineLost", message, "Start the cluster again.", permanent=True)
