"""What of this program goes to machines: the runner, and what it needs of LOCAL's way to watch a job, as it is."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).parents[3]
_PACKAGES = ("portal", "portal/clouds", "portal/clouds/local", "portal/clouds/aws", "portal/clouds/aws/node")
_LOCAL = ("burial", "endings", "kernel", "limits", "sandbox", "supervisor", "trees")
_OURS = ("mailbox", "places")


def files() -> dict[str, Path]:
    """Where each file lies below /opt/portal/node, and where it is here. They need the standard library and boto3."""
    packages = [f"{package}/__init__.py" for package in _PACKAGES]
    local = [f"portal/clouds/local/{name}.py" for name in _LOCAL]
    ours = [f"portal/clouds/aws/node/{name}.py" for name in _OURS]
    found = {name: _ROOT / name for name in [*packages, *local, *ours]}
    return {"runner.py": _ROOT / "portal/clouds/aws/node/runner.py", **found}
