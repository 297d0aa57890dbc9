"""A cluster whose machines are directories of this one: what Systems Manager is told to run there is really run."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portal.clouds.aws import commands, shipped
from portal.clouds.aws.errors import unreachable
from portal.clouds.aws.jobs import Jobs
from portal.clouds.base import Exit, Handle, LaunchMode, LogStream, Process, Ref, Root
from portal.clouds.local import kernel
from tests.clouds.aws import shim_runs, shim_ssm
from tests.clouds.aws.cloud import CUSTOMER, REGION, Aws, connected
from tests.clouds.aws.world import READS, DiedError, Fate, MortalCloud
from tests.clouds.local_world import wait_for


@dataclass
class Machine:
    """One machine: what lies in /opt/portal, its shared filesystem, its user's home."""

    id: str
    root: Path
    environment: dict[str, str]

    def command(self, words: str) -> list[str]:
        return [sys.executable, str(self.root / "node" / "runner.py"), *words.split()]

    def run(self, words: str) -> tuple[int, str]:
        """Run a command of the runner's, as Systems Manager's agent does: until its output is closed."""
        done = subprocess.run(
            self.command(words), env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr

    @contextlib.contextmanager
    def changed(self, **settings: Any) -> Iterator[None]:
        """Other settings in its node.json, for what starts meanwhile."""
        path = self.root / "node.json"
        before = path.read_text()
        path.write_text(json.dumps({**json.loads(before), **settings}))
        yield
        path.write_text(before)

    def watcher(self, run: str) -> int:
        """The pid of the daemon of a run."""
        path = self.root / "runs" / run / "watcher.json"
        wait_for(path.exists)
        return int(json.loads(path.read_text())["pid"])

    def decided(self, run: str) -> bool:
        """Wait until the daemon of a run has begun, or ended without; whether it began."""
        watcher = self.root / "runs" / run / "watcher.json"
        begun = watcher.with_name("begun")
        wait_for(lambda: begun.exists() or (watcher.exists() and not kernel.alive(json.loads(watcher.read_text()))))
        return begun.exists()

    def processes(self, run: str) -> list[int]:
        """What a run has here."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    marks = Path(f"/proc/{name}/environ").read_bytes()
                except OSError:
                    continue
                if f"PORTAL_RUN={run}".encode() in marks:
                    found.append(int(name))
        return found


@dataclass
class JobsWorld:
    """One cluster that runs, with the cloud over it."""

    aws: Aws
    cloud: MortalCloud
    handle: Handle
    machines: list[Machine]
    root: Path
    commands: list[str] = field(default_factory=list)
    deaf: bool = False
    waiting: list[tuple[Machine, str]] = field(default_factory=list)

    def execute(self, instance: str, lines: Sequence[str]) -> tuple[int, str]:
        """What a machine does with a command. A ``deaf`` one gets it later (``deliver``), or never."""
        machine = next(machine for machine in self.machines if machine.id == instance)
        words = lines[0].removeprefix(commands.RUNNER).strip()
        self.commands.append(words)
        if not self.deaf:
            return machine.run(words)
        self.waiting.append((machine, words))
        return 0, ""

    def deliver(self) -> None:
        """All commands that machines did not get, each twice."""
        self.deaf = False
        for machine, words in [*self.waiting, *self.waiting]:
            machine.run(words)
        self.waiting.clear()

    def new_portal(self, fate: Fate | None = None) -> None:
        """Another process of the portal, which remembers nothing, with a fate of its own."""
        self.cloud._jobs = Jobs(self.cloud.configuration, self.cloud.session)
        self.cloud.fate = fate or Fate(permissions=self.cloud.fate.permissions)

    def look(self, **seconds: float) -> None:
        """Look after runs at each poll; ``seconds`` are other limits of ``Jobs``."""
        for name, value in {"look_seconds": 0.0, "again_seconds": 0.0, **seconds}.items():
            setattr(self.cloud._jobs, name, value)

    @property
    def bodofs(self) -> Path:
        return self.root / "bodofs"

    @property
    def head(self) -> Machine:
        return self.machines[0]

    def process(self, code: str, *arguments: str, **more: Any) -> Process:
        """A process that runs ``code``, from a bundle if there is one."""
        settings = {"environment": {}, "mode": LaunchMode.SPAWN, "workers": 1, "timeout": 60.0, **more}
        settings.setdefault("id", str(uuid.uuid4()))
        file = f"{settings['id']}.py"
        if settings.get("bundle"):
            settings = {"root": Root.BUNDLE, "directory": Root.BUNDLE, **settings}
        place = Path(settings["bundle"]) if settings.get("root") is Root.BUNDLE else self.bodofs
        place.joinpath(file).write_text(code)
        return Process(file=file, arguments=arguments, **settings)

    def start(self, code: str, *arguments: str, **more: Any) -> Ref:
        """Start a process; the reference is what the database gives back."""
        ref: Ref = json.loads(json.dumps(self.cloud.start(self.handle, self.process(code, *arguments, **more))))
        return ref

    def going(self, code: str, *arguments: str, **more: Any) -> Ref:
        """Start a process, and wait until it says that it goes."""
        ref = self.start(code, *arguments, **more)
        log = self.head.root / "runs" / ref["run"] / "stdout.log"
        wait_for(lambda: log.exists() and "going" in log.read_text())
        return ref

    def end(self, ref: Ref, seconds: float = 60) -> Exit:
        found = wait_for(lambda: self.cloud.poll([ref])[0], seconds)
        assert found is not None
        return found

    def output(self, ref: Ref, stream: LogStream = LogStream.STDOUT) -> str:
        return self.cloud.logs(self.handle, ref, stream, 0, 8 << 20).data.decode()

    def run(self, code: str, *arguments: str, **more: Any) -> tuple[Exit, str, str]:
        """Run to the end: exit, stdout, stderr."""
        ref = self.start(code, *arguments, **more)
        exit = self.end(ref)
        return exit, self.output(ref), self.output(ref, LogStream.STDERR)

    def objects(self, ref: Ref | None = None) -> dict[str, bytes]:
        """What the bucket holds now, of a run or at all."""
        s3, bucket = self.aws.administrator().client("s3"), self.cloud.configuration.bucket
        prefix = f"workspaces/{ref['workspace']}/runs/{ref['run']}/" if ref else ""
        found = s3.pages("list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix)
        keys = [each["Key"] for each in found]
        return {key.removeprefix(prefix): s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def kill(self) -> None:
        """Leave no daemon."""
        for machine in self.machines:
            for path in (machine.root / "runs").glob("*/watcher.json"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(json.loads(path.read_text())["pid"], signal.SIGKILL)

    def terminate(self, machine: Machine) -> None:
        self.aws.administrator().client("ec2").terminate_instances(InstanceIds=[machine.id])


@dataclass
class JobsFate(Fate):
    """Counts all calls that change something, those to the bucket, too. ``lost`` loses an answer where a process would
    die."""

    lost: bool = False

    def meet(self, name: str, call: Callable[[], Any]) -> Any:
        if name.startswith(READS):
            return call()
        number = len(self.calls)
        self.calls.append(name)
        if number == self.at and not self.after:
            raise unreachable("It was never asked.") if self.lost else DiedError(name)
        answer = call()
        if number == self.at:
            raise unreachable("The answer was lost.") if self.lost else DiedError(name)
        return answer


def new_jobs_world(aws: Aws, root: Path, release: Path, machines: int = 1, **settings: Any) -> JobsWorld:
    """A cluster of machines. ``settings`` go to their node.json."""
    cloud = MortalCloud(connected(aws), aws.address)
    session = aws.administrator()
    ec2 = session.client("ec2")
    workspace, cluster = str(uuid.uuid4()), str(uuid.uuid4())
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    tags = [{"Key": "portal:workspace", "Value": workspace}, {"Key": "portal:cluster", "Value": cluster}]
    made = ec2.run_instances(
        ImageId=image,
        MinCount=machines,
        MaxCount=machines,
        InstanceType="c5.xlarge",
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )["Instances"]
    keys = aws.keys()
    shim_runs.MACHINES.clear()
    shim_runs.MACHINES.add(keys.access_key_id)
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": keys.access_key_id,
        "AWS_SECRET_ACCESS_KEY": keys.secret_access_key,
        "AWS_SESSION_TOKEN": keys.session_token or "",
        "AWS_ENDPOINT_URL": aws.address,
    }
    (root / "bodofs").mkdir()
    here = []
    for index, instance in enumerate(made):
        place = root / f"machine-{index}"
        for name, path in shipped.files().items():
            (place / "node" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / "node" / name)
        (place / "home").mkdir()
        (place / "home" / "hostfile").write_text("".join(f"10.0.0.{each + 1}:2\n" for each in range(machines)))
        node = {
            "workspace": workspace,
            "cluster": cluster,
            "bucket": cloud.configuration.bucket,
            "account": CUSTOMER,
            "region": REGION,
            "release_python": str(release / "bin" / "python"),
            "runs": str(place / "runs"),
            "home": str(place / "home"),
            "bodofs": str(root / "bodofs"),
            "user": "",
            "disk_reserve": 0,
            "cancel_seconds": 600,
            "peer_grace": 0,
            **settings,
        }
        (place / "node.json").write_text(json.dumps(node))
        here.append(Machine(instance["InstanceId"], place, {**environment, "PORTAL_NODE": str(place / "node.json")}))
    nodes = [{"id": machine.id, "address": f"10.0.0.{index + 1}"} for index, machine in enumerate(here)]
    handle = {"steps": {}, "workspace": workspace, "cluster": cluster, "region": REGION, "nodes": nodes}
    world = JobsWorld(aws, cloud, handle, here, root)
    shim_ssm.machines().execute = world.execute
    return world
