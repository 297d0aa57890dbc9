"""Cloud configurations of the museum on AWS, in every state that their page knows. No cloud has heard of them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone

from accounts.models import User
from portal.clouds.base import Event, Level
from portal.models import record_event
from tests.factories import make_aws_configuration, make_lost_thing, make_network
from workspaces.models import CloudConfiguration, Workspace

REGION = {"region": "us-east-2"}
ROLE = "arn:aws:iam::222222222222:role/BodoPlatformUser"
CHECKS = [
    ("Names", True, "They can be names of a role, bucket and table.", ""),
    ("Role", True, f"AWS lends {ROLE} to this portal.", ""),
    ("External ID", True, "Without the External ID, AWS does not lend the role.", ""),
    ("Bucket", True, "bodo-metadata can be reached and belongs to account 222222222222.", ""),
    (
        "Bucket versioning",
        False,
        "Versioning is off.",
        "In the S3 console, open the bucket's Properties and enable Bucket Versioning.",
    ),
    ("Table key", True, "The partition key is LockID, a String.", ""),
    (
        "Permission to make a workspace's network",
        False,
        "Missing: ec2:CreateVpc, ec2:CreateSubnet, ec2:CreateNatGateway.",
        "Paste the policy that the portal offers into the role again. Where it is there, look for a permissions "
        "boundary of the role or a service control policy of your AWS organization.",
    ),
    ("Quota: VPCs", True, "5 allowed, 2 used, 1 needed.", ""),
]


def _checks(*, good: bool) -> list[dict[str, Any]]:
    names = ("name", "passed", "detail", "hint")
    found = [dict(zip(names, check, strict=True)) for check in CHECKS]
    return [check for check in found if check["passed"] or not good]


def fill_clouds(owner: User, workspace: Workspace, long: str) -> dict[str, str]:
    """Make them."""
    organization, now = workspace.organization, timezone.now()
    made = {"bucket": "bodo-metadata", "table": "bodo-locks", "role_arn": ROLE}

    def new(name: str, way: str, status: str, **fields: Any) -> CloudConfiguration:
        values = {"settings": REGION, "created_by": owner, **fields}
        return make_aws_configuration(organization, name=name, way=way, status=status, **values)

    by_hand = new("Production", "MANUAL", "SETUP")
    refused = new(
        "Research", "MANUAL", "SETUP", settings={**REGION, **made}, checks=_checks(good=False), checked_at=now
    )
    keys = new("Playground", "KEYS", "SETUP")
    making = new(
        "Sandbox",
        "KEYS",
        "CREATING",
        lease_until=now + timedelta(days=1),
        progress_message="Making DynamoDB table",
    )
    for text in ("Looking whose keys they are", "Making S3 bucket", "S3 bucket ready", "Making DynamoDB table"):
        record_event(making.pk, Event("bucket" if "bucket" in text else "", text))
    failure = "User: arn:aws:iam::222222222222:user/ci is not authorized to perform: iam:CreateRole"
    failed = new(
        long,
        "KEYS",
        "FAILED",
        failure_code="PermissionDenied",
        failure_message=failure,
        failure_hint="Give the keys' user the permission iam:CreateRole, then enter the keys again.",
    )
    record_event(failed.pk, Event("role", failure, Level.ERROR))
    begun = new("Marketing", "STACK", "SETUP")
    following = new(
        "Finance",
        "STACK",
        "CREATING",
        settings={**REGION, "bucket": "b", "table": "t", "role_arn": "arn:aws:iam::222222222222:role/bodo-platform-1"},
    )
    record_event(following.pk, Event("waiting", "Waiting for the stack in account 222222222222 to make the role."))
    ready = new("Analytics", "KEYS", "READY", settings={**REGION, **made}, checks=_checks(good=True), checked_at=now)
    make_network(ready, name="Backbone", endpoints={"s3": "vpce-0123456789abcdef0", "ssm": "vpce-0123456789abcdef1"})
    _lost(ready)
    return {
        "cloud_by_hand": str(by_hand.pk),
        "cloud_refused": str(refused.pk),
        "cloud_keys": str(keys.pk),
        "cloud_making": str(making.pk),
        "cloud_failed": str(failed.pk),
        "cloud_begun": str(begun.pk),
        "cloud_following": str(following.pk),
        "cloud_ready": str(ready.pk),
    }


def _lost(configuration: CloudConfiguration) -> None:
    """What stands in an account: dear and free, unknown, going, refused, and to be adopted."""
    things: list[tuple[str, str, str | None, dict[str, Any]]] = [
        ("NAT gateway", "nat-0123456789abcdef0", "1.08", {"since": timezone.now() - timedelta(days=40)}),
        ("elastic IP address", "eipalloc-0123456789abcdef0", "0.12", {}),
        (
            "VPC",
            "vpc-0123456789abcdef0",
            "0",
            {"failure_message": "The vpc has dependencies."},
        ),
        ("machine", "i-0123456789abcdef0", None, {"status": "REMOVING", "progress_message": "It is being removed"}),
        ("function", f"arn:aws:lambda:us-east-2:222222222222:function:portal-{configuration.pk}", "0", {}),
    ]
    for kind, id, price, more in things:
        daily = None if price is None else Decimal(price)
        make_lost_thing(configuration, kind=kind, provider_id=id, key=f"us-east-2/x/{id}", daily=daily, **more)
    make_lost_thing(
        configuration,
        kind="encryption key",
        provider_id=str(configuration.pk),
        deployment="11111111-1111-4111-8111-111111111111",
        deployment_name="Research",
        daily=Decimal("0.0329"),
        adoptable=True,
    )
