"""A machine begins, for real as far as one that is none can: in a directory, with stand-ins for what only a machine of
Amazon's has (dnf, mount, users, ssh's server). Python environments, pip with hashes, keys, certificates, archives and
digests are real."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest

from portal.clouds.aws import bootstrap
from portal.clouds.aws.storage import _new_private_key
from portal.clouds.base import CloudError

SETTINGS = {
    "workspace": "w",
    "cluster": "c",
    "bucket": "customers-bucket",
    "bucket_region": "us-west-2",
    "account": "222222222222",
    "region": "us-east-2",
    "release_python": "/opt/bodo/2026.10/bin/python",
    "generation": 3,
    "release": "2026.10",
    "cores": 2,
    "efa": False,
    "filesystem": "fs-1",
    "access_point": "fsap-1",
    "ssh_key": "/portal/w/ssh-key",
}
STAND_INS = {
    "aws": """case "$1" in
s3) shift; for last; do target=$last; done; [ ! -e "$MACHINE/no-bucket" ] && cp "$MACHINE/bundle.tar.gz" "$target" ;;
ssm) cat "$MACHINE/key" ;;
esac""",
    "dnf": "",
    "id": '[ -e "$MACHINE/user" ]',
    "useradd": 'touch "$MACHINE/user"',
    "userdel": "",
    "getent": '[ -e "$MACHINE/user" ] && echo bodo:x:1000: || echo ec2-user:x:1000:',
    "mount": '[ ! -e "$MACHINE/no-mount" ] && for last; do place=$last; done && touch "$place.mounted"',
    "mountpoint": '[ -e "$2.mounted" ]',
    "blkid": '[ -e "$1.formatted" ]',
    "mkfs.xfs": 'touch "$2.formatted"',
    "systemctl": "",
    "chown": "",
    "hostname": 'echo "10.40.64.5 "',
    "runuser": 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"',
    "ssh": '[ ! -e "$MACHINE/no-ssh" ] || { echo "Connection refused" >&2; exit 255; }',
}


@dataclass
class Machine:
    """A machine that is none. ``home`` is where the stand-ins look, ``root`` where all paths begin."""

    home: Path
    wheels: Path

    @property
    def root(self) -> Path:
        return self.home / "root"

    @property
    def log(self) -> str:
        return (self.root / "var/log/portal-bootstrap.log").read_text()

    @property
    def done(self) -> list[str]:
        """What the stand-ins were asked to do."""
        path = self.home / "done"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.home / 'bin'}:/usr/bin:/bin",
            "MACHINE": str(self.home),
            "PORTAL_ROOT": str(self.root),
            "PORTAL_PAUSE": "0.01",
            "PORTAL_ATTEMPTS": "2",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "HOME": str(self.home),
        }
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    def boot(self) -> int:
        """The first boot."""
        return self.run("bash", str(self.home / "user-data")).returncode

    def boot_again(self) -> int:
        """What cloud-init runs at each boot."""
        shutil.rmtree(self.root / "bodofs.mounted", ignore_errors=True)
        (self.root / "bodofs.mounted").unlink(missing_ok=True)
        return self.run("bash", str(self.root / "var/lib/cloud/scripts/per-boot/portal")).returncode

    def prepare(self, *hosts: str, generation: int = 3, seconds: int = 0) -> subprocess.CompletedProcess[str]:
        script = str(self.root / "opt/portal/node/prepare.sh")
        return self.run("bash", script, str(generation), str(seconds), *hosts)


def wheel(directory: Path, name: str, version: str) -> str:
    """A package without anything in it, and its line of requirements."""
    info = f"{name}-{version}.dist-info"
    path = directory / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def new_machine(home: Path, patch: pytest.MonkeyPatch, settings: Mapping[str, object] = SETTINGS) -> Machine:
    machine = Machine(home, home / "wheels")
    for folder in ("bin", "wheels", "root/etc/ssh", "node", "pinned"):
        (home / folder).mkdir(parents=True)
    for name in bootstrap.SCRIPTS:
        shutil.copy(bootstrap.NODE / name, home / "node" / name)
    shutil.copy(bootstrap.NODE / "begin.sh", home / "node")
    (home / "node/requirements.txt").write_text(wheel(machine.wheels, "boto3", "1.44.5"))
    (home / "pinned/bodo-2026.10.txt").write_text(wheel(machine.wheels, "bodo", "2026.10"))
    patch.setattr(bootstrap, "NODE", home / "node")
    patch.setattr(bootstrap, "PINNED", home / "pinned")
    content = bootstrap.bundle.__wrapped__("2026.10")
    (home / "bundle.tar.gz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (home / "user-data").write_text(bootstrap.user_data("customers-bucket", "us-west-2", "w", digest, settings))
    (home / "key").write_text(_new_private_key())
    (home / "root/etc/ssh/sshd_config").write_text("# Amazon's\nPasswordAuthentication no\n")
    for name, does in STAND_INS.items():
        path = home / "bin" / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >>"$MACHINE/done"\n{does}\n')
        path.chmod(0o755)
    real = getattr(sys, "_base_executable", sys.executable)
    for name in ("python3.11", "python3"):
        (home / "bin" / name).symlink_to(real)
    return machine


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that began, for all who only look at it, or do to it what changes nothing."""
    with pytest.MonkeyPatch.context() as patch:
        machine = new_machine(tmp_path_factory.mktemp("machine"), patch)
        disks = machine.root / "dev/disk/by-id"
        disks.mkdir(parents=True)
        for disk, names in {"nvme1n1": ["AWS1", "AWS1_1", "AWS1-ns-1"], "nvme2n1": ["AWS2"]}.items():
            (machine.root / "dev" / disk).touch()
            for name in names:
                (disks / f"nvme-Amazon_EC2_NVMe_Instance_Storage_{name}").symlink_to(machine.root / "dev" / disk)
        assert machine.boot() == 0, machine.log
        yield machine


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return new_machine(tmp_path, monkeypatch)


