"""What jobs are given of a workspace's secrets, and which secrets there can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from portal.clouds.environment import refusal_of
from portal.crypto import unseal
from portal.errors import UserError
from workspaces.models import Secret, SecretGroup, Workspace

MAX_VALUE = 32 * 1024
"""Bytes of one value, as UTF-8."""

MAX_SECRET = 64 * 1024
"""Bytes of all values of a secret."""

MAX_KEYS = 50
MAX_ENVIRONMENT = 512 * 1024
"""Bytes of all that a job is given; the system itself takes no more than a few times as much."""


@dataclass(frozen=True)
class Variable:
    """A variable as a job sees it: where its value comes from, and which secrets of earlier groups it hides."""

    key: str
    secret: Secret
    hidden: tuple[Secret, ...] = ()


def variables_of(workspace: Workspace, groups: Iterable[SecretGroup]) -> list[Variable]:
    """The variables that a job gets from groups, by name. Where two groups have the same key, **the later wins**.

    Raises UserError(SecretGroupGone) for a group that is not, or no more, in the workspace.
    """
    wanted = list(groups)
    place = {group.pk: number for number, group in enumerate(wanted)}
    there = set(SecretGroup.objects.in_workspace(workspace).filter(pk__in=place).values_list("pk", flat=True))
    gone = [group.name for group in wanted if group.pk not in there]
    if gone:
        raise UserError(
            "SecretGroupGone",
            f"There is no group of secrets {gone[0]} in this workspace any more.",
            "Take it out of the job, or create it again.",
        )
    secrets = Secret.objects.in_workspace(workspace).filter(group__in=place).select_related("group")
    found: dict[str, Variable] = {}
    for secret in sorted(secrets, key=lambda secret: place[secret.group_id]):
        for key in secret.keys:
            before = found.get(key)
            found[key] = Variable(key, secret, (*before.hidden, before.secret) if before else ())
    return [found[key] for key in sorted(found)]


def environment_of(workspace: Workspace, groups: Iterable[SecretGroup]) -> dict[str, str]:
    """The same with the values. Raises UserError(SecretGroupGone, EnvironmentTooLarge)."""
    variables = variables_of(workspace, groups)
    values = {secret.pk: unseal(secret.sealed) for secret in {variable.secret for variable in variables}}
    environment = {variable.key: values[variable.secret.pk][variable.key] for variable in variables}
    size = sum(len(key.encode()) + len(value.encode()) + 2 for key, value in environment.items())
    if size > MAX_ENVIRONMENT:
        raise UserError(
            "EnvironmentTooLarge",
            f"The secrets of this job have {size // 1024} KB together; {MAX_ENVIRONMENT // 1024} KB are possible.",
            "Give it fewer groups, or keep large values in files.",
        )
    return environment


def refuse_wrong(values: Mapping[str, str]) -> None:
    """Raises UserError(KeyNotAllowed, ValueNotAllowed, SecretTooLarge) for what cannot be a secret."""
    for key, value in values.items():
        if refusal := refusal_of(key):
            raise UserError("KeyNotAllowed", refusal, "Choose another name.", status=422)
        if refusal := refusal_of_value(value):
            raise UserError("ValueNotAllowed", f"{key}: {refusal}", status=422)
    if not values:
        raise UserError("SecretEmpty", "A secret has at least one key.", "Enter one, or delete the secret.", status=422)
    if len(values) > MAX_KEYS:
        message = f"A secret has at most {MAX_KEYS} keys."
        raise UserError("SecretTooLarge", message, "Make a second one in the same group.", status=422)
    if sum(len(value.encode()) for value in values.values()) > MAX_SECRET:
        message = f"The values of a secret have at most {MAX_SECRET // 1024} KB together."
        raise UserError("SecretTooLarge", message, "Make a second one in the same group.", status=422)


def refusal_of_value(value: str) -> str:
    """Why this cannot be a value, as a sentence; empty where it can."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "The value is not valid text."
    if not value:
        return "Enter a value."
    if "\0" in value:
        return "A value cannot hold a NUL character."
    if size > MAX_VALUE:
        return f"A value has at most {MAX_VALUE // 1024} KB; this one has {size / 1024:.1f}."
    return ""
