"""What jobs on clusters need, besides commands to machines (``grants_clusters``) and the bucket."""

from __future__ import annotations

from portal.clouds.aws.grants import BUCKET, Grant, actions

JOBS: tuple[Grant, ...] = (
    Grant(
        "RunVariables",
        "remove the variables of runs for good",
        actions("s3", "DeleteObjectVersion"),
        (f"arn:aws:s3:::{BUCKET}/workspaces/*/environment.json",),
    ),
)