def test_a_machine_begins(begun: Machine) -> None:
    root, opt = begun.root, begun.root / "opt/portal"
    assert json.loads((opt / "node.json").read_text()) == SETTINGS
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert (opt / "ready").read_text() == f"3 {boot}\n"
    assert not (opt / "failed").exists()
    assert begun.log.endswith(" Ready\n")
    assert "mount -t efs -o tls,noresvport,accesspoint=fsap-1 fs-1:/ " + str(root / "bodofs") in begun.done
    assert "userdel --remove ec2-user" in begun.done
    assert "* - memlock unlimited" in (root / "etc/security/limits.d/portal.conf").read_text()
    fetched = next(line for line in begun.done if line.startswith("aws s3"))
    assert "--region us-west-2 s3://customers-bucket/workspaces/w/node/" in fetched


def test_bodo_and_the_portals_scripts_have_an_environment_each(begun: Machine) -> None:
    for python, package in (("opt/bodo/2026.10", "bodo"), ("opt/portal/venv", "boto3")):
        command = [str(begun.root / python / "bin/python"), "-c", f"import {package}"]
        assert subprocess.run(command, env={}).returncode == 0
    other = [str(begun.root / "opt/portal/venv/bin/python"), "-c", "import bodo"]
    assert subprocess.run(other, env={}, stderr=subprocess.DEVNULL).returncode == 1


def test_disks_of_the_machine_are_scratch_once_each(begun: Machine) -> None:
    mounted = [line for line in begun.done if line.startswith("mount -o noatime")]
    root = begun.root
    assert mounted == [
        f"mount -o noatime {root}/dev/nvme1n1 {root}/scratch",
        f"mount -o noatime {root}/dev/nvme2n1 {root}/scratch-2",
    ]
    assert sum(line.startswith("mkfs.xfs") for line in begun.done) == 2


