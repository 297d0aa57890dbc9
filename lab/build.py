"""Builds the wheel: ``python lab/build.py FOLDER`` puts ``portal_lab-<version>-py3-none-any.whl`` there.

The same sources give the same bytes, whoever builds them and when. What JupyterLab loads, ``portal_lab/labextension``,
is in the repository as it was built from ``ext`` (see README.md), so that nobody needs Node.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIRES = ("ipyparallel>=9.2", "ipykernel>=7", "jupyter_server>=2", "pandas", "pyarrow")
CONFIGURATION = {
    "etc/ipython/ipython_kernel_config.json": {
        "InteractiveShellApp": {"extra_extensions": ["portal_lab.magics"]},
    },
    "etc/jupyter/jupyter_server_config.d/portal_lab.json": {
        "ServerApp": {"jpserver_extensions": {"portal_lab": True}},
    },
}
"""Files below the environment's prefix, by which IPython and Jupyter find us."""

EPOCH = (1980, 1, 1, 0, 0, 0)


def build(folder: Path) -> Path:
    """Write the wheel into a folder, and return its path."""
    package = HERE / "portal_lab"
    found = re.search(r'__version__ = "(.+)"', (package / "__init__.py").read_text())
    assert found
    version = found[1]
    info, data = f"portal_lab-{version}.dist-info", f"portal_lab-{version}.data/data"
    files: dict[str, bytes] = {}
    for path in sorted(package.glob("*.py")):
        files[f"portal_lab/{path.name}"] = path.read_bytes()
    for path in sorted((package / "labextension").rglob("*")):
        if path.is_file():
            inside = path.relative_to(package / "labextension").as_posix()
            files[f"{data}/share/jupyter/labextensions/portal-lab/{inside}"] = path.read_bytes()
    for name, content in CONFIGURATION.items():
        files[f"{data}/{name}"] = (json.dumps(content, indent=2) + "\n").encode()
    metadata = ["Metadata-Version: 2.1", "Name: portal-lab", f"Version: {version}", "License: Apache-2.0"]
    metadata += ["Summary: Notebooks of the Bodo Cloud Platform", "Requires-Python: >=3.11"]
    metadata += [f"Requires-Dist: {each}" for each in REQUIRES]
    files[f"{info}/METADATA"] = ("\n".join(metadata) + "\n").encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: portal-lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = folder / f"portal_lab-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:  # compressed, it would depend on the zlib at hand
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr, entry.create_system = 0o644 << 16, 3
            archive.writestr(entry, content)
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))  # noqa: T201
