"""What a job is, apart from where it is stored: the form in which pages, templates, schedules and the API hand a job to
the services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from clusters.models import Cluster
from portal.clouds.base import LaunchMode
from workspaces.models import Catalog, SecretGroup


class CodeType(StrEnum):
    """The kinds of code that a job can run, as they are named on the wire."""

    PYTHON = "PYTHON"
    IPYNB = "IPYNB"
    SQL = "SQL"


class SourceType(StrEnum):
    """Where the code comes from, as it is named on the wire. SQL is text kept with the job itself."""

    WORKSPACE = "WORKSPACE"
    GIT = "GIT"
    URL = "URL"
    S3 = "S3"
    SQL = "SQL"


QUERY = "?…"
"""Stands for the query of an address, which may be a signature."""


@dataclass(frozen=True)
class Source:
    """Where the code comes from.

    ``location`` is the repository (GIT), the address (URL) or ``s3://bucket/prefix`` (S3); empty otherwise.
    What follows its question mark may be a signature, and is kept as a secret.
    ``reference`` is a branch, tag or commit (GIT; empty is the default branch) or the bucket's region (S3).
    ``token`` is secret: sealed at rest, never shown again.
    """

    type: SourceType = SourceType.WORKSPACE
    location: str = ""
    reference: str = ""
    username: str = ""
    token: str = ""

    @property
    def query(self) -> str:
        """What follows the question mark of ``location``."""
        return self.location.partition("?")[2]

    @property
    def shown(self) -> str:
        """``location`` as people may see it."""
        return self.location.partition("?")[0] + (QUERY if self.query else "")


@dataclass(frozen=True)
class Retry:
    """What happens when an attempt fails: ``count`` more attempts, each ``delay_minutes`` after the last one's end."""

    count: int = 0
    delay_minutes: int = 1
    on_timeout: bool = False


@dataclass(frozen=True)
class NewCluster:
    """A cluster that is made for one run and removed with it. Minutes of 0 are no maximum; without a ``zone`` the cloud
    chooses one; ``instance_role`` is the id of a role of the workspace's, empty for its own."""

    instance_type: str
    instances: int
    release: str
    max_lifetime_minutes: int = 0
    spot: bool = False
    zone: str = ""
    instance_role: str = ""


@dataclass(frozen=True)
class JobSpec:
    """A job. ``file`` is relative to the source; ``sql`` is the text of an inline query, ``parameters`` its values by
    name. ``environment`` values may be secrets. ``catalog`` is where SQL finds its tables; without one, in the
    workspace's files. ``timeout_minutes`` is per attempt."""

    code_type: CodeType = CodeType.PYTHON
    source: Source = field(default_factory=Source)
    file: str = ""
    sql: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    mode: LaunchMode = LaunchMode.SPAWN
    retry: Retry = field(default_factory=Retry)
    timeout_minutes: int = 60
    auto_resume: bool = True
    pause_on_finish: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    secret_groups: Sequence[SecretGroup] = ()
    catalog: Catalog | None = None

    def changed(self, **changes: Any) -> JobSpec:
        """The same job with some things otherwise."""
        return replace(self, **changes)


Place = Cluster | NewCluster
"""Where a run runs."""