def test_machines_trust_each_other_by_certificate_and_nobody_else(begun: Machine) -> None:
    ssh = begun.root / "home/bodo/.ssh"
    public = (ssh / "id_ed25519.pub").read_text().strip()
    assert (ssh / "authorized_keys").read_text().strip() == public
    assert (ssh / "known_hosts").read_text().strip() == f"@cert-authority * {public}"
    assert (ssh / "id_ed25519").stat().st_mode & 0o777 == 0o600
    assert (ssh / "id_ed25519").read_text() == (begun.home / "key").read_text()
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", str(begun.root / "etc/ssh/ssh_host_ed25519_key-cert.pub")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "host certificate" in shown
    principals = shown.partition("Principals:")[2].partition("Critical Options")[0].split()
    assert principals == ["10.40.64.5"]
    configuration = (begun.root / "etc/ssh/sshd_config").read_text()
    assert configuration.startswith("Include /etc/ssh/sshd_config.d/*.conf\n")
    assert "AllowUsers bodo" in (begun.root / "etc/ssh/sshd_config.d/10-portal.conf").read_text()
    assert "OPENSSH" not in begun.log


def test_another_boot_does_only_what_is_missing(begun: Machine) -> None:
    before = len(begun.done)
    assert begun.boot_again() == 0, begun.log
    again = begun.done[before:]
    assert not [line for line in again if line.startswith(("dnf", "useradd", "userdel", "mkfs", "aws s3"))]
    assert any(line.startswith("mount -t efs") for line in again), "what a boot ends is mounted again"
    assert (begun.root / "opt/portal/ready").exists()
    configuration = (begun.root / "etc/ssh/sshd_config").read_text()
    assert configuration.count("Include") == 1


def test_the_head_is_prepared_and_reaches_all(begun: Machine) -> None:
    before = len(begun.done)
    prepared = begun.prepare("10.40.64.5:2", "10.40.64.6:2")
    assert (prepared.returncode, prepared.stdout) == (0, "")
    assert (begun.root / "home/bodo/hostfile").read_text() == "10.40.64.5:2\n10.40.64.6:2\n"
    reached = [line.split()[-2] for line in begun.done[before:] if line.startswith("ssh ")]
    assert reached == ["10.40.64.5", "10.40.64.6"]
    shown = subprocess.run(
        ["ssh", "-G", "-F", str(begun.root / "home/bodo/.ssh/config"), "node-1"], capture_output=True, text=True
    ).stdout
    assert "hostname 10.40.64.6\n" in shown
    assert "user bodo\n" in shown
    assert "stricthostkeychecking true\n" in shown


def test_another_machine_is_prepared_and_asks_nobody(begun: Machine) -> None:
    before = len(begun.done)
    assert begun.prepare("10.40.64.55:2", "10.40.64.5:2").returncode == 0
    assert not [line for line in begun.done[before:] if line.startswith("ssh ")]
    assert (begun.root / "home/bodo/hostfile").read_text().startswith("10.40.64.55:2\n")


def test_a_machine_of_before_a_restart_is_not_ready(begun: Machine) -> None:
    refused = begun.prepare("10.40.64.5:2", generation=4)
    assert refused.returncode == 1
    assert refused.stdout.startswith("The machine was not set up in time\n--- end of")
    assert refused.stdout.endswith(" Ready\n")


def test_what_is_wrong_with_a_machine_is_said(begun: Machine) -> None:
    (begun.home / "no-ssh").touch()
    refused = begun.prepare("10.40.64.5:2")
    (begun.home / "no-ssh").unlink()
    assert refused.returncode == 1
    assert refused.stdout.startswith("The head does not reach 10.40.64.5 by ssh: Connection refused")
    marker = begun.root / "bodofs.mounted"
    marker.unlink()
    assert begun.prepare("10.40.64.5:2").stdout.startswith("The shared filesystem is not mounted")
    marker.touch()
    package = begun.root / "opt/bodo/2026.10/bin/python"
    package.rename(f"{package}.away")
    assert begun.prepare("10.40.64.5:2").stdout.startswith("Bodo 2026.10 is not there")
    Path(f"{package}.away").rename(package)


