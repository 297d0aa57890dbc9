"""What the portal may do for the sake of a workspace's files."""

from __future__ import annotations

from portal.clouds.aws.grants import Grant, actions

FILES = (
    Grant(
        "FileFunctions",
        "reach a workspace's files while no machine runs",
        actions(
            "lambda",
            "CreateFunction TagResource GetFunctionConfiguration UpdateFunctionCode InvokeFunction DeleteFunction",
        ),
        ("arn:aws:lambda:*:*:function:portal-*",),
    ),
    Grant(
        "PassFunctionRole",
        "hand the role of such a function to Lambda and to nothing else",
        actions("iam", "PassRole"),
        ("arn:aws:iam::*:role/portal/portal-*-files",),
        {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
        {"iam:PassedToService": "lambda.amazonaws.com"},
    ),
    Grant("FunctionsLook", "see whose network interfaces of Lambda are", actions("lambda", "ListFunctions")),
)
