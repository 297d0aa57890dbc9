"""From a configuration to its cloud."""

from __future__ import annotations

from pathlib import Path

from pytest_django import Settings

from workspaces.clouds import local_cloud


def test_jobs_see_neither_the_portal_nor_other_configurations(settings: Settings, tmp_path: Path) -> None:
    """The roots of LOCAL configurations may stand below a directory that jobs can read, such as /opt."""
    settings.PORTAL_LOCAL_ROOTS = [Path("/opt/clouds")]
    hidden = local_cloud(str(tmp_path)).hidden
    assert {"/opt/clouds", str(settings.PORTAL_HOME), str(settings.BASE_DIR), str(tmp_path)} <= set(hidden)
