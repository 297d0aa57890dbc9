"""What the portal may do with roles, so that whoever holds its own role gets no further than machines may.

Roles below ``/portal/`` can be made only inside the node policy (``node_policy``), and be given no policy but this one.
A role of the customer's own can be given to machines where its name says so, or where the customer names it in a
statement of their own (``for_role``): by its tags alone AWS cannot tell reliably which role may be passed on (IAM User
Guide, "Grant a user permissions to pass a role to an AWS service").
"""

from __future__ import annotations

import json
from dataclasses import replace

from portal.clouds.aws.grants import NODE_POLICY, TAG, Grant, actions

OWN_ROLE_TAG = "portal:instance-role"
"""On a customer's own role; its value is the uuid of its registration."""

OWN_ROLE_PREFIX = "bodo-machine-"
"""With this the names of customers' own roles begin, unless the customer allows others."""

_ROLES = "arn:aws:iam::*:role/portal/*"
_OWN_ROLES = f"arn:aws:iam::*:role/{OWN_ROLE_PREFIX}*"
_PROFILES = "arn:aws:iam::*:instance-profile/portal/*"
_POLICY = f"arn:aws:iam::*:policy/{NODE_POLICY}"

OWN_ROLES = (
    Grant(
        "RoleLook",
        "look at roles of machines",
        actions("iam", "GetRole ListAttachedRolePolicies"),
        (_ROLES, _OWN_ROLES),
    ),
    Grant(
        "RolePolicy",
        "let machines do what the node policy says, and nothing else",
        actions("iam", "AttachRolePolicy DetachRolePolicy"),
        (_ROLES, _OWN_ROLES),
        {"ArnLike": {"iam:PolicyARN": _POLICY}},
        {"iam:PolicyARN": _POLICY},
    ),
    Grant(
        "PassRole",
        "hand such roles to EC2 and to nothing else",
        actions("iam", "PassRole"),
        (_ROLES, _OWN_ROLES),
        {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}},
        {"iam:PassedToService": "ec2.amazonaws.com"},
    ),
    Grant(
        "OwnRoleTags",
        "note on a role of yours which workspace it is for",
        actions("iam", "TagRole UntagRole"),
        (_OWN_ROLES,),
        {"ForAllValues:StringEquals": {"aws:TagKeys": [TAG, OWN_ROLE_TAG]}},
        {"aws:TagKeys": TAG},
    ),
)
"""Those which a customer's own role needs."""

ROLES: tuple[Grant, ...] = (
    Grant(
        "RoleCreate",
        "make the roles of machines, inside the node policy",
        actions("iam", "CreateRole"),
        (_ROLES,),
        {"StringLike": {"iam:PermissionsBoundary": _POLICY}},
        {"iam:PermissionsBoundary": _POLICY},
    ),
    Grant("RoleChange", "tag and remove the roles that it made", actions("iam", "TagRole DeleteRole"), (_ROLES,)),
    *OWN_ROLES,
    Grant("NodePolicy", "read the node policy", actions("iam", "GetPolicy GetPolicyVersion"), (_POLICY,)),
    Grant(
        "InstanceProfiles",
        "give machines their role",
        actions(
            "iam",
            "CreateInstanceProfile TagInstanceProfile GetInstanceProfile AddRoleToInstanceProfile "
            "RemoveRoleFromInstanceProfile DeleteInstanceProfile",
        ),
        (_PROFILES,),
    ),
)


def for_role(arn: str, node_policy: str) -> str:
    """The statements, as JSON, with which the customer allows the portal to give machines the role ``arn``."""
    statements = [replace(grant, name=f"My{grant.name}", resources=(arn,)).statement() for grant in OWN_ROLES]
    return json.dumps(statements).replace(NODE_POLICY, node_policy)
