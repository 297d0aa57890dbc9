"""The whole way on a real AWS account, under a price cap: ``python -m portal.clouds.aws.live --help`` (docs/aws-live).

It works as an administrator of the account, found where boto3 looks for keys, and plays the portal's part as well. What
it makes stands in a record on disk before and after every step, so that ``--remove RECORD`` goes on removing whatever
became of the process. When the money or the time is up, it stops where it is and removes everything.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from portal.clouds.aws import onboarding, prices
from portal.clouds.aws.configuration import REGIONS, Configuration, new_external_id
from portal.clouds.aws.provider import AwsCloud
from portal.clouds.aws.session import Session
from portal.clouds.base import (
    Check,
    CloudError,
    ClusterSpec,
    ExitReason,
    Failed,
    Handle,
    LaunchMode,
    LogStream,
    Pending,
    Process,
    Settled,
    Step,
    Target,
    WorkspaceSpec,
)

STANDING = Decimal("0.06")
"""US dollars an hour for what a workspace has that costs by the hour: NAT gateway 0.045, public address 0.005, and
something for storage and requests (Amazon VPC Pricing, US regions, 2026)."""

TRIES = 20
"""How often in a row a step on the way up may fail, with 15 seconds between."""

REMOVAL_HOURS = Decimal("0.5")
"""So long may a removal take; what it costs is kept back from the cap."""

PROGRAM = """\
import os, pandas as pd
import bodo

@bodo.jit
def total(rows):
    frame = pd.DataFrame({"a": range(rows)})
    return frame.a.sum()

print("total", total(1000), "workers", bodo.get_size())
with open(os.path.join(os.environ["PORTAL_OUTPUT"], "result.txt"), "w") as file:
    file.write("done")
