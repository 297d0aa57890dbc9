"""The walk for a real account, over moto: it ends with nothing left, whatever it costs and wherever it is killed."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.aws import commands, live, prices, shipped
from portal.clouds.aws.live import GivenUpError, Meter, Record, Walk
from tests.clouds.aws import shim_lambda, shim_ssm
from tests.clouds.aws.cloud import PLATFORM, REGION, Aws
from tests.clouds.aws.jobs_world import Machine
from tests.clouds.aws.world import DiedError, census
from tests.clouds.local_world import fill_release

PROGRAM = """\
import os
print("total 499500 workers", os.environ["BODO_NUM_WORKERS"])
with open(os.path.join(os.environ["PORTAL_OUTPUT"], "result.txt"), "w") as file:
    file.write("done")
"""


class Machines:
    """Machines that are directories of this one, made when they are first commanded."""

    def __init__(self, aws: Aws, root: Path) -> None:
        self.aws, self.root = aws, root
        self.known: dict[str, Machine] = {}
        self.commands: list[str] = []
        fill_release(root / "release")

    def execute(self, instance: str, lines: Sequence[str]) -> tuple[int, str]:
        if not lines[0].startswith(commands.RUNNER):
            self.commands.append("prepare")
            return 0, ""
        words = lines[0].removeprefix(commands.RUNNER).strip()
        self.commands.append(words.split()[0])
        if instance not in self.known:
            self.known[instance] = self._machine(instance)
        return self.known[instance].run(words)

    def _machine(self, id: str) -> Machine:
        place = self.root / id
        for name, path in shipped.files().items():
            (place / "node" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place / "node" / name)
        (place / "home").mkdir()
        (place / "home" / "hostfile").write_text("10.0.0.1:2\n")
        record = json.loads((self.root / "record.json").read_text())
        node = {
            "workspace": record["id"],
            "cluster": record["cluster_id"],
            "bucket": f"bodo-platform-{record['id'].replace('-', '')}",
            "account": PLATFORM,
            "region": REGION,
            "release_python": str(self.root / "release" / "bin" / "python"),
            "runs": str(place / "runs"),
            "home": str(place / "home"),
            "bodofs": str(next(iter(shim_lambda.FUNCTIONS.mounts.values()))),
            "user": "",
            "disk_reserve": 0,
        }
        (place / "node.json").write_text(json.dumps(node))
        keys = {name: os.environ[name] for name in ("PATH", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        environment = {**keys, "AWS_ENDPOINT_URL": self.aws.address, "PORTAL_NODE": str(place / "node.json")}
        return Machine(id, place, environment)


@pytest.fixture
def walk(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Walk, Machines, list[str]]]:
    """A walk without pauses. AWS shows at once what it made, and a machine costs 0.10 USD an hour."""
    monkeypatch.setattr(live, "PROGRAM", PROGRAM)
    monkeypatch.setattr(prices, "hourly", lambda *_, **__: Decimal("0.10"))
    monkeypatch.setattr("portal.clouds.aws.provider.AwsCloud.lag_seconds", 0.0)
    monkeypatch.setattr("portal.clouds.aws.provider.AwsCloud.step_seconds", 0.0)
    machines = Machines(aws, tmp_path)
    shim_ssm.machines(PLATFORM).execute = machines.execute
    said: list[str] = []
    record = Record(tmp_path / "record.json")
    yield (
        Walk(record, Meter(Decimal(2), 90), REGION, "c5.xlarge", 2, aws.address, _short_pause, said.append),
        machines,
        said,
    )
    shim_ssm.machines(PLATFORM).execute = shim_ssm.nothing


def _short_pause(seconds: float) -> None:
    import time

    time.sleep(min(seconds, 0.05))


def left() -> Counter[str]:
    """What stands in the account, without what moto keeps of machines that are gone, and AWS's own parameters."""
    found = census(REGION, PLATFORM)
    del found["interfaces"], found["parameters"]
    return found


def test_the_whole_way_and_back(aws: Aws, walk: Any) -> None:
    work, machines, said = walk
    before = left()
    work.go()
    text = "\n".join(said)
    assert "FAILED" not in text
    assert machines.commands.count("start") == 2, "before the pause and after it"
    assert text.count("total 499500 workers 4") == 2
    assert "Nothing is left." in text
    assert not work.record.path.exists()
    s3 = aws.administrator(PLATFORM).client("s3")
    assert s3.list_buckets()["Buckets"] == []
    assert left() == before


def test_when_the_money_is_up_it_removes_everything(aws: Aws, walk: Any) -> None:
    work, _, said = walk
    now = [0.0]
    work.meter = Meter(Decimal("0.30"), 10_000, clock=lambda: now[0])

    def pause(seconds: float) -> None:
        now[0] += 600

    work.pause = pause
    with pytest.raises(GivenUpError, match="spent"):
        work.go()
    assert "Nothing is left." in "\n".join(said)
    assert aws.administrator(PLATFORM).client("s3").list_buckets()["Buckets"] == []


def test_a_killed_walk_is_removed_by_its_record(aws: Aws, walk: Any) -> None:
    work, _, said = walk

    def die(seconds: float) -> None:
        if "machines" in work.record.handle("cluster").get("steps", {}):
            raise DiedError

    work.pause = die
    with pytest.raises(DiedError):
        work.go()
    again = Record(work.record.path, json.loads(work.record.path.read_text()))
    rest = Walk(again, Meter(Decimal(2), 90), REGION, "c5.xlarge", 2, aws.address, _short_pause, said.append)
    rest.meter.start()
    rest.remove()
    assert "Nothing is left." in "\n".join(said)
    assert not again.path.exists()


def test_a_walk_that_did_not_end_is_not_begun_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "record.json"
    path.write_text('{"id": "x"}')
    assert live.main(["--record", str(path), "--yes"]) == 2
    assert "--remove" in capsys.readouterr().out


def test_without_a_price_no_machine_is_made(walk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    work, machines, _ = walk
    monkeypatch.setattr(prices, "hourly", lambda *_, **__: None)
    with pytest.raises(GivenUpError, match="no cap could be kept"):
        work.go()
    assert machines.commands == []


def test_the_meter_keeps_money_for_the_removal() -> None:
    now = [0.0]
    meter = Meter(Decimal("1.00"), 90, clock=lambda: now[0])
    meter.start()
    meter.at(Decimal("1.00"))
    now[0] = 1700.0
    meter.refuse_more()
    now[0] = 1801.0
    with pytest.raises(GivenUpError, match="spent"):
        meter.refuse_more()
