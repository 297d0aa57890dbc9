"""Commands for machines, by Systems Manager.

Nothing in a command is secret: AWS keeps commands for 30 days for whoever may list them, and the machine writes them to
its log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.session import Session
from portal.clouds.base import CloudError

DOCUMENT = "AWS-RunShellScript"
RUNNER = "/opt/portal/venv/bin/python /opt/portal/node/runner.py"
DELIVERY_SECONDS = 60
"""How long a machine has to take a command. AWS allows no less than 30."""

MOST_MACHINES = 50
"""That one command may name (API reference of SendCommand)."""

_PLAIN = re.compile(r"[A-Za-z0-9-]+( [A-Za-z0-9-]+)*")


def run(session: Session, machines: Sequence[str], words: str, *, seconds: int = 120) -> None:
    """Let machines run a command of the runner's. Raises CloudError; where no answer came, it may run all the same."""
    if not _PLAIN.fullmatch(words):
        raise CloudError("InvalidId", f"{words!r} is no command.", permanent=True)
    for start in range(0, len(machines), MOST_MACHINES):
        try:
            session.client("ssm").send_command(
                DocumentName=DOCUMENT,
                InstanceIds=list(machines[start : start + MOST_MACHINES]),
                Parameters={"commands": [f"{RUNNER} {words}"], "executionTimeout": [str(seconds)]},
                TimeoutSeconds=DELIVERY_SECONDS,
                Comment=f"portal: {words}"[:100],
            )
        except AwsError as error:
            if error.reason == "InvalidInstanceId":
                raise _not_registered(error) from error
            raise


def run_where_possible(session: Session, machines: Sequence[str], words: str) -> None:
    """The same, where some of the machines may be gone: one that is makes AWS refuse the command for all."""
    try:
        run(session, machines, words)
    except CloudError as error:
        if error.code != "NodeLost":
            raise
        for machine in machines if len(machines) > 1 else ():
            try:
                run(session, [machine], words)
            except CloudError as refused:
                if refused.code != "NodeLost":
                    raise


def _not_registered(error: AwsError) -> CloudError:
    message = f"The head machine is not reachable by AWS Systems Manager. AWS: {error.message}"
    hint = "It is gone, or its agent does not run. It is tried again; if that does not help, restart the cluster."
    return CloudError("NodeLost", message, hint)
