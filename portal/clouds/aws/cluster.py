"""The plan of a cluster's deployment, and how it moves.

    autoscaling-grant, spot-grant   let AWS use the workspace's key for disks
    placement-group                 where the type has them
    software                        what machines fetch
    launch-template, scaling-group
    machines                        as many as there should be
    preparation                     they know each other
    pause                           instead of the last two, while it is paused

The handle remembers, beside the ledger: ``made_of``, what was decided before the first machine; ``zone``, the index of
the place being tried; ``count``, how many machines were asked for last, and ``since`` when; ``nodes``, the machines in
the order of the hostfile, head first.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portal.clouds import plan
from portal.clouds.aws import bootstrap, placement
from portal.clouds.aws.bootstrap import Software
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.deployment import Deployment
from portal.clouds.aws.key_grant import KeyGrant
from portal.clouds.aws.machines import Group, LaunchTemplate, Machines, Paused
from portal.clouds.aws.placement import ClusterWork, PlacementGroup
from portal.clouds.aws.preparation import Preparation
from portal.clouds.aws.session import Session
from portal.clouds.aws.state import Store
from portal.clouds.aws.workspace import checked_id
from portal.clouds.base import (
    CloudError,
    ClusterSpec,
    Event,
    Failed,
    Handle,
    Level,
    Pending,
    Settled,
    Step,
    Target,
)
from portal.clouds.plan import PlanStep

GONE = {Target.STOPPED, Target.TERMINATED}


@dataclass(frozen=True)
class Clusters:
    """The clusters of one account in one region. ``store`` is where state documents are kept; ``poll`` and ``lag`` are
    those of the plan."""

    session: Session
    configuration: Configuration
    store: Store
    poll: float
    lag: float

    def advance(self, spec: ClusterSpec, handle: Handle, target: Target) -> Step:
        """Take one step toward the target."""
        handle = {"steps": {}, **copy.deepcopy(handle)}
        handle.update(cluster=checked_id(spec.id), workspace=checked_id(spec.workspace.id), region=self.session.region)
        if target is Target.PAUSED and spec.spot:
            message, hint = "A cluster of Spot instances cannot be paused.", "Stop it instead."
            return Step(handle, Failed(CloudError("SpotCannotPause", message, hint, permanent=True)))
        if target is Target.RUNNING and (opened := self._open(spec, handle)):
            return opened
        if target in GONE:
            handle.pop("nodes", None)
        id = f"workspaces/{spec.workspace.id}/clusters/{spec.id}"
        deployment = Deployment(
            self.store, id, "cluster", spec.name, leaving=target in GONE, forgotten=target is Target.TERMINATED
        )
        step = deployment.advance(handle, lambda handle: self._move(spec, handle, target))
        if isinstance(step.outcome, Settled) and target in GONE:
            for key in ("made_of", "zone", "count", "since"):
                step.handle.pop(key, None)
        return step

    def _open(self, spec: ClusterSpec, handle: Handle) -> Step | None:
        """Decide what is to be made, or look again at what was ready: after a pause, and for another size."""
        if not placement.like(handle.get("made_of"), spec):
            handle["made_of"] = placement.decide(self.session, spec)
            handle.update(zone=0, count=spec.instances, since=time.time())
            handle.pop("nodes", None)
            return Step(handle, Pending(plan.NOW))
        ledger, before = handle["steps"], handle["count"]
        if ledger.get("machines", {}).get("state") != "ready":
            handle["count"] = spec.instances
            return None
        if before == spec.instances and "pause" not in ledger:
            return None
        ledger["machines"]["state"] = "created"
        ledger.get("preparation", {}).update(state="intent", id=None, since=time.time())
        handle.update(count=spec.instances, since=time.time(), nodes=handle.get("nodes", [])[: spec.instances])
        message = f"Changing the number of machines from {before} to {spec.instances}"
        return Step(handle, Pending(plan.NOW), [Event("machines", message)] if before != spec.instances else [])

    def _move(self, spec: ClusterSpec, handle: Handle, target: Target) -> Step:
        work = ClusterWork(
            self.session,
            spec.workspace.id,
            spec.name,
            handle["steps"],
            cluster=spec.id,
            poll=self.poll,
            custom=placement.clean_tags(spec.tags),
        )
        steps = self._steps(work, spec, handle, resuming=target is Target.RUNNING)
        machines = steps["machines"]
        wanted = self._wanted(steps, handle, target)
        step = plan.advance(wanted, steps.values(), handle, poll=self.poll, lag=self.lag)
        if isinstance(machines, Machines) and machines.nodes is not None:
            step.handle.update(nodes=machines.nodes, since=time.time())
        match step.outcome:
            case Failed(error) if error.code == "InsufficientCapacity" and target is Target.RUNNING:
                return _elsewhere(spec, step, error)
        return step

    def _wanted(self, steps: Mapping[str, PlanStep], handle: Handle, target: Target) -> list[PlanStep]:
        ledger = handle["steps"]
        if target in GONE or (target is Target.PAUSED and "scaling-group" not in ledger):
            return []
        left_out = {"pause"} if target is Target.RUNNING else {"machines", "preparation"}
        if target is Target.PAUSED:
            left_out -= {name for name in left_out if ledger.get(name, {}).get("state") == "ready"}
        if not handle["made_of"]["spot"]:
            left_out.add("spot-grant")
        if not handle["made_of"]["placement"]:
            left_out.add("placement-group")
        return [step for name, step in steps.items() if name not in left_out]

    def _steps(self, work: ClusterWork, spec: ClusterSpec, handle: Handle, *, resuming: bool) -> dict[str, PlanStep]:
        """Every step by its name, in their order; also for removing what was made of something else."""
        made_of: dict[str, Any] = handle.get("made_of", {})
        places = made_of.get("places") or [{"zone": "", "subnet": ""}]
        place = places[min(handle.get("zone", 0), len(places) - 1)]
        nodes, since = handle.get("nodes", []), float(handle.get("since", 0))
        account = self.configuration.account
        key = str(made_of.get("key") or handle["steps"].get("autoscaling-grant", {}).get("fingerprint", ""))
        template = LaunchTemplate(work, made_of, self._user_data(spec, made_of) if made_of else "")
        group = Group(work, template.fingerprint, place["subnet"])
        same = handle["steps"].get("scaling-group", {}).get("fingerprint") == group.fingerprint
        every: list[PlanStep] = [
            KeyGrant(work, "autoscaling", account, key),
            KeyGrant(work, "spot", account, key),
            PlacementGroup(work),
            Software(work, self.store.session, self.configuration, made_of),
            template,
            group,
            Machines(work, group.fingerprint, made_of, spec.instances, place, nodes, since),
            Preparation(work, group.fingerprint, made_of, nodes, since),
            Paused(work, resuming=resuming and same),
        ]
        return {step.name: step for step in every}

    def _user_data(self, spec: ClusterSpec, made_of: Mapping[str, Any]) -> str:
        settings = {
            "workspace": spec.workspace.id,
            "cluster": spec.id,
            "bucket": self.configuration.bucket,
            "bucket_region": self.configuration.region,
            "account": self.configuration.account,
            "region": self.session.region,
            "release_python": f"/opt/bodo/{spec.release}/bin/python",
            **{key: made_of[key] for key in ("generation", "release", "cores", "efa")},
            **{key: made_of[key] for key in ("filesystem", "access_point", "ssh_key")},
        }
        return bootstrap.user_data(
            self.configuration.bucket, self.configuration.region, spec.workspace.id, made_of["software"], settings
        )


def _elsewhere(spec: ClusterSpec, step: Step, error: CloudError) -> Step:
    """In the next zone, unless machines stand in this one, or all were tried."""
    handle, places = step.handle, step.handle["made_of"]["places"]
    type_, tried = spec.instance_type, handle["zone"]
    if handle.get("nodes"):
        return step
    if tried + 1 < len(places):
        handle.update(zone=tried + 1, since=time.time())
        message = f"No {type_} in {places[tried]['zone']}: trying {places[tried + 1]['zone']}"
        return Step(handle, Pending(plan.NOW), [*step.events, Event("machines", message, Level.WARNING)])
    zones = ", ".join(place["zone"] for place in places)
    hint = "Wait and start it again, or choose another instance type" + (", or Auto as its zone." if spec.zone else ".")
    message = f"AWS has no {type_} in {zones} now. It said: {error.message}"
    return Step(handle, Failed(CloudError("InsufficientCapacity", message, hint, permanent=True)), step.events)
