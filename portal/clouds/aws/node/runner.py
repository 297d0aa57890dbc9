"""Runs a job on the head machine of a cluster, and tells the run's mailbox what becomes of it.

    runner.py start RUN TRY   take the run and return; a second time, do nothing
    runner.py cancel RUN      end it on this machine, also what other machines started here
    runner.py bury [RUN]      say of runs that nobody watches any more how they ended; also at each boot
    runner.py sweep RUN       kill what the run has here

Systems Manager runs these as root. Each run has a daemon, the parent of its supervisor (``portal.clouds.local``, the
same as on LOCAL): it sends the logs while they grow, looks for a request to cancel, and in the end sends the results
and, last, the exit. If it dies, its supervisor ends the run, and ``bury`` sends the rest.

Of a run's directory here, only its logs and its work are its job's; its variables are never written down.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from portal.clouds.aws.node.mailbox import BEAT_SECONDS, STREAMS, Mailbox, begin_key
from portal.clouds.aws.node.places import Machine, Place
from portal.clouds.local import burial, kernel, limits, supervisor

TICK = 0.25
CANCEL_SECONDS = 10.0
"""How often the mailbox is asked for a request to cancel; usually it comes by Systems Manager, at once."""

FIRST_SEND, LAST_SEND, SLOWING = 2.0, 10.0, 100
"""Seconds between two pieces of a log: 2 in the beginning, then a hundredth of what the run has taken, at most 10."""

PIECE = 8 << 20
PEER_GRACE = supervisor.GRACE + 3
"""How long ranks on other machines are left to the head machine's own way to end them."""

FAREWELL_SECONDS = 600.0
"""How long the last words are tried to be sent, before a later ``bury`` has to."""

_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """The command line."""
    match arguments:
        case ["start", run, number]:
            return start(Machine.here(), run, int(number))
        case ["cancel", run]:
            cancel(Machine.here(), run)
        case ["bury", *runs]:
            bury(Machine.here(), runs)
        case ["sweep", run]:
            sweep(run)
        case _:
            print(__doc__, file=sys.stderr)  # noqa: T201
            return 2
    return 0


