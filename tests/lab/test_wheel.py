"""The wheel of notebooks: what is released is what the sources give."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LAB = ROOT / "lab"
RELEASES = ROOT / "portal/clouds/local/releases"
PACKAGES = Path(os.environ.get("TEST_LAB_NODE_MODULES") or LAB / "ext/node_modules")
HOW = "Run: .venv/bin/python lab/build.py portal/clouds/local/releases"


def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lab_build", LAB / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_released_wheel_is_what_the_sources_give(tmp_path: Path) -> None:
    wheel = builder().build(tmp_path)
    released = sorted(RELEASES.glob("portal_lab-*.whl"))
    assert [each.name for each in released] == [wheel.name], HOW
    assert released[0].read_bytes() == wheel.read_bytes(), HOW


def test_the_wheel_is_the_same_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    first = builder().build(tmp_path)
    copy = tmp_path / "elsewhere"
    shutil.copytree(LAB, copy, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    for path in copy.rglob("*"):
        os.utime(path, (1, 1))
    (tmp_path / "second").mkdir()
    done = subprocess.run(
        [shutil.which("python3") or "python3", "-I", str(copy / "build.py"), str(tmp_path / "second")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(done.stdout.strip()).read_bytes() == first.read_bytes()


def test_the_wheel_brings_what_jupyter_and_kernels_look_for(tmp_path: Path) -> None:
    with zipfile.ZipFile(builder().build(tmp_path)) as wheel:
        names = wheel.namelist()
        assert wheel.testzip() is None
        data = next(name for name in names if name.endswith(".data/data/etc/ipython/ipython_kernel_config.json"))
        config = json.loads(wheel.read(data))
        assert config == {"InteractiveShellApp": {"extra_extensions": ["portal_lab.magics"]}}
        toolbar = next(name for name in names if name.endswith("share/jupyter/labextensions/portal-lab/package.json"))
        load = json.loads(wheel.read(toolbar))["jupyterlab"]["_build"]["load"]
        assert toolbar.replace("package.json", load) in names


def test_no_file_names_a_registry() -> None:
    locked = json.loads((LAB / "ext/package-lock.json").read_text())
    packages = [name for name in locked["packages"] if name]
    assert len(packages) > 100
    assert [name for name in packages if "resolved" in locked["packages"][name]] == []
    assert [name for name in packages if "integrity" not in locked["packages"][name]] == []


@pytest.mark.skipif(not PACKAGES.is_dir() or not shutil.which("node"), reason="Node's packages are not there: npm ci")
def test_the_toolbar_is_what_its_sources_give(tmp_path: Path) -> None:
    ext = tmp_path / "ext"
    shutil.copytree(LAB / "ext", ext, ignore=shutil.ignore_patterns("node_modules", "lib"))
    shutil.copytree(PACKAGES, ext / "node_modules", copy_function=os.link, symlinks=True)
    subprocess.run(["npm", "run", "build"], cwd=ext, check=True, capture_output=True, timeout=300)
    built = tmp_path / "portal_lab/labextension"
    files = {str(path.relative_to(built)): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    kept = LAB / "portal_lab/labextension"
    assert files == {str(path.relative_to(kept)): path.read_bytes() for path in kept.rglob("*") if path.is_file()}