"""


def say(sentence: str) -> None:
    """To whoever watches."""
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


class GivenUpError(Exception):
    """It does not go on: something failed, or cost or lasted too much."""


@dataclass
class Meter:
    """What was spent, by the hours that things stood. It knows list prices, not the bill: that comes a day later."""

    cap: Decimal
    minutes: float
    hourly: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)
    clock: Callable[[], float] = time.monotonic
    began: float = 0.0
    last: float = 0.0

    def start(self) -> None:
        """From here on it counts."""
        self.began = self.last = self.clock()

    def at(self, hourly: Decimal) -> None:
        """From now on things cost so much an hour."""
        self.tick()
        self.hourly = hourly

    def tick(self) -> None:
        """Count the time since the last look."""
        now = self.clock()
        self.spent += self.hourly * Decimal(now - self.last) / 3600
        self.last = now

    def refuse_more(self) -> None:
        """Raises GivenUpError where what is left is needed for the removal, or the time is up."""
        self.tick()
        if self.spent + self.hourly * REMOVAL_HOURS >= self.cap:
            raise GivenUpError(f"{self.spent:.4f} USD are spent; the rest of {self.cap} is kept for the removal.")
        if self.clock() - self.began > self.minutes * 60:
            raise GivenUpError(f"{self.minutes:g} minutes are over.")


@dataclass
class Record:
    """What stands, on disk."""

    path: Path
    content: dict[str, Any] = field(default_factory=dict)

    def handle(self, name: str) -> Handle:
        """The handle of a deployment."""
        return dict(self.content.get(name, {}))

    def keep(self, **values: Any) -> None:
        """Write it whole, at once and for good."""
        self.content.update(values)
        draft = self.path.with_suffix(".new")
        with draft.open("w") as file:
            json.dump(self.content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self.path)


@dataclass
class Walk:
    """One walk through an account."""

    record: Record
    meter: Meter
    region: str
    instance_type: str
    instances: int
    endpoint: str = ""
    pause: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = say

    def go(self) -> None:
        """The whole way and back. Raises GivenUpError, with everything removed that could be."""
        self.meter.start()
        try:
            self._up()
        except (Exception, KeyboardInterrupt) as error:
            self.say(f"\nGiving up: {error or type(error).__name__}\n")
            self.remove()
            raise GivenUpError(str(error) or type(error).__name__) from error
        self.remove()

    def _up(self) -> None:
        self.say("Connect the account")
        work = self._onboarding()
        self._settle("onboarding", lambda handle: work.advance(handle))
        cloud = self._cloud()
        self._checked("Validate", self._eventually(cloud.check))
        self._checked("Can a workspace be made", cloud.check_workspace(self._workspace()))
        self.meter.at(STANDING)
        self.say("Workspace")
        self._settle("workspace", lambda handle: cloud.advance_workspace(self._workspace(), handle, Target.RUNNING))
        files = cloud.files(self.record.handle("workspace"))
        files.save("live.py", iter([PROGRAM.encode()]))
        with files.open("live.py") as file:
            _demand(file.read() == PROGRAM.encode(), "The file that was written is not the one that is read.")
        self._checked("Can a cluster be made", cloud.check_cluster(self._cluster()))
        self.meter.at(STANDING + self._machines(cloud))
        for target, title in (
            (Target.RUNNING, "Cluster"),
            (Target.PAUSED, "Pause it"),
            (Target.RUNNING, "Resume it"),
        ):
            self.say(title)
            self._settle("cluster", lambda handle, to=target: cloud.advance_cluster(self._cluster(), handle, to))  # type: ignore[misc]
            if target is Target.RUNNING:
                self._run(cloud)

    def _run(self, cloud: AwsCloud) -> None:
        self.say("A job on all its cores")
        handle = self.record.handle("cluster")
        cores = int(handle["made_of"]["cores"])
        process = Process(
            str(uuid.uuid4()), "live.py", [], {}, LaunchMode.SPAWN, workers=cores * self.instances, timeout=900
        )
        ref = cloud.start(handle, process)
        while (exit_ := cloud.poll([ref])[0]) is None:
            self.meter.refuse_more()
            self.pause(cloud.poll_seconds)
        for stream in LogStream:
            said = cloud.logs(handle, ref, stream, 0, 1 << 16).data.decode(errors="replace")
            self.say("".join(f"    {stream.value}: {line}\n" for line in said.splitlines()).rstrip())
        _demand(exit_.reason is ExitReason.EXITED and exit_.code == 0, f"The job ended with {exit_}.")
        _demand([each.name for each in cloud.outputs(ref).list("")] == ["result.txt"], "The job's result is missing.")

    def remove(self) -> None:
        """Everything, in the reverse order. A removal has no cap: what is left would go on costing money."""
        if "id" not in self.record.content:
            return
        cloud = self._cloud()
        if self.record.handle("cluster"):
            self.say("Remove the cluster")
            self._remove("cluster", lambda handle: cloud.advance_cluster(self._cluster(), handle, Target.TERMINATED))
        if self.record.handle("workspace"):
            self.meter.at(STANDING)
            self.say("Remove the workspace")
            spec = self._workspace()
            self._remove("workspace", lambda handle: cloud.advance_workspace(spec, handle, Target.TERMINATED))
            self.meter.at(Decimal(0))
            self._refuse_left(cloud)
        self.say("Remove bucket, table, policy and role")
        self._empty_bucket()
        work = self._onboarding()
        self._remove("onboarding", lambda handle: work.advance(handle, wanted=False))
        self.record.path.unlink()
        self.say(f"Nothing is left. About {self.meter.spent:.4f} USD were spent, by list prices.")

    def _refuse_left(self, cloud: AwsCloud) -> None:
        left = cloud.find_orphans([])
        for orphan in left:
            self.say(f"    LEFT: {orphan.kind} {orphan.id} in {orphan.region}")
        _demand(not left, f"{len(left)} things are left. Remove them in the AWS console.")

    def _remove(self, name: str, advance: Callable[[Handle], Step]) -> None:
        self._settle(name, advance, leaving=True)

    def _settle(self, name: str, advance: Callable[[Handle], Step], *, leaving: bool = False) -> None:
        failures = 0
        while True:
            if not leaving:
                self.meter.refuse_more()
            step = advance(self.record.handle(name))
            self.record.keep(**{name: step.handle})
            for event in step.events:
                self.say(f"    {event.message}")
            match step.outcome:
                case Settled():
                    return
                case Pending(after=after):
                    failures = 0
                    self.pause(after)
                case Failed(error) if leaving or (not error.permanent and failures < TRIES):
                    failures += 1
                    self.say(f"    {error} Trying again.")
                    self.pause(15)
                case Failed(error):
                    raise error

    def _eventually(self, check: Callable[[], Sequence[Check]]) -> Sequence[Check]:
        """A new role's policy takes some seconds to be known everywhere."""
        for _ in range(6):
            checks = check()
            if all(each.passed for each in checks):
                break
            self.pause(10)
        return checks

    def _checked(self, title: str, checks: Sequence[Check]) -> None:
        self.say(title)
        for check in checks:
            self.say(f"    {'ok    ' if check.passed else 'FAILED'} {check.name}: {check.detail} {check.hint}".rstrip())
        _demand(all(check.passed for check in checks), f"{title}: some checks failed.")

    def _machines(self, cloud: AwsCloud) -> Decimal:
        hourly = prices.hourly(cloud.session(self.region), self.region, self.instance_type, spot=False)
        if hourly is None:
            raise GivenUpError(f"AWS does not say what {self.instance_type} costs, so no cap could be kept.")
        return hourly * self.instances

    def _empty_bucket(self) -> None:
        """With all versions: it is ours, and nothing else is in it."""
        s3 = Session(self.region, endpoint=self.endpoint).client("s3")
        configuration = self._configuration()
        mine = {"Bucket": configuration.bucket, "ExpectedBucketOwner": configuration.account}
        for kind in ("Versions", "DeleteMarkers"):
            try:
                for each in list(s3.pages("list_object_versions", kind, **mine)):
                    s3.delete_object(**mine, Key=each["Key"], VersionId=each["VersionId"])
            except CloudError as error:
                if error.code != "NotFound":
                    raise

    def _onboarding(self) -> onboarding.Onboarding:
        session = Session(self.region, endpoint=self.endpoint)
        account = session.account()
        if "id" not in self.record.content:
            self.record.keep(id=str(uuid.uuid4()), external_id=new_external_id(), region=self.region)
        content = self.record.content
        return onboarding.begin(session, content["id"], content["external_id"], account)

    def _configuration(self) -> Configuration:
        return self._onboarding().configuration

    def _cloud(self) -> AwsCloud:
        return AwsCloud(self._configuration(), f"live walk {self.record.content['id']}", self.endpoint)

    def _workspace(self) -> WorkspaceSpec:
        return WorkspaceSpec(self.record.content["id"], "Live walk", self.region)

    def _cluster(self) -> ClusterSpec:
        content = self.record.content
        if "cluster_id" not in content:
            release = self._cloud().releases()[0].version
            self.record.keep(cluster_id=str(uuid.uuid4()), release=release)
        return ClusterSpec(
            id=content["cluster_id"],
            name="Live walk",
            workspace=self._workspace(),
            workspace_handle=self.record.handle("workspace"),
            instance_type=self.instance_type,
            instances=self.instances,
            release=content["release"],
        )


