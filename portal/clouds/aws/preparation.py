"""The last step of a cluster: every machine is told who belongs to it, and looks whether all works.

One command to all machines by Systems Manager; ``node/prepare.sh`` waits on the machine for its own beginning. Sending
it twice does no harm.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.placement import ClusterWork
from portal.clouds.aws.resources import Resource
from portal.clouds.base import CloudError, Event, Pending

SECONDS = 2400
"""How long a machine may take from its first boot to Bodo's being installed."""

GRACE_SECONDS = 300.0
"""And how much longer an answer may take."""

AT_ONCE = 50
"""Machines that one command takes by their ids (Systems Manager API Reference, SendCommand)."""

_WAIT = (
    "for i in $(seq 240); do [ -e /opt/portal/node/prepare.sh ] && exec /bin/bash /opt/portal/node/prepare.sh {}; "
    "sleep 5; done; echo 'The software of the machine did not arrive'; tail -n 15 /var/log/portal-bootstrap.log; exit 1"
)
_UNDER_WAY = {"Pending", "InProgress", "Delayed"}


class Preparation(Resource):
    """The commands to all machines; its id is theirs."""

    name, label, group = "preparation", "preparation of the machines", "preparation"
    work: ClusterWork

    def __init__(
        self,
        work: ClusterWork,
        fingerprint: str,
        made_of: Mapping[str, Any],
        nodes: Sequence[Mapping[str, str]],
        since: float,
    ) -> None:
        super().__init__(work)
        self.fingerprint, self.made_of, self.nodes, self.since = fingerprint, made_of, nodes, since

    def find(self) -> str | None:
        """None: it can be sent again."""
        return None

    def create(self) -> str:
        """Send it."""
        ids = [node["id"] for node in self.nodes]
        return ",".join(self._send(ids[first : first + AT_ONCE]) for first in range(0, len(ids), AT_ONCE))

    def ready(self, id: str) -> bool | Pending | Event:
        """Once every machine has said yes; the first that says no ends it."""
        done: set[str] = set()
        for command in id.split(","):
            for each in self._invocations(command):
                if each["Status"] == "Success":
                    done.add(str(each["InstanceId"]))
                elif each["Status"] not in _UNDER_WAY:
                    raise self._refused(each)
        missing = [node["id"] for node in self.nodes if node["id"] not in done]
        if not missing:
            return True
        if time.time() - self.since > SECONDS + GRACE_SECONDS:
            message = f"Nothing was heard of {', '.join(missing)} for {(SECONDS + GRACE_SECONDS) / 60:.0f} minutes."
            raise CloudError("MachineNotPrepared", message, "Start the cluster again.", permanent=True)
        return Pending(self.work.poll, initializing=True)

    def delete(self, id: str | None) -> bool:
        """There is nothing to remove."""
        return True

    def line(self) -> str:
        """What each machine is to run."""
        hosts = [f"{node['address']}:{self.made_of['cores']}" for node in self.nodes]
        return _WAIT.format(shlex.join([str(self.made_of["generation"]), str(SECONDS), *hosts]))

    def _send(self, ids: Sequence[str]) -> str:
        try:
            answer = self.work.session.client("ssm").send_command(
                DocumentName="AWS-RunShellScript",
                InstanceIds=list(ids),
                Parameters={"commands": [self.line()], "executionTimeout": [str(SECONDS + 1200)]},
                TimeoutSeconds=600,
                Comment="The Bodo platform prepares a cluster",
            )
        except AwsError as error:
            if error.reason != "InvalidInstanceId":
                raise
            message = f"Systems Manager does not reach {', '.join(ids)}: {error.message}"
            raise CloudError("MachineNotReachable", message, "It is tried again.") from error
        return str(answer["Command"]["CommandId"])

    def _invocations(self, command: str) -> Iterable[Mapping[str, Any]]:
        client = self.work.session.client("ssm")
        return client.pages("list_command_invocations", "CommandInvocations", CommandId=command, Details=True)

    def _refused(self, invocation: Mapping[str, Any]) -> CloudError:
        """With what the machine said last."""
        id = str(invocation["InstanceId"])
        index = next((index for index, node in enumerate(self.nodes) if node["id"] == id), -1)
        said = " ".join(str(plugin.get("Output", "")) for plugin in invocation.get("CommandPlugins", ())).strip()
        status = str(invocation.get("StatusDetails") or invocation["Status"])
        message = f"Machine {index} ({id}) could not be prepared: {said[-1500:] or status}"
        hint = "Look at /var/log/portal-bootstrap.log of the machine; often a package or Bodo could not be fetched."
        return CloudError("MachineNotPrepared", message, hint, permanent=True)


def fingerprint_of(machines: str, nodes: Sequence[Mapping[str, str]]) -> str:
    """Who is to be prepared, for what."""
    return hashlib.sha256(json.dumps([machines, [node["id"] for node in nodes]]).encode()).hexdigest()[:16]
