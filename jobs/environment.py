"""The environment of a run: what it was given itself, the secrets of its groups, its catalog; and what of it its logs
hide."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.models import Run, RunAttempt
from portal import crypto
from portal.clouds.base import CloudError
from portal.clouds.environment import CATALOG
from portal.errors import UserError
from workspaces import catalogs, secrets
from workspaces.models import Catalog


def environment_of(run: Run) -> dict[str, str]:
    """The variables of its next process; its own win over those of its groups, and later groups over earlier ones.

    Raises CloudError(SecretGroupGone, EnvironmentTooLarge, CatalogGone, CatalogUnreadable), permanent.
    """
    groups = run.groups()
    gone = [given["name"] for given in run.secret_groups if given["id"] not in {str(group.pk) for group in groups}]
    if gone:
        message = f"The group of secrets {gone[0]} was deleted."
        raise CloudError("SecretGroupGone", message, "Take it out of the job, or create it again.", permanent=True)
    try:
        given = secrets.environment_of(run.workspace, groups) if groups else {}
        catalog = catalogs.environment_of(_catalog_of(run)) if run.catalog_id else {}
    except UserError as error:
        raise CloudError(error.code, error.message, error.hint, permanent=True) from None
    return {**given, **crypto.unseal(run.environment), **catalog}


def _catalog_of(run: Run) -> Catalog:
    found = run.find_catalog()
    if found is None:
        raise UserError(
            "CatalogGone", f"The catalog {run.catalog_name} was deleted.", "Choose another one for the job."
        )
    return found


def seal_secrets(run: Run, environment: Mapping[str, str] | None = None) -> str:
    """The values that the logs of an attempt must not show: those that its process was given, or, where that is not
    known, those that it would be given now. What they come from may be changed or deleted while it runs."""
    if environment is None:
        try:
            environment = environment_of(run)
        except CloudError:
            environment = crypto.unseal(run.environment)
    hidden = {name: value for name, value in environment.items() if name != CATALOG}
    of_catalog = {f"{CATALOG} {number}": value for number, value in enumerate(catalogs.secret_values_of(environment))}
    return crypto.seal({**hidden, **of_catalog, "": run.source().token})


def secret_values(attempt: RunAttempt) -> list[str]:
    """What must not be seen in the logs of an attempt."""
    return list(crypto.unseal(attempt.secrets).values())
