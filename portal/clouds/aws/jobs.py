"""Jobs on an AWS cluster, from the portal's side: the run's mailbox in the bucket, and a word to its machines.

A run begins once, however often it is asked for and whoever dies: the machine that takes it and the portal that gives
it up both want to write the same object, and S3 lets only the first (``begin/<try>``). So an error of ``start`` says
the truth, and so does ``find``. What may be lost is only time.

    start   mailbox filled, then SendCommand to the head machine; refused or without an answer: the try is withdrawn
    find    reads the mailbox; a try that nobody decided over is withdrawn, for its command may still be on its way
    stop    a try that has not begun is withdrawn; else all machines are told, and the mailbox
    poll    reads exit.json; now and then, whether the machines stand and the runner lives

Cost of polling, at S3's list prices for us-east-2 ("Amazon S3 pricing": 0.4 cents for 10,000 GET, 5 cents for 10,000
PUT): one GET of exit.json every two seconds for each run is 1,800 an hour, 0.07 cents. The runner's own requests come
to 0.6 cents an hour at most: logs every 10 seconds for each stream that is written to, a beat a minute, a look for
cancel every 10 seconds. DescribeInstances costs nothing, and is asked once per region every 30 seconds for all runs
together.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from portal.clouds.aws import bundles, commands
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.mailbox import Mailbox, age
from portal.clouds.aws.node.mailbox import BEAT_SECONDS, begin_key
from portal.clouds.aws.session import Session
from portal.clouds.base import CloudError, Exit, ExitReason, Handle, Process, Ref, Root
from portal.clouds.environment import refuse_forbidden

logger = logging.getLogger(__name__)
T = TypeVar("T")
AT_ONCE = 8
"""Questions that are asked of S3 side by side."""

NAMED_AT_ONCE = 200
"""Values of a filter of DescribeInstances (Amazon EC2 User Guide, "List and filter your resources")."""

REMEMBERED = 10_000
"""Things that were said to machines; after that, some are said again."""

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}")
_GONE = {"stopped", "terminated"}


class Jobs:
    """The jobs of one cloud configuration. ``session`` gives the account in a region."""

    look_seconds = 30.0
    """How often the machines of a running job are looked at."""

    begin_seconds = 120.0
    """How long a machine has to take a run."""

    quiet_seconds = 2.5 * BEAT_SECONDS
    """A run of which nothing was heard for so long has no runner any more, or no network."""

    again_seconds = 30.0
    """After how long a word to a run's machines is said again."""

    def __init__(self, configuration: Configuration, session: Callable[[str], Session]) -> None:
        self.configuration, self.session = configuration, session
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], float] = {}
        self._begun: set[str] = set()

    def mailbox(self, workspace: str, run: str) -> Mailbox:
        """The mailbox of a run. Raises CloudError(InvalidId)."""
        for id in (workspace, run):
            if not _SAFE_ID.fullmatch(id):
                raise CloudError("InvalidId", f"{id!r} cannot name a run.", permanent=True)
        return Mailbox(self.session(self.configuration.region), self.configuration, workspace, run)

    def box_of(self, ref: Ref) -> Mailbox:
        """The mailbox that a reference names."""
        return self.mailbox(ref["workspace"], ref["run"])

    def start(self, handle: Handle, process: Process) -> Ref:
        """See ``Cloud.start``."""
        machines = [str(node["id"]) for node in handle.get("nodes", [])]
        workspace = str(handle.get("workspace", ""))
        box = self.mailbox(workspace, process.id) if workspace else None
        request = box.read("request.json") if box else None
        number = 1
        if box and request:
            number, ref = request["try"], _ref(request)
            decision = box.decision(number)
            if decision is None and request["machines"] == machines:
                self._send_start(box, ref)
                return ref
            if decision is None and not box.withdraw(number, "moved"):
                return ref
            if decision and (decision["by"] == "machine" or box.head("exit.json")):
                return ref
            number += 1
        if box is None or not machines:
            raise CloudError("ClusterNotRunning", "The cluster is not running.", "Start it, then run the job again.")
        refuse_forbidden(process.environment)
        region = str(handle.get("region") or self.configuration.region)
        request = self._fill(box, process, {"try": number, "machines": machines, "region": region})
        ref = _ref(request)
        self._send_start(box, ref)
        return ref

    def find(self, handle: Handle, run: str) -> Ref | None:
        """See ``Cloud.find``."""
        workspace = str(handle.get("workspace", ""))
        if not workspace:
            return None
        box = self.mailbox(workspace, run)
        request = box.read("request.json")
        if request is None:
            return None
        decision = box.decision(request["try"])
        if decision is None:
            begun = not box.withdraw(request["try"], "given up")
        else:
            begun = decision["by"] == "machine" or box.head("exit.json") is not None
        return _ref(request) if begun else None

    def stop(self, ref: Ref) -> None:
        """See ``Cloud.stop``."""
        box = self.box_of(ref)
        decision = box.decision(ref["try"])
        if decision is None and box.withdraw(ref["try"], "cancelled"):
            decision = {"by": "portal"}
        if decision and decision["by"] == "portal":
            self._end(box, ExitReason.CANCELLED, "It was cancelled before it began.")
            return
        box.say_first("cancel", {"at": time.time()})
        self._tell(ref, "cancel", ref["machines"])

    def poll(self, refs: Sequence[Ref]) -> list[Exit | None]:
        """See ``Cloud.poll``."""
        found = _side_by_side(self._exit_of, refs)
        running = [ref for ref, exit in zip(refs, found, strict=True) if exit is None]
        due = [ref for ref in running if self._due(ref, "look", self.look_seconds)]
        if due:
            try:
                self._look_after(due)
            except CloudError as error:  # what has ended is to be known all the same
                logger.warning("The machines of running jobs cannot be looked at: %s", error)
        return found

    # --- starting ---

    def _fill(self, box: Mailbox, process: Process, where: dict[str, Any]) -> dict[str, Any]:
        """Put everything into the mailbox, the request last."""
        said = ""
        if process.bundle:
            with bundles.packed(process.bundle, process.file if process.root is Root.BUNDLE else "") as (file, said):
                box.put_file("bundle.tar.gz", file)
        elif Root.BUNDLE in (process.root, process.directory):
            raise CloudError("BundleMissing", "The code of this run was not brought along.", "Run it again.")
        box.say_first("environment.json", dict(process.environment))
        request = {
            "id": process.id,
            "workspace": box.workspace,
            "file": process.file,
            "arguments": list(process.arguments),
            "mode": process.mode.value,
            "workers": process.workers,
            "timeout": process.timeout,
            "root": process.root.value,
            "directory": process.directory.value,
            "bundle": bool(process.bundle),
            "said": said,
            **where,
        }
        box.put("request.json", request)
        return request

    def _send_start(self, box: Mailbox, ref: Ref) -> None:
        """Tell the head machine. An error is raised only where the run does not begin."""
        try:
            commands.run(self.session(ref["region"]), ref["machines"][:1], f"start {ref['run']} {ref['try']}")
        except CloudError:
            if box.withdraw(ref["try"], "not sent"):
                raise

    # --- looking after what runs ---

    def _exit_of(self, ref: Ref) -> Exit | None:
        box = self.box_of(ref)
        told = box.read("exit.json")
        if told is None:
            return None
        self._forget_environment(box, ref)
        ended = _time(told["ended"]) or datetime.now(UTC)
        reason, started = ExitReason(told["reason"]), _time(told["started"])
        return Exit(reason, told["code"], started, ended, told.get("signal"), told.get("detail", ""))

    def _look_after(self, refs: Sequence[Ref]) -> None:
        """Whether runs began, and are watched by a machine that is there."""
        by_region: dict[str, set[str]] = defaultdict(set)
        for ref in refs:
            by_region[ref["region"]].update(ref["machines"])
        standing = {region: self._standing(region, sorted(machines)) for region, machines in by_region.items()}
        _side_by_side(lambda ref: self._look_at(ref, standing[ref["region"]]), refs)

    def _look_at(self, ref: Ref, standing: set[str]) -> None:
        box = self.box_of(ref)
        if ref["run"] not in self._begun and not self._has_begun(box, ref):
            return
        head, *others = ref["machines"]
        if head not in standing:
            self._end(box, ExitReason.LOST, "The machine that it ran on went away.")
            if others:
                self._tell(ref, "cancel", [other for other in others if other in standing])
        elif not standing.issuperset(others):
            box.say_first("cancel", {"lost": "A machine of the cluster was lost.", "at": time.time()})
        else:
            heard = box.head("beat") or box.head(begin_key(ref["try"]))
            if heard and age(heard) > self.quiet_seconds:
                self._tell(ref, "bury", ref["machines"][:1])

    def _has_begun(self, box: Mailbox, ref: Ref) -> bool:
        """Whether the machine took the run; one that it does not take in time ends here."""
        decision = box.decision(ref["try"])
        if decision is None:
            asked = box.head("request.json")
            if asked is None or age(asked) <= self.begin_seconds or not box.withdraw(ref["try"], "too late"):
                return False
            decision = {"by": "portal"}
        if decision["by"] == "portal":
            detail = f"The head machine did not take it within {self.begin_seconds:.0f} seconds; it was not started."
            self._end(box, ExitReason.LOST, detail)
            return False
        self._forget_environment(box, ref)
        with self._lock:
            self._begun.add(ref["run"])
        return True

    def _standing(self, region: str, machines: Sequence[str]) -> set[str]:
        """Those of the machines that run, or are about to stop."""
        ec2 = self.session(region).client("ec2")
        found = set()
        for start in range(0, len(machines), NAMED_AT_ONCE):
            named = {"Name": "instance-id", "Values": list(machines[start : start + NAMED_AT_ONCE])}
            for reservation in ec2.pages("describe_instances", "Reservations", Filters=[named]):
                for machine in reservation["Instances"]:
                    if machine["State"]["Name"] not in _GONE:
                        found.add(machine["InstanceId"])
        return found

    def _end(self, box: Mailbox, reason: ExitReason, detail: str) -> None:
        """Say how a run ended, unless its machine has said so."""
        ending = {"reason": reason.value, "code": None, "signal": None, "detail": detail, "started": None}
        box.say_first("exit.json", {**ending, "ended": time.time()})

    def _tell(self, ref: Ref, word: str, machines: Sequence[str]) -> None:
        """A word to machines that may be gone, not all the time."""
        if not self._due(ref, word, self.again_seconds):
            return
        try:
            commands.run_where_possible(self.session(ref["region"]), machines, f"{word} {ref['run']}")
        except CloudError as error:
            self._not_done(ref, word)
            logger.warning("The machines of run %s could not be told to %s: %s", ref["run"], word, error)

    def _forget_environment(self, box: Mailbox, ref: Ref) -> None:
        """Once for each run; an exit is worth more than this."""
        if self._due(ref, "forget", float("inf")):
            try:
                box.forget_environment()
            except CloudError as error:
                self._not_done(ref, "forget")
                logger.warning("The variables of run %s could not be removed: %s", ref["run"], error)

    def _due(self, ref: Ref, what: str, every: float) -> bool:
        """Whether it is time to do something for a run; the first time, it is."""
        now, key = time.monotonic(), (ref["run"], what)
        with self._lock:
            if key in self._said and now - self._said[key] < every:
                return False
            if len(self._said) > REMEMBERED:
                self._said.clear()
                self._begun.clear()
            self._said[key] = now
            return True

    def _not_done(self, ref: Ref, what: str) -> None:
        with self._lock:
            self._said.pop((ref["run"], what), None)


def _ref(request: dict[str, Any]) -> Ref:
    return {
        "workspace": request["workspace"],
        "run": request["id"],
        "try": request["try"],
        "region": request["region"],
        "machines": request["machines"],
    }


def _side_by_side(ask: Callable[[Ref], T], refs: Sequence[Ref]) -> list[T]:
    if len(refs) < 2:
        return [ask(ref) for ref in refs]
    with ThreadPoolExecutor(min(AT_ONCE, len(refs))) as pool:
        return list(pool.map(ask, refs))


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
