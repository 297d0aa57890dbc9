"""What stands in a customer's account with our tags, and in none of our records.

Every service is asked by itself: no list of AWS's knows all of them, and the one that knows most (the tagging API) may
be late. What is found is looked at once more: AWS shows things for hours that are gone.

Never mistaken for an orphan: what a handle names; what a handle may be about to find, because it intends to make just
that; machines of a cluster that has a group; disks that hang on a machine; what is of a workspace whose state in the
bucket another portal wrote. Whoever asks has to give the deployments of every cloud configuration of the account.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from portal.clouds.aws import workspace
from portal.clouds.aws.configuration import REGIONS, Configuration
from portal.clouds.aws.grants import TAG
from portal.clouds.aws.identity import PATH
from portal.clouds.aws.orphan_kinds import EVERYWHERE, KINDS, born, cost, leaving, pairs, tags_of
from portal.clouds.aws.resources import CLUSTER_TAG, STEP_TAG, Work
from portal.clouds.aws.session import Session
from portal.clouds.aws.state import Store
from portal.clouds.base import CloudError, Handle, Orphan, Owned

_DOCUMENT = re.compile(r"workspaces/([A-Za-z0-9-]{1,50})(?:/clusters/([A-Za-z0-9-]{1,50}))?/state\.json")
_NAMED = re.compile(r"portal-([0-9a-f-]{36})")
_CHANGED_BY_MACHINES = ("scaling-group", "machines")


@dataclass(frozen=True)
class _Thing:
    """Something with our tags, as it was found."""

    kind: str
    id: str
    tags: dict[str, str]

    @property
    def deployment(self) -> str:
        """The cluster that it is of, or the workspace."""
        return self.tags.get(CLUSTER_TAG) or self.tags[TAG]


@dataclass
class _Records:
    """What the handles say: the ids that they name, also with their steps, and the steps of each deployment."""

    ids: set[str] = field(default_factory=set)
    named: set[tuple[str, str]] = field(default_factory=set)
    steps: dict[str, dict[str, object]] = field(default_factory=dict)

    @classmethod
    def of(cls, owned: Sequence[Owned]) -> _Records:
        """Read them."""
        records = cls()
        for each in owned:
            ledger = each.handle.get("steps", {})
            records.steps[each.id] = {name: entry.get("id") for name, entry in ledger.items()}
            records.named |= {(name, str(entry["id"])) for name, entry in ledger.items() if entry.get("id")}
            records.ids |= {id for _, id in records.named}
            records.ids |= {str(node["id"]) for node in each.handle.get("nodes", ()) if node.get("id")}
        return records

    def know(self, thing: _Thing) -> bool:
        """Whether it stands in a handle, or a handle is about to find it."""
        step = thing.tags.get(STEP_TAG, "")
        steps = self.steps.get(thing.deployment, {})
        # Handles know a placement group by its name, tags by its id. A role and its profile have one name.
        if (step, thing.id) in self.named if thing.kind in EVERYWHERE else thing.id in self.ids:
            return True
        if thing.tags.get("aws:autoscaling:groupName") in self.ids:
            return True
        if thing.kind == "pg" and step in steps:
            return True
        if thing.kind == "i" and any(step in steps for step in _CHANGED_BY_MACHINES):
            return True
        return step in steps and steps[step] is None


@dataclass(frozen=True)
class Finder:
    """The search of one account."""

    session: Callable[[str], Session]
    configuration: Configuration
    store: Store

    def find(self, owned: Sequence[Owned]) -> list[Orphan]:
        """All of them, dearest first."""
        records = _Records.of(owned)
        with ThreadPoolExecutor(len(REGIONS)) as pool:
            found = [pair for each in pool.map(lambda region: self._in(region, records), REGIONS) for pair in each]
        found += self._documents(records)
        unknown = {workspace for workspace, _ in found if workspace not in records.steps}
        foreign = {workspace for workspace in unknown if self._foreign(workspace)}
        kept = [orphan for workspace, orphan in found if workspace not in foreign]
        return sorted(kept, key=lambda each: (-(each.daily or 0), each.region, each.kind, each.id))

    def _in(self, region: str, records: _Records) -> list[tuple[str, Orphan]]:
        """Each with its workspace."""
        session = self.session(region)
        found: dict[tuple[str, str], _Thing] = {}
        for thing in _things(session, everywhere=region == self.configuration.region):
            found.setdefault((thing.kind, thing.id), thing)
        strangers = (thing for thing in found.values() if not records.know(thing))
        orphans = ((thing.tags[TAG], self._orphan(session, thing, records)) for thing in strangers)
        return [(workspace, orphan) for workspace, orphan in orphans if orphan]

    def _orphan(self, session: Session, thing: _Thing, records: _Records) -> Orphan | None:
        """The thing as an orphan; None where it is gone, or going."""
        kind = KINDS[thing.kind]
        seen = kind.step(_work(session, thing.tags[TAG]), self.configuration).look(thing.id)
        if seen is None or leaving(seen):
            return None
        step = thing.tags.get(STEP_TAG, "")
        adoptable = CLUSTER_TAG not in thing.tags and thing.deployment in records.steps
        return Orphan(
            key=f"{'global' if thing.kind in EVERYWHERE else session.region}/{thing.kind}/{thing.id}",
            id=thing.id,
            kind=kind.label,
            name=thing.tags.get("Name", ""),
            region=session.region,
            deployment=thing.deployment,
            step=step,
            daily=cost(session, thing.kind, seen),
            since=born(seen),
            adoptable=adoptable and bool(step) and step not in records.steps[thing.deployment],
        )

    def _documents(self, records: _Records) -> list[tuple[str, Orphan]]:
        """States without a deployment, each with its workspace."""
        found: list[tuple[str, Orphan]] = []
        where = {"Bucket": self.configuration.bucket, "ExpectedBucketOwner": self.configuration.account}
        s3 = self.session(self.configuration.region).client("s3")
        for item in s3.pages("list_objects_v2", "Contents", **where, Prefix="workspaces/"):
            named = _DOCUMENT.fullmatch(str(item["Key"]))
            deployment = (named[2] or named[1]) if named else ""
            if named and deployment not in records.steps:
                orphan = Orphan(
                    key=f"{self.configuration.region}/state/{item['Key']}",
                    id=str(item["Key"]),
                    kind=KINDS["state"].label,
                    name="",
                    region=self.configuration.region,
                    deployment=deployment,
                    step="state",
                    daily=cost(self.session(self.configuration.region), "state", item),
                    since=item["LastModified"],
                )
                found.append((named[1], orphan))
        return found

    def _foreign(self, deployment: str) -> bool:
        """Whether another portal wrote the state of a workspace last."""
        try:
            document: object = self.store.load(f"workspaces/{deployment}")
        except ValueError:  # not what a portal wrote
            return False
        return isinstance(document, dict) and document.get("written_by", self.store.holder) != self.store.holder

    def remove(self, orphan: Orphan) -> bool:
        """Go on removing; True once it is absent. Raises CloudError(NotOurs) where its tags say another thing now."""
        kind = _kind_of(orphan)
        session = self.session(orphan.region)
        if kind == "state":
            return KINDS[kind].step(_work(session, orphan.deployment), self.configuration).delete(orphan.id) is True
        tags = tags_of(session, kind, orphan.id)
        step = KINDS[kind].step(_work(session, tags.get(TAG, "none")), self.configuration)
        if not tags and step.look(orphan.id) is None:
            return True
        if TAG not in tags or orphan.deployment not in (tags.get(CLUSTER_TAG), tags[TAG]):
            message = f"The {orphan.kind} {orphan.id} does not carry our tags any more."
            raise CloudError("NotOurs", message, "It is left alone. Search again.", permanent=True)
        return step.delete(orphan.id) is True

    def adopt(self, orphan: Orphan, handle: Handle) -> Handle:
        """The handle of the workspace with the orphan in its place. Raises CloudError(NotAdoptable)."""
        ledger = handle.get("steps", {})
        if orphan.step in ledger:
            raise _not_adoptable(orphan, "Its deployment has one already.")
        work = Work(self.session(orphan.region), orphan.deployment, "", ledger)
        zones = handle.get("zones") or []
        plan = workspace.wanted(work, self.configuration, zones, None)
        names = [each.name for each in plan]
        step = next((each for each in plan if each.name == orphan.step), None)
        if step is None or not zones:
            raise _not_adoptable(orphan, "Its deployment has no place for it.")
        try:
            found = step.find()
        except KeyError:  # what it hangs on is not in the handle
            found = None
        if found != orphan.id:
            raise _not_adoptable(orphan, f"Its deployment would find {found or 'nothing'} in its place.")
        entry = {"state": "created", "id": orphan.id, "fingerprint": step.fingerprint, "order": 0}
        steps = {**ledger, orphan.step: entry}
        known = [name for name in names if name in steps]
        order = known + sorted((name for name in steps if name not in names), key=lambda name: steps[name]["order"])
        return {**handle, "steps": {name: {**steps[name], "order": order.index(name) + 1} for name in steps}}


def _things(session: Session, *, everywhere: bool) -> Iterator[_Thing]:
    """Everything in a region that carries our tag, some of it more than once."""
    yield from _of_ec2(session)
    filters = [{"Name": "key", "Values": [TAG, CLUSTER_TAG, STEP_TAG, "Name"]}]
    groups: dict[str, dict[str, str]] = {}
    for tag in session.client("autoscaling").pages("describe_tags", "Tags", Filters=filters):
        groups.setdefault(str(tag["ResourceId"]), {})[str(tag["Key"])] = str(tag["Value"])
    yield from (_Thing("asg", name, tags) for name, tags in groups.items() if TAG in tags)
    efs = session.client("efs")
    for kind, call, listed, key in (
        ("fs", "describe_file_systems", "FileSystems", "FileSystemId"),
        ("fsap", "describe_access_points", "AccessPoints", "AccessPointId"),
    ):
        for item in efs.pages(call, listed):
            tags = pairs(item["Tags"])
            if TAG in tags:
                yield _Thing(kind, str(item[key]), tags)
    for item in session.client("resourcegroupstaggingapi").pages(
        "get_resources", "ResourceTagMappingList", TagFilters=[{"Key": TAG}], ResourceTypeFilters=["kms:key"]
    ):
        yield _Thing("key", str(item["ResourceARN"]).rpartition("/")[2], pairs(item["Tags"]))
    yield from _named(session, "parameter", _parameters(session))
    functions = session.client("lambda").pages("list_functions", "Functions")
    arns = (str(each["FunctionArn"]) for each in functions if _NAMED.match(str(each["FunctionName"])))
    yield from _named(session, "function", arns)
    if everywhere:
        iam = session.client("iam")
        roles = iam.pages("list_roles", "Roles", PathPrefix=PATH)
        yield from _named(session, "role", (str(each["RoleName"]) for each in roles))
        profiles = iam.pages("list_instance_profiles", "InstanceProfiles", PathPrefix=PATH)
        yield from _named(session, "profile", (str(each["InstanceProfileName"]) for each in profiles))


def _of_ec2(session: Session) -> Iterator[_Thing]:
    """All of EC2's, with two lists: which carry our tag, and what else these carry."""
    ec2 = session.client("ec2")
    ours = [{"Name": "key", "Values": [TAG]}]
    ids = [str(tag["ResourceId"]) for tag in ec2.pages("describe_tags", "Tags", Filters=ours)]
    tags: dict[str, dict[str, str]] = {}
    for start in range(0, len(ids), 200):
        among = [{"Name": "resource-id", "Values": ids[start : start + 200]}]
        for tag in ec2.pages("describe_tags", "Tags", Filters=among):
            tags.setdefault(str(tag["ResourceId"]), {})[str(tag["Key"])] = str(tag["Value"])
    for id, found in tags.items():
        kind = id.partition("-")[0]
        if kind in KINDS and TAG in found:
            yield _Thing(kind, id, found)


def _parameters(session: Session) -> Iterator[str]:
    below = [{"Key": "Path", "Option": "Recursive", "Values": ["/portal"]}]
    for item in session.client("ssm").pages("describe_parameters", "Parameters", ParameterFilters=below):
        yield str(item["Name"])


def _named(session: Session, kind: str, ids: Iterator[str]) -> Iterator[_Thing]:
    """What has our names, where it has our tags as well."""
    for id in ids:
        tags = tags_of(session, kind, id)
        if TAG in tags:
            yield _Thing(kind, id, tags)


def _kind_of(orphan: Orphan) -> str:
    return orphan.key.split("/")[1]


def _work(session: Session, deployment: str) -> Work:
    return Work(session, deployment, "")


def _not_adoptable(orphan: Orphan, why: str) -> CloudError:
    message = f"The {orphan.kind} {orphan.id} cannot be adopted. {why}"
    return CloudError("NotAdoptable", message, "Remove it instead.", permanent=True)
