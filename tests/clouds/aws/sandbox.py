"""``make run-aws-sandbox``: a portal beside moto, with a cloud configuration that is ready to use.

    python -m tests.clouds.aws.sandbox [--port 8000]     until Ctrl-C

Moto answers AWS's calls from memory: it runs no machines, and forgets everything when it ends. With it go the portal's
data of the sandbox, which lie in a directory of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from portal.embedded.home import Home
from portal.embedded.servers import EndedError, Server, spawn, wait_until
from portal.launcher import say
from tests.clouds.aws.cloud import PLATFORM, Aws, running

PROJECT = Path(__file__).resolve().parents[3]


def main(arguments: Sequence[str] | None = None) -> int:
    """Start it, say how to get in, and stay."""
    parser = argparse.ArgumentParser(prog="python -m tests.clouds.aws.sandbox", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--seconds", type=float, help="end by itself after so long")
    chosen = parser.parse_args(arguments)
    home = Home.from_environment().path / "aws-sandbox"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True, mode=0o700)
    with running() as aws:
        environment = environment_of(aws, home, chosen.port)
        launcher = launch(environment, home, chosen.port)
        try:
            entry = furnish(aws, environment)
            report(environment["SITE_URL"], entry)
            deadline = time.monotonic() + chosen.seconds if chosen.seconds else float("inf")
            while launcher.poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)
        except KeyboardInterrupt:
            say("\nStopping …")
        finally:
            launcher.stop(30)
    say("Stopped. What was in the sandbox is gone.")
    shutil.rmtree(home, ignore_errors=True)
    return 0


def environment_of(aws: Aws, home: Path, port: int) -> dict[str, str]:
    """The settings of a portal whose AWS is this one."""
    return {
        **os.environ,
        "PORTAL_HOME": str(home),
        "SITE_URL": f"http://127.0.0.1:{port}",
        "PORTAL_AWS": "on",
        "PORTAL_AWS_ENDPOINT": aws.address,
        "PORTAL_AWS_ACCOUNT": PLATFORM,
        "PORTAL_DEFAULT_HOURLY": "0.10",
        "AWS_ACCESS_KEY_ID": "portal",
        "AWS_SECRET_ACCESS_KEY": "portal",
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }


def launch(environment: dict[str, str], home: Path, port: int) -> Server:
    """The portal's own launcher, once it runs."""
    say("Starting the portal beside moto …")
    log = home / "launcher.log"
    command = [sys.executable, "-m", "portal.launcher", "run", "--port", str(port)]
    launcher = spawn("portal", command, log=log, environment=environment, directory=PROJECT)
    try:
        wait_until(lambda: "runs at" in log.read_text(), launcher, 90)
    except EndedError as error:
        raise SystemExit(f"The portal did not start:\n{error}") from error
    return launcher


def furnish(aws: Aws, environment: dict[str, str]) -> dict[str, Any]:
    """Somebody with an organization whose AWS account is connected."""
    made = subprocess.run(
        [sys.executable, "-m", "tests.clouds.aws.sandbox_furniture"],
        input=json.dumps(asdict(aws.keys())),
        env=environment,
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    entry: dict[str, Any] = json.loads(made.stdout)
    return entry


def report(address: str, entry: dict[str, Any]) -> None:
    """How to get in, and what this is."""
    say(f"\nThe sandbox runs at {address}\n")
    for name, value in (("E-mail", entry["email"]), ("Password", entry["password"])):
        say(f"  {name:10} {value}")
    say(
        "\nThe cloud configuration “AWS (moto)” is ready: make a workspace, then a cluster. AWS is played by moto,\n"
        "which answers its calls and runs no machines: clusters come up and nothing computes, so that jobs end as\n"
        "lost. Ctrl-C ends it and forgets all.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
