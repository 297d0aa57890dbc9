"""Which environment variables a job may be given. One rule for forms, secrets and providers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from portal.clouds.base import CloudError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

RESERVED = re.compile(
    r"(PORTAL_|LD_|BODO_NUM_WORKERS$|BODO_SPAWN_MODE$|PMI|HYDRA_|MPIR_|GLIBC_TUNABLES$|PYTHONHOME$|HOME$|TMPDIR$)"
)
"""Variables that a job cannot set: the loader's, the launcher's and ours."""

CATALOG, CATALOGS = "PORTAL_CATALOG", "PORTAL_CATALOGS"
"""Those of ours that the portal itself gives to a process: the catalog of a job, or all of the workspace, as JSON."""


def refusal_of(name: str) -> str:
    """Why people cannot give a job a variable of this name, as a sentence; empty where they can."""
    if not NAME.fullmatch(name):
        return f"{name[:40]!r} is not a variable's name: use letters, digits and _, at most 128, no digit first."
    if RESERVED.match(name):
        return f"{name} is reserved: the platform sets it, or the system's loader reads it."
    return ""


def refuse_forbidden(environment: Mapping[str, str]) -> None:
    """Raise CloudError(EnvironmentNotAllowed) for variables that a job may not be started with."""
    for name, value in environment.items():
        if "\0" in value:
            raise CloudError("EnvironmentNotAllowed", f"The value of {name} holds a NUL character.", permanent=True)
        refusal = "" if name in (CATALOG, CATALOGS) else refusal_of(name)
        if refusal:
            raise CloudError("EnvironmentNotAllowed", refusal, "Remove it from the job's environment.", permanent=True)