def start(machine: Machine, run: str, number: int) -> int:
    """Take a try of a run, unless somebody has: then a daemon goes on, and we return."""
    directory = machine.runs / run
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    directory.chmod(0o711)  # its job opens its log in it
    try:
        claim = os.open(directory / f"claim-{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return 0
    os.close(claim)
    if os.fork():
        return 0
    code = 1
    try:
        _leave(directory)
        code = Daemon(machine, directory).live(number)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def cancel(machine: Machine, run: str) -> None:
    """End a run. Where it is not ours to watch, what it has here is killed if it does not end with the rest of it."""
    directory = machine.runs / run
    watcher = kernel.get(directory / "watcher.json")
    if kernel.alive(watcher):
        (directory / "cancel").touch()
        kernel.send(watcher, signal.SIGUSR1)
    elif directory.exists():
        bury(machine, [run])
    else:
        time.sleep(float(machine.node.get("peer_grace", PEER_GRACE)))
        sweep(run)


def bury(machine: Machine, runs: list[str]) -> None:
    """Send what is left of runs whose daemons are gone."""
    machine.runs.mkdir(mode=0o711, parents=True, exist_ok=True)
    for run in runs or sorted(path.name for path in machine.runs.iterdir()):
        directory = machine.runs / run
        if (directory / "done").exists() or not (runs or (directory / "begun").exists()):
            continue  # what did not begin here may have begun on another machine
        if not directory.exists():
            lost = {"reason": "LOST", "detail": "Its machine does not know it.", "code": None, "signal": None}
            Mailbox(machine.node, run).say_first("exit.json", {**lost, "started": None, "ended": time.time()})
            continue
        with contextlib.suppress(BlockingIOError), _alone(directory):
            if kernel.alive(kernel.get(directory / "watcher.json")):
                continue
            if not (directory / "exit.json").exists():
                burial.bury(directory)
            Farewell(machine, directory).say(time.monotonic() + FAREWELL_SECONDS)


def sweep(run: str) -> None:
    """Kill all processes of a run on this machine."""
    for _ in range(100):
        strays = kernel.marked(f"PORTAL_RUN={run}")
        if not strays:
            return
        for who in strays:
            kernel.send(who, signal.SIGKILL)
        time.sleep(0.02)


class Farewell:
    """What is sent of a run, while it goes on and in the end."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.machine, self.directory = machine, directory
        self.place = Place(machine, directory)
        self.mailbox = Mailbox(machine.node, directory.name)
        self.sent: dict[str, int] = kernel.get(directory / "sent.json") or dict.fromkeys(STREAMS, 0)

    def send_logs(self) -> None:
        """What is new in the logs. A piece that was sent and not noted is sent again, perhaps longer: readers go by
        the offsets."""
        for stream in STREAMS:
            log = self.directory / f"{stream}.log"
            while True:
                try:
                    with open(log, "rb") as file:
                        size = limits.readable_size(log, os.fstat(file.fileno()).st_size)
                        file.seek(self.sent[stream])
                        data = file.read(max(0, min(PIECE, size - self.sent[stream])))
                except FileNotFoundError:
                    break
                if not data:
                    break
                self.mailbox.send_part(stream, data, self.sent[stream] + len(data))
                self.sent[stream] += len(data)
                with contextlib.suppress(OSError):  # a full disk
                    kernel.put(self.directory / "sent.json", self.sent)

    def say(self, until: float) -> None:
        """All that is left to send, the exit last; tried again until a time (``time.monotonic``)."""
        self._sweep_others()
        self._insist(self.send_logs, until)
        failed: list[str] = []
        if self.place.output.exists():
            failed = self.mailbox.send_outputs(self.place.output)
        if failed:
            names = ", ".join(sorted(failed)[:20]) + (" …" if len(failed) > 20 else "")
            with contextlib.suppress(OSError), open(self.directory / "stderr.log", "a") as log:
                log.write(f"[portal] These results could not be kept: {names}\n")
            self._insist(self.send_logs, until)
        self._insist(self._send_whole_logs, until)
        outcome = kernel.get(self.directory / "exit.json")
        if self._insist(lambda: self.mailbox.say_first("exit.json", outcome), until):
            (self.directory / "done").touch()
            shutil.rmtree(self.place.work, ignore_errors=True)
            for stream in STREAMS:
                (self.directory / f"{stream}.log").unlink(missing_ok=True)

    def _send_whole_logs(self) -> None:
        for stream in STREAMS:
            with contextlib.suppress(FileNotFoundError), open(self.directory / f"{stream}.log", "rb") as file:
                self.mailbox.send(f"{stream}.log", file, "text/plain; charset=utf-8")

    def _insist(self, send: Callable[[], object], until: float) -> bool:
        pause = 1.0
        while True:
            try:
                send()
            except Exception:
                traceback.print_exc()
                if time.monotonic() + pause > until:
                    return False
                time.sleep(pause)
                pause = min(30.0, pause * 2)
            else:
                return True

    def _sweep_others(self) -> None:
        """Kill what ranks may have left on the cluster's other machines; as their owner, by its SSH."""
        run = self.directory.name
        command = [sys.executable, os.path.abspath(__file__), "sweep", run]
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        became = ["runuser", "-u", self.machine.user, "--"] if self.machine.user else []
        asked = [
            subprocess.Popen([*became, *ssh, host, *command], stdin=subprocess.DEVNULL, start_new_session=True)
            for host in self.machine.others
        ]
        deadline = time.monotonic() + 20
        for each in asked:
            try:
                each.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()


class Daemon:
    """Watches one run."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self.machine, self.directory = machine, directory
        self.place = Place(machine, directory)
        self.farewell = Farewell(machine, directory)
        self.mailbox = self.farewell.mailbox

    def live(self, number: int) -> int:
        """From the decision to begin to the last word."""
        kernel.put(self.directory / "watcher.json", kernel.identity(os.getpid()))
        request = self.mailbox.read_json("request.json")
        given = self.mailbox.read_json("environment.json")  # once the run has begun, the portal removes it
        if request is None or request["try"] != number or given is None:
            return 0
        if not self.mailbox.say_first(begin_key(number), {"by": "machine", "at": time.time()}):
            return 0
        (self.directory / "begun").touch()
        with _alone(self.directory):
            try:
                pid = self.begin(request, given)
            except Exception as error:
                traceback.print_exc()
                self.never_began(error)
            else:
                self.watch(pid)
            self.farewell.say(time.monotonic() + FAREWELL_SECONDS)
        return 0

    def begin(self, request: dict[str, Any], given: dict[str, str]) -> int:
        """Prepare everything, and return the pid of the supervisor once the job's program runs."""
        place = self.place
        if os.path.realpath(place.work) != os.path.join(os.path.realpath(place.root_of_work), place.rest):
            raise OSError(0, f"{place.work} leads elsewhere")  # jobs may write above it, and we are root
        for folder in (self.place.work, self.place.output, self.place.temporary):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if request["bundle"]:
            packed = self.directory / "bundle.tar.gz"
            self.mailbox.save("bundle.tar.gz", packed)
            with tarfile.open(packed) as archive:
                safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # unknown before 3.11.4
                archive.extractall(self.place.bundle, **safely)  # noqa: S202 - the portal packed it itself
            packed.unlink()
        self.machine.give(self.place.work)
        for stream in STREAMS:
            log = self.directory / f"{stream}.log"
            log.touch(mode=0o600)
            self.machine.give(log)
        if request["said"]:
            (self.directory / "stderr.log").write_text(request["said"])
        order = self.place.order(request, given)
        known = {key: value for key, value in order.items() if key != "environment"}
        kernel.put(self.directory / "spec.json", {**known, "agent": kernel.identity(os.getpid())})
        ours, theirs = socket.socketpair()
        agent = os.getpid()
        pid = os.fork()
        if pid == 0:
            ours.close()
            supervisor.main(agent, order, self.directory, theirs)
        theirs.close()
        with ours, ours.makefile("rb") as answers:
            answer = json.loads(answers.readline() or b'{"ok": false, "error": "it ended at once"}')
        if not answer["ok"]:
            os.waitpid(pid, 0)
            raise OSError(0, answer["error"])
        return pid

    def never_began(self, error: Exception) -> None:
        """An exit like a shell's for what cannot be run."""
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or repr(error)
        detail, now = f"It could not be started: {why}.", time.time()
        with contextlib.suppress(OSError), open(self.directory / "stderr.log", "a") as log:
            log.write(f"[portal] {detail}\n")
        ending = {"reason": "EXITED", "detail": detail, "code": 127, "signal": None}
        kernel.put_for_good(self.directory / "exit.json", {**ending, "started": now, "ended": now})

    def watch(self, pid: int) -> None:
        """Until the supervisor ends. What cannot be sent now is sent later."""
        began = time.monotonic()
        beat = sent = asked = 0.0
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            now = time.monotonic()
            if now - sent > min(LAST_SEND, max(FIRST_SEND, (now - began) / SLOWING)):
                sent = now
                self.try_to(self.farewell.send_logs)
            if now - asked > float(self.machine.node.get("cancel_seconds", CANCEL_SECONDS)):
                asked = now
                self.try_to(self.look_for_cancel)
            if now - beat > BEAT_SECONDS:
                beat = now
                self.try_to(self.mailbox.beat)
            woken = signal.sigtimedwait(supervisor.WAKERS, TICK)
            if woken is not None and woken.si_signo == signal.SIGUSR1:
                os.kill(pid, signal.SIGUSR1)
            if woken is not None and woken.si_signo == signal.SIGTERM:
                os.kill(pid, signal.SIGTERM)
        if not (self.directory / "exit.json").exists():
            burial.end_orphans([])
            burial.bury(self.directory)

    def look_for_cancel(self) -> None:
        """Whether the portal asked for the end."""
        asked = self.mailbox.read_json("cancel")
        if asked and asked.get("lost"):
            kernel.put(self.directory / "lost.json", asked["lost"])
        elif asked:
            (self.directory / "cancel").touch()

    def try_to(self, send: Callable[[], object]) -> None:
        """The network may be away for a while; the run goes on."""
        try:
            send()
        except Exception:
            traceback.print_exc()


@contextlib.contextmanager
def _alone(directory: Path) -> Any:
    """Raises BlockingIOError where somebody else has the run in hand."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _leave(directory: Path) -> None:
    """Become a daemon of our own, as Systems Manager ends a command's processes with it."""
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    log = os.open(directory / "runner.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open("/dev/null", os.O_RDONLY)
    for descriptor, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    os.closerange(3, 256)
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, supervisor.WAKERS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