def test_a_machine_that_cannot_begin_says_where_it_stopped(machine: Machine) -> None:
    (machine.home / "no-mount").touch()
    assert machine.boot() != 0
    assert "FAILED at line" in machine.log
    refused = machine.prepare("10.40.64.5:2", seconds=60)
    assert refused.stdout.startswith("The machine could not be set up: Mount the shared filesystem\n")
    assert not (machine.root / "opt/portal/ready").exists()


def test_software_that_is_not_what_the_portal_put_there_is_not_run(machine: Machine) -> None:
    """Also where it is whole, and would run."""
    forged = b"#!/bin/bash\n"
    with tarfile.open(machine.home / "bundle.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("bootstrap.sh")
        entry.size = len(forged)
        archive.addfile(entry, BytesIO(forged))
    assert machine.boot() != 0
    assert not (machine.root / "opt/portal/node").exists()
    (machine.home / "no-bucket").touch()
    assert machine.boot() != 0
    assert "Attempt 2 to fetch s3://customers-bucket" in machine.log


def test_a_package_with_another_hash_is_not_installed(machine: Machine) -> None:
    path = machine.wheels / "bodo-2026.10-py3-none-any.whl"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("bodo/more.py", "")
    assert machine.boot() != 0
    assert "DO NOT MATCH THE HASHES" in machine.log
    said = machine.prepare("10.40.64.5:2").stdout
    assert said.startswith("The machine could not be set up: Install Bodo 2026.10\n")


# --- What is sent -----------------------------------------------------------------------------------------------------


def checked(script: str) -> str:
    found = subprocess.run(
        [str(Path(sys.executable).with_name("shellcheck")), "--severity=style", "-"],
        input=script,
        capture_output=True,
        text=True,
    )
    return found.stdout


def test_shellcheck_finds_no_faults() -> None:
    scripts = [(bootstrap.NODE / name).read_text() for name in ("bootstrap.sh", "prepare.sh")]
    scripts.append(bootstrap.user_data("b", "us-east-1", "w", "0" * 64, SETTINGS))
    assert [checked(script) for script in scripts] == ["", "", ""]
    assert "SC2086" in checked("#!/bin/bash\nrm -rf $1\n"), "it would find one"


def test_user_data_is_short_and_quotes_what_it_is_given() -> None:
    text = bootstrap.user_data("b", "us-east-1", "w", "0" * 64, {**SETTINGS, "x": "'; touch /tmp/x; echo '"})
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
    head = text.partition("\n\n")[0]
    shown = subprocess.run(["bash"], input=f'{head}\nprintf %s "$settings"', capture_output=True, text=True).stdout
    assert json.loads(shown)["x"] == "'; touch /tmp/x; echo '"
    with pytest.raises(CloudError, match="UserDataTooLong"):
        bootstrap.user_data("b", "us-east-1", "w", "0" * 64, {"x": "y" * bootstrap.USER_DATA_LIMIT})


def test_the_same_software_is_the_same_bundle_and_runs_where_it_is_unpacked(tmp_path: Path) -> None:
    first = bootstrap.bundle.__wrapped__("2026.10")
    assert bootstrap.bundle.__wrapped__("2026.10") == first
    with tarfile.open(fileobj=BytesIO(first)) as archive:
        names = archive.getnames()
        archive.extractall(tmp_path)
    assert {"bootstrap.sh", "prepare.sh", "requirements.txt", "runner.py", "bodo-2026.10.txt"} <= set(names)
    said = subprocess.run(
        [sys.executable, str(tmp_path / "runner.py"), "no-such-word"],
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert "ModuleNotFoundError" not in said.stderr
    with pytest.raises(CloudError, match="ReleaseUnknown"):
        bootstrap.bundle("../../x")


def test_machines_have_the_portals_own_boto3() -> None:
    def pins(path: Path) -> set[str]:
        return {line.split()[0] for line in path.read_text().splitlines() if "==" in line}

    ours = pins(Path(__file__).parents[3] / "requirements.txt")
    machines = pins(bootstrap.NODE / "requirements.txt")
    assert machines <= ours
    assert any(pin.startswith("boto3==") for pin in machines)
