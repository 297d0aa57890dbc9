"""What AWS refused, as a ``CloudError``: a stable code, AWS's own words, and what to do.

AWS has a few hundred error codes, which differ between services for the same thing. They are told apart here by what a
person or the engine does next: wait, give a permission, ask for a larger quota, choose another zone, correct an input.
"""

from __future__ import annotations

import re

from portal.clouds.base import CloudError


class AwsError(CloudError):
    """A refusal of AWS. ``reason`` is AWS's own code (``InvalidVpcID.NotFound``), for whoever asked."""

    def __init__(self, code: str, reason: str, message: str, hint: str = "", *, permanent: bool = False) -> None:
        super().__init__(code, message, hint, permanent=permanent)
        self.reason = reason

    @property
    def absent(self) -> bool:
        """The thing asked about is not there."""
        return self.code == "NotFound"


_THROTTLED = {
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"),
    *("SlowDown", "BandwidthLimitExceeded", "PriorRequestNotComplete", "ProvisionedThroughputExceededException"),
    *("RequestThrottled", "RequestThrottledException", "EC2ThrottledException", "LimitExceededException.Rate"),
}
_DENIED = {
    *("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedAccess", "AuthorizationError"),
    *("NotAuthorized", "403"),
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_NO_CREDENTIALS = {
    *("InvalidClientTokenId", "InvalidAccessKeyId", "UnrecognizedClientException", "AuthFailure", "InvalidToken"),
    *("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "MissingAuthenticationToken"),
}
_STOCK_OUT = {
    *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientReservedInstanceCapacity"),
    *("InsufficientCapacity", "InsufficientCapacityOnHost", "UnfulfillableCapacity", "SpotMaxPriceTooLow"),
}
_QUOTAS = {
    "VpcLimitExceeded": "VPCs per Region",
    "SubnetLimitExceeded": "Subnets per VPC",
    "AddressLimitExceeded": "EC2-VPC Elastic IPs",
    "NatGatewayLimitExceeded": "NAT gateways per Availability Zone",
    "InternetGatewayLimitExceeded": "Internet gateways per Region",
    "RouteTableLimitExceeded": "Route tables per VPC",
    "RouteLimitExceeded": "Routes per route table",
    "SecurityGroupLimitExceeded": "VPC security groups per Region",
    "RulesPerSecurityGroupLimitExceeded": "Inbound or outbound rules per security group",
    "VpcEndpointLimitExceeded": "Gateway VPC endpoints per Region",
    "FileSystemLimitExceeded": "EFS file systems per account",
    "MountTargetLimitExceeded": "EFS mount targets per VPC",
    "AccessPointLimitExceeded": "EFS access points per file system",
    "VcpuLimitExceeded": "Running On-Demand instances (vCPUs) of this family",
    "InstanceLimitExceeded": "Running On-Demand instances",
    "MaxSpotInstanceCountExceeded": "All Spot Instance Requests (vCPUs) of this family",
    "SpotInstanceCountExceeded": "All Spot Instance Requests",
    "TooManyBuckets": "General purpose S3 buckets",
    "ParameterLimitExceeded": "SSM parameters per Region",
    "LimitExceeded": "",
    "LimitExceededException": "",
    "ResourceLimitExceeded": "",
    "ServiceQuotaExceededException": "",
}
_IN_USE = {
    *("DependencyViolation", "DeleteConflict", "FileSystemInUse", "ResourceInUse", "ResourceInUseException"),
    *("InvalidIPAddress.InUse", "IncorrectFileSystemLifeCycleState", "IncorrectMountTargetState", "VolumeInUse"),
    *("IncorrectState", "ScalingActivityInProgress", "OperationAborted", "ConcurrentModification", "BucketNotEmpty"),
    *("AddressInUse", "OperationNotPermitted.NatGateway"),
}
_EXISTS = {
    *("EntityAlreadyExists", "EntityAlreadyExistsException", "AlreadyExists", "AlreadyExistsException"),
    *("FileSystemAlreadyExists", "AccessPointAlreadyExists", "MountTargetConflict", "ParameterAlreadyExists"),
    *("InvalidGroup.Duplicate", "InvalidPermission.Duplicate", "RouteAlreadyExists", "Resource.AlreadyAssociated"),
    *("BucketAlreadyExists", "BucketAlreadyOwnedByYou", "TableAlreadyExistsException", "InvalidKeyPair.Duplicate"),
    *("InvalidLaunchTemplateName.AlreadyExistsException", "InvalidPlacementGroup.Duplicate"),
}
_ABSENT = {
    *("NoSuchBucket", "NoSuchKey", "NoSuchEntity", "404", "ResourceNotFoundException", "NotFoundException"),
    *("ParameterNotFound", "Gateway.NotAttached", "NoSuchPublicAccessBlockConfiguration", "NoSuchTagSet"),
    *("FileSystemNotFound", "MountTargetNotFound", "AccessPointNotFound", "TableNotFoundException", "NoSuchVersion"),
    *("ServerSideEncryptionConfigurationNotFoundError", "NoSuchBucketPolicy", "NatGatewayNotFound"),
    *("InvalidPlacementGroup.Unknown", "NoSuchResourceException"),
}
_CONFLICT = {"PreconditionFailed", "ConditionalRequestConflict", "ConditionalCheckFailedException"}
_REGION = {"OptInRequired", "RegionDisabledException", "PermanentRedirect", "AuthorizationHeaderMalformed", "301"}
_OURS = {"InternalError", "InternalFailure", "InternalServerError", "ServiceUnavailable", "Unavailable", "500", "503"}
_ABSENT_SUFFIXES = (".NotFound", "NotFoundException", ".NotFoundException", "NotFound")

_ACTIONS = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "lambda:Invoke": "lambda:InvokeFunction",
}
"""Permissions that are named after something else than the operation."""

_NEEDS = re.compile(r"not authorized to perform:? ?\(?([a-z0-9-]+:\w+)")
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)


