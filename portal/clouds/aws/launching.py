"""Why machines do not come: what Auto Scaling tells about its tries, as an error for people.

The sentences are those of the Amazon EC2 Auto Scaling User Guide, "Troubleshoot issues: EC2 instance launch failures",
and of EC2's error codes, which stand in some of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from portal.clouds.base import CloudError

_CAPACITY = re.compile(
    r"sufficient .*capacity|InsufficientInstanceCapacity|no Spot capacity|UnfulfillableCapacity|SpotMaxPriceTooLow"
    r"|not supported in your requested Availability Zone",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"VcpuLimitExceeded|vCPU (capacity|limit)|quota allows for|MaxSpotInstanceCountExceeded|InstanceLimitExceeded"
    r"|current instance limit",
    re.IGNORECASE,
)
_DENIED = re.compile(r"not authorized|UnauthorizedOperation|AccessDenied", re.IGNORECASE)
_TAIL = re.compile(r"\s*Launching EC2 instance failed\.?\s*$")


def failure(activities: Sequence[Mapping[str, Any]], since: float, type_: str, zone: str) -> CloudError | None:
    """The latest failed try since then (seconds from the epoch), where it will not do to wait; activities are as AWS
    describes them, newest first."""
    message = reason(activities, since)
    if _QUOTA.search(message):
        hint = "Ask AWS for a larger quota of vCPUs for this family of instance types, or remove other machines."
        return CloudError("QuotaExceeded", message, hint, permanent=True)
    if _CAPACITY.search(message):
        hint = "AWS has none of these machines there now. Wait, or choose another zone or instance type."
        return CloudError("InsufficientCapacity", f"No {type_} in {zone}: {message}", hint, permanent=True)
    if _DENIED.search(message):
        hint = "Give the role what it lacks: paste the policy that the portal offers again, then validate."
        return CloudError("PermissionDenied", message, hint, permanent=True)
    return None


def reason(activities: Sequence[Mapping[str, Any]], since: float) -> str:
    """What AWS says about the latest failed try since then; empty where none failed."""
    for each in activities:
        if each["StatusCode"] in {"Failed", "Cancelled"} and _epoch(each["StartTime"]) >= since:
            said = str(each.get("StatusMessage") or each.get("Cause") or "")
            return _TAIL.sub("", said) or said
    return ""


def _epoch(value: Any) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value)
