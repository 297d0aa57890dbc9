"""The environment of a run: what it was given itself, and the secrets of its groups; and what of it its logs hide."""

from __future__ import annotations

from jobs.models import Run, RunAttempt
from portal import crypto
from portal.clouds.base import CloudError
from portal.errors import UserError
from workspaces import secrets


def environment_of(run: Run) -> dict[str, str]:
    """The variables of its next process; its own win over those of its groups, and later groups over earlier ones.

    Raises CloudError(SecretGroupGone, EnvironmentTooLarge), permanent.
    """
    groups = run.groups()
    gone = [given["name"] for given in run.secret_groups if given["id"] not in {str(group.pk) for group in groups}]
    if gone:
        message = f"The group of secrets {gone[0]} was deleted."
        raise CloudError("SecretGroupGone", message, "Take it out of the job, or create it again.", permanent=True)
    try:
        given = secrets.environment_of(run.workspace, groups) if groups else {}
    except UserError as error:
        raise CloudError(error.code, error.message, error.hint, permanent=True) from None
    return {**given, **crypto.unseal(run.environment)}


def seal_secrets(run: Run) -> str:
    """The values that the logs of an attempt must not show, as they are now: they may be changed or deleted later."""
    try:
        environment = environment_of(run)
    except CloudError:
        environment = crypto.unseal(run.environment)
    return crypto.seal({**environment, "": run.source().token})


def secret_values(attempt: RunAttempt) -> list[str]:
    """What must not be seen in the logs of an attempt."""
    return list(crypto.unseal(attempt.secrets).values())