def refused(reason: str, message: str, service: str, operation: str, status: int = 400) -> AwsError:
    """The error for an answer of AWS: its code and words, and which call of which service it answered."""
    said = _ENCODED.sub("", message).strip() or f"AWS answered {reason}."
    if reason in _THROTTLED or "Rate exceeded" in said:
        return AwsError("Throttled", reason, said, "AWS limits how often it may be asked. It is tried again.")
    if reason in _DENIED:
        return _denied(reason, said, service, operation)
    if reason in _EXPIRED:
        return AwsError("CredentialsExpired", reason, said, "They are renewed; it is tried again.")
    if reason in _NO_CREDENTIALS:
        hint = "Check the keys: were they copied whole, deactivated or deleted?"
        return AwsError("CredentialsInvalid", reason, said, hint, permanent=True)
    if reason in _STOCK_OUT:
        hint = "AWS has none of these machines there now. Wait, or choose another zone or instance type."
        return AwsError("InsufficientCapacity", reason, said, hint)
    if reason in _QUOTAS:
        name = f"“{_QUOTAS[reason]}”" if _QUOTAS[reason] else f"of {service}"
        hint = f"Ask AWS for a larger quota {name} in the console under Service Quotas, or remove what is not needed."
        return AwsError("QuotaExceeded", reason, said, hint, permanent=True)
    if reason in _IN_USE:
        return AwsError("InUse", reason, said, "Something still uses it. It is tried again.")
    if reason in _EXISTS:
        return AwsError("AlreadyExists", reason, said, "Choose another name, or remove what is there.", permanent=True)
    if reason in _CONFLICT:
        return AwsError("Conflict", reason, said, "Somebody else changed it meanwhile. It is tried again.")
    if reason in _REGION:
        hint = "Check the region; regions that are off by default must be enabled for the account first."
        return AwsError("WrongRegion", reason, said, hint, permanent=True)
    if reason in _ABSENT or reason.endswith(_ABSENT_SUFFIXES):
        return AwsError("NotFound", reason, said, "It may have been deleted by hand.")
    if reason in _OURS or status >= 500:
        return AwsError("ProviderUnavailable", reason, said, "AWS has a problem of its own. It is tried again.")
    return AwsError("Refused", reason, f"{reason}: {said}", "", permanent=True)


def action_of(service: str, operation: str) -> str:
    """The permission that an operation needs, as policies name it."""
    return _ACTIONS.get(f"{service}:{operation}", f"{service}:{operation}")


def unreachable(message: str) -> AwsError:
    """The error where no answer came. What was asked may have been done all the same."""
    hint = "Check the network between this portal and AWS, and the region. It is tried again."
    return AwsError("NotReachable", "", message, hint)


def no_credentials(message: str) -> AwsError:
    """The error where there is nothing to sign with."""
    hint = "The operator of this portal has to give it an AWS identity (see the guide for operators)."
    return AwsError("NoCredentials", "", message, hint, permanent=True)


def _denied(reason: str, said: str, service: str, operation: str) -> AwsError:
    named = _NEEDS.search(said)
    action = named.group(1) if named else action_of(service, operation)
    if "service control policy" in said:
        hint = f"A service control policy of your AWS organization forbids {action}. Its administrators can allow it."
    elif "permissions boundary" in said:
        hint = f"The permissions boundary of the role does not allow {action}. Extend it, or remove it."
    elif action == "sts:AssumeRole":
        hint = "Check the role's trust policy: this portal's account and the External ID must be exactly those shown."
    else:
        hint = f"Give the role the permission {action}: paste the policy that the portal offers again, then validate."
    return AwsError("PermissionDenied", reason, said, hint, permanent=True)
