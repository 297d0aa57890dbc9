"""Jobs on AWS from the portal's side: begun once whoever dies, found again, ended, and nothing secret on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from portal.clouds.aws import permissions
from portal.clouds.aws.grants_jobs import JOBS
from portal.clouds.base import CloudError, ExitReason, LogStream, Process, Ref
from tests.clouds.aws import shim_runs
from tests.clouds.aws.cloud import Aws
from tests.clouds.aws.jobs_world import JobsFate, JobsWorld, new_jobs_world
from tests.clouds.aws.world import DiedError
from tests.clouds.local_world import fill_release, wait_for

WAIT = "import time\nprint('going', flush=True)\nwhile True: time.sleep(1)"
ONCE = """
import os
with open(f"{os.environ['PORTAL_BODOFS']}/ran-{os.environ['PORTAL_RUN']}", "a") as file:
    file.write("x")
"""
Expect = Callable[[str], Any]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("release") / "bodo"
    fill_release(directory)
    return directory


@pytest.fixture(scope="module")
def cluster(moto: Aws, tmp_path_factory: pytest.TempPathFactory, release: Path) -> Iterator[JobsWorld]:
    with pytest.MonkeyPatch.context() as patch:
        moto.identify(patch)
        moto.reset()
        world = new_jobs_world(moto, tmp_path_factory.mktemp("cluster"), release)
        yield world
        world.kill()


@pytest.fixture
def world(cluster: JobsWorld) -> Iterator[JobsWorld]:
    """One cluster for all tests that leave it as it was; the portal is a new one."""
    cluster.new_portal()
    cluster.commands.clear()
    yield cluster
    cluster.deaf = False
    cluster.waiting.clear()
    cluster.aws.faults.clear()
    cluster.kill()


def ran(world: JobsWorld, process: Process) -> str:
    path = world.bodofs / f"ran-{process.id}"
    return path.read_text() if path.exists() else ""


# --- Starting ---------------------------------------------------------------------------------------------------------


def test_starting_the_same_run_again_gives_the_first_reference(world: JobsWorld) -> None:
    process = world.process(ONCE)
    ref = world.cloud.start(world.handle, process)
    assert world.cloud.start(world.handle, process) == ref
    world.end(ref)
    world.new_portal()
    assert world.cloud.start(world.handle, process) == ref
    assert world.cloud.find(world.handle, process.id) == ref
    assert world.commands == [f"start {process.id} 1"] * len(world.commands)
    assert ran(world, process) == "x"


def test_where_nothing_was_started_nothing_is_found(world: JobsWorld) -> None:
    assert world.cloud.find(world.handle, "a-run") is None
    assert world.cloud.find({}, "a-run") is None


def test_a_cluster_without_machines_starts_nothing(world: JobsWorld, refused: Expect) -> None:
    for handle in ({}, {**world.handle, "nodes": []}):
        with refused("ClusterNotRunning"):
            world.cloud.start(handle, world.process(""))


@pytest.mark.parametrize(
    ("operation", "reason", "code"),
    [
        ("InvalidInstanceId", "Instances [[i-1]] not in a valid state for account 222222222222", "NodeLost"),
        ("ThrottlingException", "Rate exceeded", "Throttled"),
        ("AccessDeniedException", "No.", "PermissionDenied"),
    ],
)
def test_a_refused_command_is_a_plain_error_and_can_be_tried_again(
    world: JobsWorld, refused: Expect, operation: str, reason: str, code: str
) -> None:
    process = world.process(ONCE)
    world.aws.fail("SendCommand", operation, reason)
    with refused(code):
        world.cloud.start(world.handle, process)
    assert world.cloud.find(world.handle, process.id) is None
    ref = world.cloud.start(world.handle, process)
    assert world.end(ref).code == 0
    assert ran(world, process) == "x"


def test_after_an_error_nothing_begins_though_the_command_arrives(world: JobsWorld, refused: Expect) -> None:
    process = world.process(ONCE)
    world.deaf = True
    calls = started(world, process, JobsFate())
    with refused("NotReachable"):
        other = world.process(ONCE)
        started(world, other, JobsFate(calls.index("send_command"), after=True, lost=True))
    world.deliver()
    ref = world.cloud.start(world.handle, other)
    world.end(ref)
    assert ref["try"] == 2
    assert (ran(world, process), ran(world, other)) == ("x", "x")


def started(world: JobsWorld, process: Process, fate: JobsFate) -> list[str]:
    """Start in a portal of its own; the calls that it made."""
    world.new_portal(fate)
    try:
        world.cloud.start(world.handle, process)
    finally:
        world.new_portal()
    return fate.calls


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("lost", [False, True], ids=["died", "lost answer"])
def test_dying_at_every_call_of_a_start_and_going_on(world: JobsWorld, tmp_path: Path, late: bool, lost: bool) -> None:
    """The next portal looks for the run, as the engine does, and starts it where it is not found. Commands come at
    once, or all of them late and twice."""
    processes, deaths = [], 0
    for number in range(20):
        for after in (False, True):
            (tmp_path / "code").mkdir(exist_ok=True)
            process = world.process(ONCE, bundle=str(tmp_path / "code"))
            world.deaf = late
            try:
                calls = started(world, process, JobsFate(number, after, lost=lost))
            except (DiedError, CloudError):
                deaths += 1
                calls = []
            ref = world.cloud.find(world.handle, process.id) or world.cloud.start(world.handle, process)
            world.deliver()
            exit = world.end(ref)
            assert exit.code == 0, (number, after, exit, world.output(ref, LogStream.STDERR))
            processes.append(process)
            if len(calls) and len(calls) <= number:
                assert deaths >= 8
                assert [ran(world, process) for process in processes] == ["x"] * len(processes)
                return
    raise AssertionError("does not get on")


def test_what_was_not_found_never_begins_unless_it_is_started_again(world: JobsWorld) -> None:
    process = world.process(ONCE)
    world.deaf = True
    ref = world.cloud.start(world.handle, process)
    assert world.cloud.find(world.handle, process.id) is None
    world.deliver()
    assert not world.head.decided(process.id)
    world.look(begin_seconds=-1)
    assert world.end(ref).reason is ExitReason.LOST
    assert ran(world, process) == ""


def test_a_run_that_the_machine_does_not_take_ends_in_time(world: JobsWorld) -> None:
    process = world.process(ONCE)
    world.deaf = True
    ref = world.cloud.start(world.handle, process)
    world.look()
    assert world.cloud.poll([ref]) == [None]
    world.look(begin_seconds=-1)
    exit = world.end(ref)
    assert exit.reason is ExitReason.LOST
    assert "it was not started" in exit.detail
    world.deliver()
    assert not world.head.decided(process.id)
    assert world.end(ref) == exit
    assert ran(world, process) == ""
    assert "environment.json" not in world.objects(ref)


def test_a_run_moves_to_the_clusters_new_machines(world: JobsWorld, refused: Expect) -> None:
    process = world.process(ONCE)
    world.deaf = True
    ref = world.cloud.start({**world.handle, "nodes": [{"id": world.head.id}, {"id": world.head.id}]}, process)
    again = world.cloud.start(world.handle, process)
    assert (ref["try"], again["try"], again["machines"]) == (1, 2, [world.head.id])
    world.deliver()
    world.end(again)
    assert ran(world, process) == "x"


def test_what_a_job_may_not_be_given_is_refused_before_anything_is_put(world: JobsWorld, refused: Expect) -> None:
    for environment in ({"LD_PRELOAD": "x"}, {"A": "\0"}):
        with refused("EnvironmentNotAllowed"):
            world.cloud.start(world.handle, world.process("", environment=environment))
    with refused("InvalidId"):
        world.cloud.start(world.handle, world.process("", id="x; reboot"))
    with refused("BundleMissing"):
        world.cloud.start(
            world.handle,
            world.process("", bundle=str(world.root / "bodofs")).__class__(
                **{**world.process("").__dict__, "bundle": str(world.root / "nowhere")}
            ),
        )


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_a_jobs_variables_go_through_the_mailbox_alone_and_are_removed_for_good(world: JobsWorld) -> None:
    secret = "cream-cake-4711"
    ref = world.going("import os\nassert os.environ['TOKEN']\n" + WAIT, environment={"TOKEN": secret})
    world.look()
    s3, bucket = world.aws.administrator().client("s3"), world.cloud.configuration.bucket
    key = f"workspaces/{ref['workspace']}/runs/{ref['run']}/environment.json"
    assert secret.encode() in world.objects(ref)["environment.json"]
    world.cloud.poll([ref])
    assert s3.list_object_versions(Bucket=bucket, Prefix=key).get("Versions", []) == []
    assert s3.list_object_versions(Bucket=bucket, Prefix=key).get("DeleteMarkers", []) == []
    assert any(f"start {ref['run']}" in sent for sent in shim_runs.SENT)
    assert not [sent for sent in shim_runs.SENT if secret in sent]
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in lines if secret.encode() in line and b"pytest" not in line]
    files = [path for path in world.head.root.rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert not [name for name, data in world.objects(ref).items() if secret.encode() in data]
    world.cloud.stop(world.handle, ref)
    world.end(ref)


def test_the_table_of_permissions_allows_what_jobs_need(world: JobsWorld) -> None:
    process = world.process(WAIT)
    world.cloud.fate.permissions.clear()
    shim_runs.DELETED.clear()
    ref = world.cloud.start(world.handle, process)
    world.look()
    wait_for(lambda: "stdout" in str(sorted(world.objects(ref))))
    world.cloud.poll([ref])
    world.cloud.stop(world.handle, ref)
    world.end(ref)
    world.cloud.find(world.handle, process.id)
    world.output(ref)
    world.cloud.outputs(ref).list("")
    allowed = {action for grant in permissions.GRANTS for action in grant.actions}
    assert world.cloud.fate.permissions - allowed == set(), "these would be refused"
    assert "ssm:SendCommand" in world.cloud.fate.permissions
    [(key, query)] = shim_runs.DELETED
    assert query.startswith("versionId="), "which is another permission than to delete"
    [grant] = JOBS
    [sample] = permissions.samples(grant, world.cloud.configuration)
    assert fnmatch(f"arn:aws:s3:::{key.lstrip('/')}", sample.replace("validation", "*"))


# --- Ending -----------------------------------------------------------------------------------------------------------


def test_a_run_that_is_cancelled_before_it_begins_never_does(world: JobsWorld) -> None:
    process = world.process(ONCE)
    world.deaf = True
    ref = world.cloud.start(world.handle, process)
    world.cloud.stop(world.handle, ref)
    world.deliver()
    assert not world.head.decided(process.id)
    exit = world.end(ref)
    assert (exit.reason, exit.detail) == (ExitReason.CANCELLED, "It was cancelled before it began.")
    assert ran(world, process) == ""


@pytest.mark.parametrize("begun", [True, False])
def test_dying_at_every_call_of_a_stop_and_going_on(world: JobsWorld, begun: bool) -> None:
    for number in range(10):
        for after in (False, True):
            world.deaf = not begun
            ref = world.going(WAIT) if begun else world.start(WAIT)
            fate = JobsFate(number, after)
            world.new_portal(fate)
            died = False
            try:
                world.cloud.stop(world.handle, ref)
            except DiedError:
                died = True
            world.new_portal()
            world.cloud.stop(world.handle, ref)
            world.deliver()
            assert world.end(ref).reason is ExitReason.CANCELLED
            assert world.head.processes(ref["run"]) == []
            if not died:
                assert number >= 2
                return
    raise AssertionError("does not get on")


def test_a_run_whose_runner_was_killed_is_buried(world: JobsWorld) -> None:
    ref = world.going(WAIT)
    os.kill(world.head.watcher(ref["run"]), signal.SIGKILL)
    world.look()
    assert world.cloud.poll([ref]) == [None]
    assert f"bury {ref['run']}" not in world.commands, "it may only be slow"
    world.look(quiet_seconds=-1)
    assert world.end(ref).reason is ExitReason.LOST
    assert world.head.processes(ref["run"]) == []


def test_many_runs_are_looked_after_with_one_list_of_machines(world: JobsWorld) -> None:
    world.deaf = True
    refs = [world.start(WAIT) for _ in range(5)]
    world.look()
    world.aws.asked.clear()
    assert world.cloud.poll(refs) == [None] * 5
    assert world.aws.asked.count("DescribeInstances") == 1
    assert world.cloud.poll([]) == []
    world.cloud._jobs.look_seconds = 60
    world.aws.asked.clear()
    world.cloud.poll(refs)
    assert "DescribeInstances" not in world.aws.asked
    for ref in refs:
        world.cloud.stop(world.handle, ref)


def test_exits_are_known_though_machines_cannot_be_looked_at(world: JobsWorld) -> None:
    ended, goes = world.start(""), world.going(WAIT)
    world.end(ended)
    world.look()
    world.aws.fail("DescribeInstances", "UnauthorizedOperation", times=5)
    found = world.cloud.poll([ended, goes])
    assert (found[0] is not None, found[1]) == (True, None)
    world.cloud.stop(world.handle, goes)


# --- What is left -----------------------------------------------------------------------------------------------------


def test_a_browser_gets_a_file_by_a_link_of_five_minutes(world: JobsWorld, refused: Expect) -> None:
    code = "import os; open(os.environ['PORTAL_OUTPUT'] + '/a b.csv', 'w').write('1,2'); print('done')"
    ref = world.start(code)
    world.end(ref)
    outputs = world.cloud.outputs(ref)
    link = outputs.link("a b.csv", 'ä "b".csv')
    assert link
    asked = {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    assert asked["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert asked["X-Amz-Expires"] == "300"
    assert asked["X-Amz-SignedHeaders"] == "host", "a browser sends no other"
    assert asked["X-Amz-Security-Token"]
    assert len(asked["X-Amz-Signature"]) == 64
    assert asked["response-content-disposition"] == "attachment; filename*=UTF-8''%C3%A4%20%22b%22.csv"
    assert asked["response-content-type"] == "application/octet-stream"
    assert requests.get(link, timeout=10).content == b"1,2"
    whole = world.cloud.log_link(ref, LogStream.STDOUT, "stdout.log")
    assert whole
    assert requests.get(whole, timeout=10).content == b"done\n"
    for path in ("not there", "", "../exit.json", "/etc/passwd"):
        with pytest.raises(CloudError, match=r"FileNotFound|PathNotAllowed"):
            outputs.link(path, "x")


def test_outputs_can_only_be_read(world: JobsWorld, refused: Expect) -> None:
    ref = world.start("import os; os.chdir(os.environ['PORTAL_OUTPUT']); os.makedirs('a/b'); open('a/b/c', 'w')")
    world.end(ref)
    outputs = world.cloud.outputs(ref)
    assert (outputs.stat("a").kind, outputs.stat("a/b/c").kind, outputs.stat("a/b/c").size) == ("folder", "file", 0)
    for path in ("nothing", "a/nothing"):
        with refused("FileNotFound"):
            outputs.stat(path)
        with refused("FileNotFound"):
            outputs.open(path)
    for act in (
        lambda: outputs.delete("a"),
        lambda: outputs.move("a", "b"),
        lambda: outputs.make_folder("d"),
        lambda: outputs.save("e", iter([b"x"])),
    ):
        with refused("PermissionDenied"):
            act()
    with refused("PathNotAllowed"):
        outputs.list("../..")


def test_what_a_bucket_of_somebody_elses_holds_is_not_read(world: JobsWorld) -> None:
    """The name of a bucket that was deleted can be anybody's."""
    ref: Ref = world.start("")
    world.end(ref)
    configuration = world.cloud.configuration
    foreign = configuration.__class__(
        configuration.role_arn.replace("222222222222", "333333333333"),
        configuration.external_id,
        configuration.region,
        configuration.bucket,
        configuration.table,
    )
    box = world.cloud._jobs.box_of(ref)
    with pytest.raises(CloudError, match="PermissionDenied"):
        box.__class__(box.session, foreign, box.workspace, box.run).read("exit.json")
