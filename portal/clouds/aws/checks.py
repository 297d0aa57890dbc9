"""VALIDATE: whether the portal can work in an account, as named checks, each with what to do. Changes nothing.

What the portal may do is asked of AWS's own policy simulator, which also knows permissions boundaries and the policies
of the customer's AWS organization. Nothing is made to find out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from portal.clouds.aws.configuration import Configuration, refuse_misspelt
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.grants import Grant
from portal.clouds.aws.node_policy import differences
from portal.clouds.aws.permissions import GRANTS, circumstances, samples
from portal.clouds.aws.quotas import FAMILIES, Quota, check_quota, workspace_quotas
from portal.clouds.aws.session import Role, Session, assume
from portal.clouds.base import Check, CloudError

_PUBLIC = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")

_LISTS = {"aws:TagKeys": "stringList"}
"""Keys of conditions that have several values."""


QUOTAS = (
    *workspace_quotas("")[:2],
    Quota("vCPUs of standard On-Demand instances", "ec2", FAMILIES[0].on_demand, 4, lambda session: 0),
)
"""What a first workspace and the smallest cluster need."""


def check(configuration: Configuration, endpoint: str = "") -> list[Check]:
    """All checks, up to the first that makes the others pointless."""
    found = Found()
    if not found.ask("Names", lambda: refuse_misspelt(configuration), "They can be names of a role, bucket and table."):
        return found.checks
    if not _role(found, configuration, endpoint):
        return found.checks
    session = Session(configuration.region, role=configuration.role, endpoint=endpoint)
    _bucket(found, session, configuration)
    _table(found, session, configuration)
    check_node_policy(found, session, configuration)
    _permissions(found, session, configuration)
    found.checks += [check_quota(session, quota) for quota in QUOTAS]
    return found.checks


@dataclass
class Found:
    """The checks so far."""

    checks: list[Check] = field(default_factory=list)

    def add(self, name: str, passed: bool, detail: str, hint: str = "") -> None:
        """A check; the hint is what to do if it failed."""
        self.checks.append(Check(name, passed, detail, "" if passed else hint))

    def ask(self, name: str, question: Callable[[], object], detail: str) -> bool:
        """A check that passes where the question raises nothing."""
        try:
            question()
        except CloudError as error:
            self.checks.append(Check(name, False, error.message, error.hint))
            return False
        self.checks.append(Check(name, True, detail))
        return True


def _role(found: Found, configuration: Configuration, endpoint: str) -> bool:
    region, arn = configuration.region, configuration.role_arn

    def lend() -> object:
        return assume(configuration.role, region, endpoint)

    if not found.ask("Role", lend, f"AWS lends {arn} to this portal."):
        return False
    try:
        assume(Role(arn, None), region, endpoint)
    except AwsError as error:
        if error.code == "PermissionDenied":
            found.add("External ID", True, "Without the External ID, AWS does not lend the role.")
        else:
            found.checks.append(Check("External ID", False, error.message, error.hint))
        return True
    found.add(
        "External ID",
        False,
        "AWS lends the role also without the External ID, so this portal could be tricked into using it for others.",
        "In the role's trust policy, add the condition StringEquals sts:ExternalId with the External ID shown here.",
    )
    return True


def _bucket(found: Found, session: Session, configuration: Configuration) -> None:
    s3, name = session.client("s3"), configuration.bucket
    mine = {"Bucket": name, "ExpectedBucketOwner": configuration.account}
    try:
        s3.head_bucket(**mine)
    except AwsError as error:
        hints = {
            "NotFound": "Check its name, or create it in this region.",
            "PermissionDenied": "Check its name: it has to belong to the account of the role. "
            "Then check s3:ListBucket in the role's policy.",
            "WrongRegion": "Create the bucket in the region of this configuration, or choose the bucket's region.",
        }
        reason = f"S3 answers {error.reason or error.message} for {name}."
        found.checks.append(Check("Bucket", False, reason, hints.get(error.code, error.hint)))
        return
    found.add("Bucket", True, f"{name} can be reached and belongs to account {configuration.account}.")
    try:
        place = s3.get_bucket_location(**mine)["LocationConstraint"] or "us-east-1"
        hint = f"Create the bucket in {configuration.region}, or choose {place} for this configuration."
        found.add("Bucket region", place == configuration.region, f"{name} is in {place}.", hint)
        on = s3.get_bucket_versioning(**mine).get("Status") == "Enabled"
        hint = "In the S3 console, open the bucket's Properties and enable Bucket Versioning."
        found.add("Bucket versioning", on, f"Versioning is {'on' if on else 'off'}.", hint)
        _closed(found, session, configuration)
    except AwsError as error:
        found.checks.append(Check("Bucket settings", False, error.message, error.hint))


def _closed(found: Found, session: Session, configuration: Configuration) -> None:
    s3 = session.client("s3")
    mine = {"Bucket": configuration.bucket, "ExpectedBucketOwner": configuration.account}
    try:
        settings = s3.get_public_access_block(**mine)["PublicAccessBlockConfiguration"]
    except AwsError as error:
        if error.reason != "NoSuchPublicAccessBlockConfiguration":
            raise
        settings = {}
    open_ones = [name for name in _PUBLIC if not settings.get(name)]
    detail = f"These are off: {', '.join(open_ones)}." if open_ones else "All public access is blocked."
    hint = "In the S3 console, open the bucket's Permissions and switch on Block all public access."
    found.add("Bucket not public", not open_ones, detail, hint)


def _table(found: Found, session: Session, configuration: Configuration) -> None:
    try:
        table = session.client("dynamodb").describe_table(TableName=configuration.table)["Table"]
    except AwsError as error:
        hint = f"Check its name, or create it in {configuration.region}." if error.absent else error.hint
        found.checks.append(Check("Table", False, error.message, hint))
        return
    status = table["TableStatus"]
    detail = f"{configuration.table} in {configuration.region} is {status}."
    found.add("Table", status in {"ACTIVE", "UPDATING"}, detail, "Wait until it is active, then validate again.")
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    keys = [
        f"{each['AttributeName']} ({types[each['AttributeName']]}, {each['KeyType']})" for each in table["KeySchema"]
    ]
    right = keys == ["LockID (S, HASH)"]
    detail = "The partition key is LockID, a String." if right else f"The key is {', '.join(keys)}."
    hint = "Create a table whose partition key is LockID, of type String, without a sort key."
    found.add("Table key", right, detail, hint)


def check_node_policy(found: Found, session: Session, configuration: Configuration) -> None:
    """What bounds all machines has to be there, and to say neither less nor more than they need."""
    iam, name, arn = session.client("iam"), configuration.node_policy_name, configuration.node_policy_arn
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
        document = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    except AwsError as error:
        hint = f"In the IAM console, create a policy of the name {name} from the document that the portal offers."
        found.checks.append(Check("Node policy", False, error.message, hint if error.absent else error.hint))
        return
    wrong = differences(document, configuration.bucket)
    detail = f"In {name}: {'; '.join(wrong)}." if wrong else f"{name} says what machines may do, and no more."
    hint = f"In the IAM console, edit the policy {name}: paste the document that the portal offers for it."
    found.add("Node policy", not wrong, detail, hint)


def _permissions(found: Found, session: Session, configuration: Configuration) -> None:
    """One check for each grant."""
    try:
        missing = lacking(session, configuration, GRANTS)
    except AwsError as error:
        hint = f"{error.hint} Without it, nobody can tell which other permissions are missing."
        found.checks.append(Check("Permissions", False, error.message, hint))
        return
    for grant in GRANTS:
        names = missing[grant.name]
        detail = f"Missing: {', '.join(names)}." if names else f"{len(grant.actions)} actions are allowed."
        hint = (
            "Paste the policy that the portal offers into the role again. Where it is there, look for a permissions "
            "boundary of the role or a service control policy of your AWS organization."
        )
        found.add(f"Permission to {grant.purpose}", not names, detail, hint)


def lacking(session: Session, configuration: Configuration, grants: Sequence[Grant]) -> dict[str, list[str]]:
    """The actions that the role may not do, of each grant by its name. Grants over the same resources are asked about
    with one call. Raises AwsError."""
    together: dict[tuple[str, ...], list[Grant]] = defaultdict(list)
    for grant in grants:
        together[tuple(samples(grant, configuration))].append(grant)
    missing: dict[str, list[str]] = {}
    for resources, asked in together.items():
        actions = [action for grant in asked for action in grant.actions]
        context: dict[str, str] = {}
        for grant in asked:
            context |= circumstances(grant, configuration)
        refused = _not_allowed(session, configuration, actions, resources, context)
        missing |= {grant.name: [action for action in grant.actions if action in refused] for grant in asked}
    return missing


def _not_allowed(
    session: Session,
    configuration: Configuration,
    actions: Iterable[str],
    resources: tuple[str, ...],
    context: dict[str, str],
) -> set[str]:
    entries = [
        {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": _LISTS.get(key, "string")}
        for key, value in context.items()
    ]
    results = session.client("iam").pages(
        "simulate_principal_policy",
        "EvaluationResults",
        PolicySourceArn=configuration.role_arn,
        ActionNames=list(actions),
        ResourceArns=list(resources),
        ContextEntries=entries,
    )
    return {str(each["EvalActionName"]) for each in results if each["EvalDecision"] != "allowed"}
