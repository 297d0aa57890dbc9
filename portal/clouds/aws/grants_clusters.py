"""What clusters need in a customer's account.

Machines are launched by Auto Scaling's own role; whoever makes the group has to be allowed the same (Amazon EC2 Auto
Scaling User Guide, "Launch template support"). Only machines with our tag can be commanded; the document that carries
commands is AWS's, and has a statement of its own because it has no tags.
"""

from __future__ import annotations

from portal.clouds.aws.grants import TAG, TAGGED, Grant, actions

_GROUPS = "arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/portal-*"
_TEMPLATES = "arn:aws:ec2:*:*:launch-template/*"

CREATES = ("CreatePlacementGroup", "CreateLaunchTemplate", "RunInstances")
"""Calls that tag what they make."""

CLUSTERS: tuple[Grant, ...] = (
    Grant(
        "ClustersLook",
        "see machines, and what becomes of them",
        (
            *actions("ec2", "DescribePlacementGroups DescribeLaunchTemplates DescribeInstances"),
            *actions("autoscaling", "DescribeAutoScalingGroups DescribeScalingActivities"),
            *actions("ssm", "DescribeInstanceInformation ListCommandInvocations"),
        ),
    ),
    Grant(
        "ClusterImage",
        "find the newest image for machines",
        actions("ssm", "GetParameter"),
        ("arn:aws:ssm:*::parameter/aws/service/ami-amazon-linux-latest/*",),
    ),
    Grant("ClusterCreate", "make clusters", actions("ec2", "CreatePlacementGroup CreateLaunchTemplate")),
    Grant(
        "ClusterLaunch",
        "launch machines, by launch templates alone",
        actions("ec2", "RunInstances"),
        conditions={"ArnLike": {"ec2:LaunchTemplate": _TEMPLATES}},
        context={"ec2:LaunchTemplate": "arn:aws:ec2:us-east-1:111122223333:launch-template/validation"},
    ),
    Grant(
        "ClusterChange",
        "pause, resume and remove the clusters that it made, and let AWS encrypt their disks meanwhile",
        (
            *actions(
                "ec2", "StopInstances StartInstances TerminateInstances DeleteLaunchTemplate DeletePlacementGroup"
            ),
            *actions("kms", "ListGrants RevokeGrant"),
        ),
        **TAGGED,
    ),
    Grant(
        "ScalingGroups",
        "launch and remove a cluster's machines",
        actions(
            "autoscaling",
            "CreateAutoScalingGroup CreateOrUpdateTags UpdateAutoScalingGroup DeleteAutoScalingGroup SuspendProcesses "
            "ResumeProcesses TerminateInstanceInAutoScalingGroup",
        ),
        (_GROUPS,),
    ),
    Grant(
        "Command",
        "command the machines that it made",
        actions("ssm", "SendCommand"),
        ("arn:aws:ec2:*:*:instance/*",),
        {"Null": {f"ssm:resourceTag/{TAG}": "false"}},
        {f"ssm:resourceTag/{TAG}": "validation"},
    ),
    Grant(
        "CommandScripts",
        "command them by scripts",
        actions("ssm", "SendCommand"),
        ("arn:aws:ssm:*:*:document/AWS-RunShellScript",),
    ),
)
