"""Which of the system's directories are opened, where the portal's own stand below one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from portal.clouds.local import kernel, sandbox


def test_what_is_hidden_is_opened_around(tmp_path: Path) -> None:
    system = tmp_path / "opt"
    for path in ("wheels", "portal/code", "portal/var/secrets", "portal-tools"):
        (system / path).mkdir(parents=True)
    (system / "shortcut").symlink_to(system / "portal" / "var")
    opened = sandbox.around([str(system), str(tmp_path / "missing")], [str(system / "portal" / "var")])
    names = ("wheels", "portal/code", "portal-tools")
    assert sorted(opened) == sorted([*(str(system / name) for name in names), str(tmp_path / "missing")])
    assert sandbox.around([str(system)], [str(system)]) == []
    assert sandbox.around([str(system / "wheels")], [str(system / "portal")]) == [str(system / "wheels")]


@pytest.mark.skipif(sandbox.abi() == 0, reason="this kernel has no Landlock")
def test_what_is_hidden_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secret").touch()
    (tmp_path / "open").touch()
    code = (
        "import sys; from portal.clouds.local import sandbox\n"
        "root = sys.argv[1]\n"
        "assert sandbox.restrict([root], [], [], [root + '/var'])\n"
        "open(root + '/open')\n"
        "try:\n    open(root + '/var/secret')\nexcept PermissionError:\n    print('denied')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "denied\n"


def test_an_interpreter_needs_only_its_own_installation() -> None:
    prefix = str(Path(os.path.realpath(sys.executable)).parent.parent)
    found = sandbox.interpreter(sys.executable)
    assert f"{prefix}/bin" in found
    assert all(path.startswith(prefix + "/") for path in found)


def test_a_dead_process_is_never_alive() -> None:
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    zombie = kernel.identity(child.pid)
    assert not kernel.alive(zombie)
    child.wait()
    assert not kernel.alive(zombie)
    assert not kernel.alive(None)
    assert kernel.alive(kernel.identity(os.getpid()))
    assert not kernel.alive({**kernel.identity(os.getpid()), "boot": "another"})
    assert not kernel.alive({**kernel.identity(os.getpid()), "start": 1})
