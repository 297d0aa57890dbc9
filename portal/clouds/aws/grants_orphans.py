"""What the portal may ask and do to find and remove what stands in the account without a record."""

from __future__ import annotations

from portal.clouds.aws.grants import TAGGED, Grant, actions

ORPHANS = (
    Grant(
        "OrphansLook",
        "find what carries its tags and has no record",
        (
            *actions("ec2", "DescribeTags DescribeVolumes"),
            *actions("autoscaling", "DescribeTags"),
            *actions("ssm", "DescribeParameters"),
            *actions("iam", "ListRoles ListInstanceProfiles"),
        ),
    ),
    Grant(
        "OrphanParameters",
        "see whose a parameter is",
        actions("ssm", "ListTagsForResource"),
        ("arn:aws:ssm:*:*:parameter/portal/*",),
    ),
    Grant(
        "OrphanFunctions",
        "see whose a function is",
        actions("lambda", "ListTags"),
        ("arn:aws:lambda:*:*:function:portal-*",),
    ),
    Grant(
        "OrphansChange",
        "remove what has its tags and no record",
        (*actions("ec2", "DeleteVolume"), *actions("kms", "ListResourceTags")),
        **TAGGED,
    ),
)
