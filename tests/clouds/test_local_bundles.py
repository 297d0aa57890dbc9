"""Code that is brought along: copied beside its run once and whole, and nothing else of the run can be touched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.base import Handle, LaunchMode, Ref, Root
from portal.clouds.local import bundles, kernel, sandbox
from tests.clouds.local_world import World

Running = tuple[World, Handle]
Refused = Callable[[str], Any]

needs_landlock = pytest.mark.skipif(sandbox.abi() == 0, reason="this kernel has no Landlock")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    found = tmp_path / "bundle"
    (found / "package").mkdir(parents=True)
    (found / "package" / "module.py").write_text("NAME = 'brought along'")
    return found


def run_of(world: World, ref: Ref) -> Path:
    return world.cloud.root / str(ref["run"])


@pytest.mark.parametrize("mode", list(LaunchMode))
def test_a_job_runs_from_its_copy_of_the_bundle(running: Running, bundle: Path, mode: LaunchMode) -> None:
    world, handle = running
    code = (
        "import os, sys; from package.module import NAME\nprint(NAME, sys.argv[1:])\nopen('written', 'w').close()\n"
        "assert os.getcwd() == os.environ['PORTAL_BUNDLE'], os.getcwd()\n"
        "open(os.environ['PORTAL_BODOFS'] + '/shared', 'w').close()\n"
    )
    exit, stdout, stderr = world.run(handle, code, "a", bundle=str(bundle), mode=mode)
    assert (exit.code, stdout, stderr) == (0, "brought along ['a']\n", "")
    assert (world.bodofs / "shared").exists()
    assert not (bundle / "written").exists(), "it is a copy"


def test_the_place_of_the_file_and_the_working_directory_are_chosen_apart(running: Running, bundle: Path) -> None:
    world, handle = running
    code = "import os; print(os.getcwd(), os.path.dirname(os.path.abspath(__file__)))"
    process = world.process(code, bundle=str(bundle), directory=Root.WORKSPACE)
    ref = world.cloud.start(handle, process)
    assert world.end(ref).code == 0
    assert world.output(handle, ref) == f"{world.bodofs} {run_of(world, ref)}/bundle\n"
    process = world.process(code, bundle=str(bundle), root=Root.WORKSPACE, directory=Root.BUNDLE)
    ref = world.cloud.start(handle, process)
    assert world.end(ref).code == 0
    assert world.output(handle, ref) == f"{run_of(world, ref)}/bundle {world.bodofs}\n"


def test_results_are_kept_with_the_run(running: Running, refused: Refused) -> None:
    world, handle = running
    code = (
        "import os; from pathlib import Path; output = Path(os.environ['PORTAL_OUTPUT'])\n"
        "assert os.listdir(output) == []\n(output / 'folder').mkdir(); (output / 'folder/result').write_text('42')\n"
        "(output / 'link').symlink_to('/etc/passwd')\n"
    )
    ref = world.cloud.start(handle, world.process(code))
    assert world.end(ref).code == 0
    outputs = world.cloud.outputs(ref)
    assert [(entry.path, entry.kind) for entry in outputs.list("")] == [("folder", "folder"), ("link", "link")]
    with outputs.open("folder/result") as file:
        assert file.read() == b"42"
    with refused("PathNotAllowed"):
        outputs.open("link")


@needs_landlock
def test_a_job_touches_nothing_else_of_its_run(running: Running, bundle: Path) -> None:
    world, handle = running
    code = (
        "import os\nrun = os.path.dirname(os.environ['PORTAL_OUTPUT'])\n"
        "for name in ('spec.json', 'status.json', 'stdout.log', 'bundle.json', 'exit.json', 'cancel', 'bundle/new'):\n"
        "    for mode in 'ra':\n        try:\n            open(f'{run}/{name}', mode); print(mode, name)\n"
        "        except OSError:\n            pass\n"
        "try:\n    os.listdir(run); print('listed')\nexcept OSError:\n    pass\n"
        "try:\n    os.rename(f'{run}/output', f'{run}/bundle/output'); print('moved')\nexcept OSError:\n    pass\n"
    )
    exit, stdout, stderr = world.run(handle, code, bundle=str(bundle))
    assert (exit.code, stdout, stderr) == (0, "a bundle/new\n", "")


def test_starting_twice_gives_the_first(running: Running, bundle: Path) -> None:
    world, handle = running
    code = (
        "import os, time\nshared = os.environ['PORTAL_BODOFS']\nopen(shared + '/starts', 'a').write('x')\n"
        "while not os.path.exists(shared + '/go'): time.sleep(0.01)\n"
    )
    process = world.process(code, bundle=str(bundle))
    refs: list[Ref] = []
    threads = [threading.Thread(target=lambda: refs.append(world.cloud.start(handle, process))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert refs == [refs[0]] * 4
    (bundle / "late").touch()
    assert world.cloud.start(handle, process) == refs[0]
    copied = run_of(world, refs[0]) / "bundle"
    assert {path.name for path in copied.iterdir()} == {"package", process.file}
    (world.bodofs / "go").touch()
    assert world.end(refs[0]).code == 0
    assert (world.bodofs / "starts").read_text() == "x"


def test_a_half_copied_bundle_is_copied_again(running: Running, bundle: Path) -> None:
    """The portal is killed in the middle of it."""
    world, handle = running
    process = world.process("from package.module import NAME; print(NAME)", bundle=str(bundle))
    run = world.cloud.root / f"{handle['steps']['directory']['id']}/runs/{process.id}"
    run.mkdir(parents=True)
    code = (
        "import os, sys; from pathlib import Path; from portal.clouds.local import bundles\n"
        "bundles.os.sendfile = lambda *_: os.kill(os.getpid(), 9)\nbundles.copy(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(bundle), str(run)], check=False).returncode == -9
    assert [path.name for path in run.iterdir()] == [".bundle"]
    ref = world.cloud.start(handle, process)
    assert world.end(ref).code == 0
    assert world.output(handle, ref) == "brought along\n"
    assert not (run / ".bundle").exists()


def test_a_copy_of_before_a_reboot_is_made_again(bundle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    copied = bundles.copy(bundle, run)
    (copied / "kept").touch()
    assert (bundles.copy(bundle, run) / "kept").exists()
    kernel.put(run / "bundle.json", "another boot")
    assert not (bundles.copy(bundle, run) / "kept").exists()


def test_nothing_in_a_copy_leads_out_of_it(bundle: Path, tmp_path: Path) -> None:
    run, secret = tmp_path / "run", tmp_path / "secret"
    run.mkdir()
    secret.write_text("secret")
    links = {
        "inside": "package/module.py",
        "package/up": "../package",
        "around": f"../{bundle.name}/package/module.py",
        "absolute": str(bundle / "package"),
        "dangling": "package/missing",
        "out": "../secret",
        "out-absolute": str(secret),
        "out-by-a-link": "package/way/secret",
        "package/way": "../..",
        "package/all": "..",
        "loop": "loop",
    }
    for name, leads_to in links.items():
        (bundle / name).symlink_to(leads_to)
    os.mkfifo(bundle / "pipe")
    copied = bundles.copy(bundle, run)
    kept = {name: os.readlink(copied / name) for name in links if (copied / name).is_symlink()}
    assert kept == {
        "inside": "package/module.py",
        "package/up": ".",
        "around": "package/module.py",
        "absolute": "package",
        "dangling": "package/missing",
        "package/all": "..",
        "loop": "loop",
    }
    assert not (copied / "pipe").exists()
    said = (run / "stderr.log").read_text()
    assert said.endswith("are no files: out, out-absolute, out-by-a-link, package/way, pipe\n")


def test_modes_are_ours(bundle: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name, mode in (("program", 0o4711), ("secret", 0o600), ("open", 0o666)):
        (bundle / name).touch()
        (bundle / name).chmod(mode)
    (bundle / "package").chmod(0o700)
    copied = bundles.copy(bundle, run)
    modes = {path.name: path.stat().st_mode & 0o7777 for path in copied.iterdir()}
    assert modes == {"program": 0o755, "secret": 0o644, "open": 0o644, "package": 0o755}


def test_a_bundle_that_takes_too_long_is_given_up(
    running: Running, bundle: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, handle = running
    process = world.process("pass", bundle=str(bundle))
    with monkeypatch.context() as patch:
        patch.setattr(bundles, "COPY_SECONDS", 0.0)
        with refused("BundleTooLarge"):
            world.cloud.start(handle, process)
    assert world.cloud.find(handle, process.id) is None
    assert world.end(world.cloud.start(handle, process)).code == 0


def test_code_that_is_not_there_is_refused(running: Running, bundle: Path, refused: Refused) -> None:
    world, handle = running
    process = world.process("pass", bundle=str(bundle))
    for bad, code in (
        (replace(process, bundle=""), "BundleMissing"),
        (replace(process, bundle=str(bundle / "missing")), "BundleMissing"),
        (replace(process, id="other", file="missing.py"), "FileNotFound"),
        (replace(process, id="other", file="../secret"), "PathNotAllowed"),
    ):
        with refused(code):
            world.cloud.start(handle, bad)


def test_a_process_is_found_only_if_it_was_started(running: Running, refused: Refused) -> None:
    world, handle = running
    process = world.process("print('going')")
    assert world.cloud.find({}, process.id) is None
    assert world.cloud.find(handle, process.id) is None
    ref = world.cloud.start(handle, process)
    assert world.cloud.find(handle, process.id) == ref
    world.end(ref)
    assert world.cloud.find(handle, process.id) == ref
    with refused("InvalidId"):
        world.cloud.find(handle, "../x")


def test_a_start_that_was_given_up_does_not_come_true_later(
    running: Running, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent finds the request when whoever made it has long said that it failed."""
    world, handle = running
    process = world.process("open('starts', 'a').write('x')")
    late = time.monotonic() - 60
    with monkeypatch.context() as patch:
        patch.setattr("portal.clouds.local.launch.time.monotonic", lambda: late)
        with refused("NodeRefused"):
            world.cloud.start(handle, process)
    assert world.cloud.find(handle, process.id) is None
    assert world.end(world.cloud.start(handle, process)).code == 0
    assert (world.bodofs / "starts").read_text() == "x"
