"""What IAM refuses, in moto's place: moto with lent keys allows everything.

A customer's role that asks IAM for something gets what its inline policies say, with their conditions, and no more.
``SimulatePrincipalPolicy`` answers from inline and attached policies, inside the permissions boundary. A boundary has
to be there, and a policy that is attached, or bounds a role, is not removed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tests.clouds.aws.cloud import CORRECTIONS, Aws, Reply

Statements = list[dict[str, Any]]


def access(aws: Aws, operation: str, parameters: dict[str, list[str]], environ: dict[str, Any]) -> Reply | None:
    """IAM's refusals, and its answers about what is allowed."""
    if operation == "SimulatePrincipalPolicy":
        return _simulated(parameters), "text/xml", 200
    if "/iam/" not in environ.get("HTTP_AUTHORIZATION", ""):
        return None
    role = _caller(environ)
    resource = _resource(role, parameters) if role else ""
    if role and not allowed(_inline(role), f"iam:{operation}", resource, _context(parameters), role):
        return _refusal(403, "AccessDenied", f"{role.arn} is not authorized to perform: iam:{operation} on {resource}")
    if operation == "CreateRole" and _lost(environ, parameters.get("PermissionsBoundary", [""])[0]):
        return _refusal(404, "NoSuchEntity", f"Policy {parameters['PermissionsBoundary'][0]} does not exist.")
    if operation == "DeletePolicy" and _used(parameters["PolicyArn"][0]):
        return _refusal(409, "DeleteConflict", "Cannot delete a policy attached to entities.")
    if operation == "AttachRolePolicy" and _has(parameters):
        return "<AttachRolePolicyResponse></AttachRolePolicyResponse>", "text/xml", 200
    return None


CORRECTIONS.append(access)


