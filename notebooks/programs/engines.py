"""The engines of an attached notebook, as one process on the cluster: it holds them together and ends with them.

    a controller            through which the notebook's kernel speaks to the engines
    n ranks under mpiexec   engines 0 to n-1, for Parallel Python cells: ``bodo.jit`` and ``mpi4py``, each rank the same
    one driver              engine n, for SQL and ``bodo.pandas``: it starts its n workers itself when it needs them

The two ways must not be mixed (docs/jobs.md), so they are processes of their own. Once all have answered,
``connection.json`` is in PORTAL_OUTPUT: with it, and only with it, the controller can be spoken to. It goes when the
engines go. ``ended.json`` says in a sentence why they did, unless they were asked to. ``activity`` there is what
``on_engine`` keeps.

A rank that waits in a collective for others hears no signal but SIGKILL. So whoever asks us to end gets that.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

HERE = Path(__file__).resolve().parent
START_SECONDS = 120.0
OUTPUT = Path(os.environ["PORTAL_OUTPUT"])
WORKERS = int(os.environ["PORTAL_WORKERS"])
PROFILE = Path(os.environ["TMPDIR"], "profile")


class AskedToEndError(Exception):
    """Somebody wants the engines to end."""


def main() -> int:
    """Start all of it, and wait for the first that ends."""
    signal.signal(signal.SIGTERM, _asked)
    started: dict[str, subprocess.Popen[bytes]] = {}
    connection, activity = OUTPUT / "connection.json", OUTPUT / "activity"
    activity.mkdir(exist_ok=True)
    try:
        PROFILE.mkdir(parents=True, exist_ok=True)
        started["controller"] = start_controller()
        started["ranks"] = start_ranks()
        started["driver"] = start_driver()
        wait_until_ready(started, activity)
        put(connection, (PROFILE / "security" / "ipcontroller-client.json").read_text())
        wait_for_an_end(started)
    except AskedToEndError:
        pass
    except RuntimeError as error:
        print(error, file=sys.stderr, flush=True)
        put(OUTPUT / "ended.json", json.dumps(str(error)))
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        connection.unlink(missing_ok=True)
        kill_all()
        shutil.rmtree(PROFILE, ignore_errors=True)
    return 0


def own_packages() -> Path:
    """Where ``%ppip`` puts the cluster's own packages (see ``on_engine``), which come before the release's.

    It lies on the cluster's disk, which a pause keeps and a stop does not.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = Path(os.environ["HOME"], "packages", "lib", version, "site-packages")
    packages.mkdir(parents=True, exist_ok=True)  # Python remembers of a path whether it is there
    return packages


def start_controller() -> subprocess.Popen[bytes]:
    """On the loopback, encrypted: others on the machine may connect to its ports, but hear and say nothing."""
    command = [sys.executable, "-m", "ipyparallel.controller", f"--profile-dir={PROFILE}", "--ip=127.0.0.1", "--nodb"]
    command += ["--IPController.enable_curve=True", "--ping=500", "--HeartMonitor.max_heartmonitor_misses=60"]
    return subprocess.Popen([*command, "--log-level=CRITICAL"])


def start_ranks() -> subprocess.Popen[bytes]:
    """Engines 0 to n-1, each the rank of its number."""
    hydra = [f"{sys.prefix}/bin/mpiexec", "-iface", "lo", "-n", str(WORKERS)]
    return _start_engine(hydra, "--mpi", BODO_SPAWN_MODE="0")


def start_driver() -> subprocess.Popen[bytes]:
    """Engine n."""
    return _start_engine([], f"--IPEngine.id={WORKERS}", BODO_NUM_WORKERS=str(WORKERS))


def _start_engine(launcher: list[str], *options: str, **more: str) -> subprocess.Popen[bytes]:
    base = {name: value for name, value in os.environ.items() if name not in ("BODO_NUM_WORKERS", "BODO_SPAWN_MODE")}
    environment = base | more | {"PYTHONPATH": f"{own_packages()}:{HERE}"}
    engine = [sys.executable, "-m", "ipyparallel.engine", f"--profile-dir={PROFILE}", "--log-level=ERROR", *options]
    engine += ["--IPEngine.wait_for_url_file=60", f"--IPEngine.startup_script={HERE / 'on_engine.py'}"]
    return subprocess.Popen(launcher + engine, env=environment)


def wait_until_ready(started: dict[str, subprocess.Popen[bytes]], activity: Path) -> None:
    """Until all engines have said that they are there."""
    deadline = time.monotonic() + START_SECONDS
    while len(list(activity.glob("*.ready"))) < WORKERS + 1:
        refuse_ended(started)
        if time.monotonic() > deadline:
            raise RuntimeError(f"The engines did not start within {START_SECONDS:.0f} seconds.")
        time.sleep(0.02)


def wait_for_an_end(started: dict[str, subprocess.Popen[bytes]]) -> NoReturn:
    """The engines are only of use together."""
    while True:
        refuse_ended(started)
        time.sleep(0.2)


def refuse_ended(started: dict[str, subprocess.Popen[bytes]]) -> None:
    """Raise RuntimeError with what ended first, and how."""
    what = {
        "controller": "The controller of the engines",
        "ranks": "A rank",
        "driver": "The process that runs SQL and bodo.pandas",
    }
    for name, process in started.items():
        code = process.poll()
        if code is not None:
            raise RuntimeError(f"{what[name]} ended {describe(code, mpi=name == 'ranks')}.")


def describe(code: int, *, mpi: bool) -> str:
    """An exit code for people. Those of mpiexec are the number of the signal where a rank was killed."""
    number = -code if code < 0 else code if mpi and code in (4, 6, 7, 8, 9, 11) else 0
    if number:
        return f"by signal {number} ({signal.Signals(number).name})"
    return f"with the exit code {code}"


def kill_all() -> None:
    """End whatever descends from us, whichever session it is in. What is killed leaves its children to the supervisor
    of the run, which ends them as well."""
    for _ in range(20):
        found = descendants()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not found:
            return
        time.sleep(0.02)


def descendants() -> list[int]:
    """All that live and descend from us."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text(errors="replace").rpartition(")")[2].split()
            except OSError:
                continue
            if stat[0] not in "ZX":
                children.setdefault(int(stat[1]), []).append(int(entry))
    found: list[int] = []
    queue = [os.getpid()]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def put(path: Path, text: str) -> None:
    """Write a file whole or not at all, for the owner's eyes only."""
    half = path.with_name(f".{path.name}")
    half.touch(mode=0o600)
    half.write_text(text)
    half.replace(path)


def _asked(*_: object) -> NoReturn:
    raise AskedToEndError


if __name__ == "__main__":
    sys.exit(main())
