"""AWS as the tests have it, in a process of its own: it must not share the interpreter with what is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.clouds.aws.cloud import Aws

PATIENCE = 120
"""Seconds for an answer: moto reads its machines and images when it is first asked for them."""


@contextmanager
def aws() -> Iterator[Aws]:
    """The server, for as long as the block. The portal's own identity is in the environment then."""
    from portal.clouds.aws import session
    from tests.clouds.aws.cloud import Aws

    session.READ_SECONDS = PATIENCE
    os.environ |= {"AWS_ACCESS_KEY_ID": "portal", "AWS_SECRET_ACCESS_KEY": "portal"}
    command = [sys.executable, "-c", "from bench.aws_server import serve; serve()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        yield Aws(process.stdout.readline().strip())
    finally:
        process.stdin.close()
        process.wait(30)


def serve() -> None:
    """Say the address, once all is read, and stay until the input ends."""
    from portal.clouds.aws import session
    from tests.clouds.aws.cloud import running

    session.READ_SECONDS = PATIENCE
    os.environ |= {"AWS_ACCESS_KEY_ID": "portal", "AWS_SECRET_ACCESS_KEY": "portal"}
    with running() as server:
        ec2 = server.administrator().client("ec2")
        ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": ["t3.large"]}])
        ec2.describe_images(Owners=["amazon"])
        print(server.address, flush=True)
        sys.stdin.read()