def allowed(
    statements: Statements, action: str, resource: str, context: Mapping[str, list[str]], role: Any = None
) -> bool:
    """Whether policies allow something: their statements say only what is allowed."""
    return any(
        action in _list(statement["Action"])
        and any(_matches(resource, pattern, role) for pattern in _list(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context, role)
        for statement in statements
    )


def _holds(conditions: dict[str, dict[str, Any]], context: Mapping[str, list[str]], role: Any) -> bool:
    return all(
        _holds_for(kind, context.get(key, []), _list(wanted), role)
        for kind, keys in conditions.items()
        for key, wanted in keys.items()
    )


def _holds_for(kind: str, given: list[str], wanted: list[str], role: Any) -> bool:
    if kind == "Null":
        return bool(given) is (wanted == ["false"])
    matches = [any(_matches(value, pattern, role) for pattern in wanted) for value in given]
    if kind == "ForAllValues:StringEquals":
        return all(matches)
    assert kind in {"StringEquals", "StringLike", "ArnLike", "ArnEquals"}, kind
    return any(matches)


def _matches(value: str, pattern: str, role: Any) -> bool:
    """With the variables of IAM filled in. What cannot be filled in matches nothing."""
    tags = {tag["Key"]: tag["Value"] for tag in role.tags} if role else {}
    filled = re.sub(r"\$\{aws:PrincipalTag/([^}]+)\}", lambda found: tags.get(found[1], found[0]), pattern)
    return "${" not in filled and (value == filled or fnmatchcase(value, filled))


def _list(value: Any) -> list[str]:
    return list(value) if isinstance(value, list) else [str(value)]


def _context(parameters: dict[str, list[str]]) -> dict[str, list[str]]:
    """The circumstances of a call, as IAM tells them to conditions."""
    context = {
        "iam:PermissionsBoundary": parameters.get("PermissionsBoundary", []),
        "iam:PolicyARN": parameters.get("PolicyArn", []),
        "iam:AWSServiceName": parameters.get("AWSServiceName", []),
        "aws:TagKeys": [
            values[0]
            for name, values in parameters.items()
            if re.fullmatch(r"Tags\.member\.\d+\.Key|TagKeys\.member\.\d+", name)
        ],
    }
    return {key: values for key, values in context.items() if values}


def _resource(role: Any, parameters: dict[str, list[str]]) -> str:
    """The ARN of what a call is about. Of a role, only IAM knows its path."""
    account = role.arn.split(":")[4]
    path = parameters.get("Path", [""])[0] or "/"
    if "InstanceProfileName" in parameters:
        name = parameters["InstanceProfileName"][0]
        there = _iam(account).instance_profiles.values()
        return next(
            (each.arn for each in there if each.name == name), _named(account, "instance-profile", "/portal/", name)
        )
    if "RoleName" in parameters:
        name = parameters["RoleName"][0]
        there = next((each for each in _iam(account).roles.values() if each.name == name), None)
        known = path if path != "/" or not name.startswith("portal-") else "/portal/"
        return there.arn if there else _named(account, "role", known, name)
    if "AWSServiceName" in parameters:
        return _named(account, "role", f"/aws-service-role/{parameters['AWSServiceName'][0]}/", "made-by-aws")
    return parameters.get("PolicyArn", ["*"])[0]


def _named(account: str, kind: str, path: str, name: str) -> str:
    return f"arn:aws:iam::{account}:{kind}{path}{name}"


def _iam(account: str) -> Any:
    from moto.backends import get_backend

    return get_backend("iam")[account]["global"]


def _caller(environ: dict[str, Any]) -> Any:
    """The customer's role with whose keys a call is signed, as moto knows it."""
    from moto.backends import get_backend

    found = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    for regions in get_backend("sts").values():
        for backend in regions.values():
            for lent in backend.assumed_roles:
                if found and lent.access_key_id == found[1]:
                    return role_of(lent.role_arn)
    return None


def role_of(arn: str) -> Any:
    """A role as moto knows it."""
    return next((role for role in _iam(arn.split(":")[4]).roles.values() if role.arn == arn), None)


def _inline(role: Any) -> Statements:
    return [each for document in role.policies.values() for each in _statements(document)]


def _attached(role: Any) -> Statements:
    return [each for policy in role.managed_policies.values() for each in _statements(_current(policy))]


def _current(policy: Any) -> str:
    return str(next(version.document for version in policy.versions if version.is_default))


def _statements(document: str | dict[str, Any]) -> Statements:
    """Moto's stacks keep documents as Python has them."""
    if isinstance(document, dict):
        return list(document["Statement"])
    return list(json.loads(unquote(document))["Statement"])


def _simulated(parameters: dict[str, list[str]]) -> str:
    role = role_of(parameters["PolicySourceArn"][0])
    actions = [values[0] for name, values in sorted(parameters.items()) if name.startswith("ActionNames.")]
    resources = [values[0] for name, values in sorted(parameters.items()) if name.startswith("ResourceArns.")] or ["*"]
    given = {
        values[0]: parameters[name.replace("ContextKeyName", "ContextKeyValues.member.1")]
        for name, values in parameters.items()
        if name.endswith("ContextKeyName")
    }
    policies = _inline(role) + _attached(role)
    bound = role.permissions_boundary_arn
    boundary = _statements(_current(_iam(role.arn.split(":")[4]).managed_policies[bound])) if bound else None
    results = ""
    for action in actions:
        for resource in resources:
            inside = boundary is None or allowed(boundary, action, resource, given, role)
            yes = inside and allowed(policies, action, resource, given, role)
            results += (
                f"<member><EvalActionName>{action}</EvalActionName><EvalResourceName>{escape(resource)}"
                f"</EvalResourceName><EvalDecision>{'allowed' if yes else 'implicitDeny'}</EvalDecision>"
                "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>"
                f"{'true' if inside else 'false'}</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>"
                "</member>"
            )
    return (
        "<SimulatePrincipalPolicyResponse><SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated>"
        f"<EvaluationResults>{results}</EvaluationResults>"
        "</SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    )


def _policies() -> Iterator[tuple[str, Any, Any]]:
    from moto.backends import get_backend

    for account, regions in get_backend("iam").items():
        for backend in regions.values():
            for arn, policy in backend.managed_policies.items():
                yield arn, policy, _iam(account)


def _lost(environ: dict[str, Any], boundary: str) -> bool:
    return bool(boundary) and boundary not in {arn for arn, _, _ in _policies()}


def _used(arn: str) -> bool:
    return any(
        policy.attachment_count > 0 or any(role.permissions_boundary_arn == arn for role in iam.roles.values())
        for each, policy, iam in _policies()
        if each == arn
    )


def _has(parameters: dict[str, list[str]]) -> bool:
    """Attached again: AWS does not count it twice."""
    arn = parameters["PolicyArn"][0]
    account = arn.split(":")[4]
    roles = _iam(account).roles.values() if account.isdigit() else []
    return any(role.name == parameters["RoleName"][0] and arn in role.managed_policies for role in roles)


def _refusal(status: int, code: str, message: str) -> Reply:
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>"
    return body, "text/xml", status