def _demand(fact: bool, otherwise: str) -> None:
    if not fact:
        raise GivenUpError(otherwise)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. The exit status is 0 only where everything happened and nothing is left."""
    parser = argparse.ArgumentParser(
        prog="python -m portal.clouds.aws.live", description="Walk the whole way on a real AWS account. It costs money."
    )
    parser.add_argument("--region", choices=REGIONS, default="us-east-2")
    parser.add_argument("--type", default="c6i.large", help="instance type (c6i.large)")
    parser.add_argument("--instances", type=int, default=2, help="how many machines (2)")
    parser.add_argument("--cap", type=Decimal, default=Decimal(2), help="US dollars at most, by list prices (2)")
    parser.add_argument("--minutes", type=float, default=90, help="when to give up (90)")
    parser.add_argument("--record", type=Path, default=Path("aws-live.json"), help="where what stands is written down")
    parser.add_argument("--remove", action="store_true", help="only remove what stands in the record")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    chosen = parser.parse_args(arguments)
    content = json.loads(chosen.record.read_text()) if chosen.record.exists() else {}
    if content and not chosen.remove:
        say(f"{chosen.record} is of a walk that did not end. Remove what it made first: add --remove.")
        return 2
    record = Record(chosen.record, content)
    region = content.get("region", chosen.region)
    endpoint = os.environ.get("PORTAL_AWS_ENDPOINT", "")
    walk = Walk(record, Meter(chosen.cap, chosen.minutes), region, chosen.type, chosen.instances, endpoint)
    try:
        account = Session(region, endpoint=endpoint).account()
        say(f"Account {account}, {region}, {chosen.instances} × {chosen.type}, at most {chosen.cap} USD.")
        if not chosen.yes and input("Make things there that cost money? Type yes: ") != "yes":
            return 2
        walk.meter.start()
        walk.remove() if chosen.remove else walk.go()
    except (CloudError, GivenUpError) as error:
        say(f"\n{error}\n{getattr(error, 'hint', '')}")
        if record.path.exists():
            say(f"Something may be left: run it again with --remove --record {record.path}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
