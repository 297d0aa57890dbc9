"""The environment of a run: what was given to it, and which of that is secret."""

from __future__ import annotations

from jobs.models import Run
from portal import crypto


def environment_of(run: Run) -> dict[str, str]:
    """The variables of its process."""
    return crypto.unseal(run.environment)


def secret_values(run: Run) -> list[str]:
    """What must not be seen in its logs."""
    return [*environment_of(run).values(), *crypto.unseal(run.source_token).values()]
