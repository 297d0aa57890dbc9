"""Plain functions that make what a test needs, through the services where there is one. Alice owns, Bob is a member,
Charlie is an outsider with an organization of his own."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.utils import timezone

from accounts.audit import SYSTEM, Actor
from accounts.models import (
    ApiToken,
    Invitation,
    MarketplaceSubscription,
    Membership,
    Organization,
    SsoConnection,
    SsoDomain,
    User,
)
from accounts.permissions import OrganizationRole, WorkspaceRole
from accounts.services_invitations import VALID
from accounts.tokens import hash_of, new_client_id
from billing.models import MeterPeriod, MeterRecord, Statement, StatementLine, rounded
from clusters.models import Cluster
from jobs.models import JobTemplate, Run
from portal.clouds.aws.configuration import new_external_id
from portal.crypto import seal
from workspaces.models import (
    Catalog,
    CatalogKind,
    CloudConfiguration,
    InstanceRole,
    InstanceRoleStatus,
    LostThing,
    NetworkConfiguration,
    OrphanSearch,
    Provider,
    Secret,
    SecretGroup,
    Way,
    Workspace,
    WorkspaceMembership,
    WorkspaceStatus,
)

PASSWORD = "correct horse battery staple"
SECRET = "bodo_secret_" + "5e" * 32
_count = itertools.count(1)


def make_user(name: str = "alice", **fields: Any) -> User:
    """A user whose e-mail address is verified, and who has accepted the terms."""
    from allauth.account.models import EmailAddress

    email = f"{name}-{next(_count)}@example.org"
    accepted = {"terms_version": settings.PORTAL_TERMS_VERSION, **fields}
    user = User.objects.create_user(email, PASSWORD, first_name=name.title(), last_name="Example", **accepted)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def make_authenticator(user: User, type: str = "totp") -> Authenticator:
    """A second factor of which nobody knows the secret."""
    data = {"secret": seal({"text": "JBSWY3DPEHPK3PXP"})} if type == "totp" else {"name": "Key", "credential": {}}
    return Authenticator.objects.create(user=user, type=type, data=data)


def make_connection(organization: Organization, domain: str = "", **fields: Any) -> SsoConnection:
    """Single sign-on with a provider that nobody asks, and a domain for which it speaks."""
    values = {"issuer": "https://127.0.0.1:9", "client_id": "portal", **fields}
    connection = SsoConnection(organization=organization, **values)
    connection.client_secret = "sesame-sesame"
    connection.save()
    make_domain(connection, domain or f"domain-{next(_count)}.example")
    return connection


def make_domain(connection: SsoConnection, domain: str, *, approved: bool = True) -> SsoDomain:
    """A domain that the operator has approved, unless it says otherwise."""
    return SsoDomain.objects.create(
        connection=connection, domain=domain, approved_at=timezone.now() if approved else None
    )


def make_session(user: User, **fields: Any) -> UserSession:
    """A line of the sessions list, without a browser that holds it."""
    values = {"ip": "10.0.0.9", "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    values["session_key"] = f"{next(_count):032}"
    return UserSession.objects.create(user=user, **{**values, **fields})


def stay_away(user: User, *, days: float) -> User:
    """Nobody has signed in as them for so long."""
    since = timezone.now() - timedelta(days=days)
    User.objects.filter(pk=user.pk).update(date_joined=since, last_login=since)
    user.refresh_from_db()
    return user


def actor(user: User | None = None) -> Actor:
    """Somebody to act as."""
    return Actor("user", user.email, user, "127.0.0.1") if user else SYSTEM


def make_organization(owner: User | None = None, name: str = "") -> Organization:
    """An organization with its owner."""
    organization = Organization.objects.create(name=name or f"Organization {next(_count)}")
    if owner:
        add_to_organization(organization, owner, OrganizationRole.OWNER)
    return organization


def add_to_organization(organization: Organization, user: User, role: OrganizationRole) -> Membership:
    """A membership."""
    return Membership.objects.create(organization=organization, user=user, role=role)


def make_token(maker: User, organization: Organization, **fields: Any) -> ApiToken:
    """An API token of the organization, or of the ``workspace`` in ``fields``, with the secret ``SECRET``."""
    values = {
        "name": f"Token {next(_count)}",
        "client_id": new_client_id(),
        "secret_hash": hash_of(SECRET),
        "secret_end": SECRET[-4:],
        "role": WorkspaceRole.DEVELOPER if "workspace" in fields else OrganizationRole.ADMIN,
        "expires_at": timezone.now() + timedelta(days=30),
        **fields,
    }
    return ApiToken.objects.create(organization=organization, created_by=maker, **values)


def make_invitation(
    organization: Organization, email: str, sender: User | None, token: str = "", **fields: Any
) -> Invitation:
    """An open invitation as MEMBER, whose link holds ``token``; no mail was sent."""
    values: dict[str, Any] = {"role": OrganizationRole.MEMBER, "expires_at": timezone.now() + VALID, **fields}
    return Invitation.objects.create(
        organization=organization,
        email=email,
        invited_by=sender,
        token_hash=hash_of(token or f"token-{next(_count)}"),
        **values,
    )


def make_configuration(organization: Organization, directory: Path | str = "/nowhere") -> CloudConfiguration:
    """A LOCAL cloud configuration, unchecked."""
    return CloudConfiguration.objects.create(
        organization=organization,
        name=f"Cloud {next(_count)}",
        provider=Provider.LOCAL,
        settings={"directory": str(directory)},
    )


def make_aws_configuration(organization: Organization, **fields: Any) -> CloudConfiguration:
    """A cloud configuration on AWS that is READY, unless ``fields`` says otherwise; unchecked."""
    known = {"region": "us-east-2", "bucket": "metadata", "table": "locks"}
    values: dict[str, Any] = {
        "name": f"AWS {next(_count)}",
        "provider": Provider.AWS,
        "way": Way.MANUAL,
        "external_id": new_external_id(),
        "settings": {**known, "role_arn": "arn:aws:iam::222222222222:role/BodoPlatformUser"},
        **fields,
    }
    return CloudConfiguration.objects.create(organization=organization, **values)


def make_network(configuration: CloudConfiguration, **fields: Any) -> NetworkConfiguration:
    """A network of the customer's own, unchecked."""
    values: dict[str, Any] = {
        "name": f"Network {next(_count)}",
        "region": "us-east-2",
        "vpc": "vpc-0123456789abcdef0",
        "subnets": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        "security_groups": ["sg-0123456789abcdef0"],
        **fields,
    }
    return NetworkConfiguration.objects.create(
        organization=configuration.organization, cloud_configuration=configuration, **values
    )


def make_lost_thing(configuration: CloudConfiguration, **fields: Any) -> LostThing:
    """A VPC of nobody that a search found in the account of a configuration."""
    found = {"searched_at": timezone.now(), "due_at": None}
    search, _ = OrphanSearch.objects.get_or_create(configuration=configuration, defaults=found)
    number = next(_count)
    values: dict[str, Any] = {
        "key": f"us-east-2/vpc/vpc-{number}",
        "provider_id": f"vpc-{number}",
        "kind": "VPC",
        "region": "us-east-2",
        "deployment": "00000000-0000-4000-8000-000000000000",
        "step": "vpc",
        "daily": Decimal(0),
        **fields,
    }
    return LostThing.objects.create(search=search, **values)


def make_workspace(
    organization: Organization, configuration: CloudConfiguration | None = None, **fields: Any
) -> Workspace:
    """A workspace that is READY, unless ``fields`` says otherwise; no cloud has heard of it."""
    values: dict[str, Any] = {
        "name": f"Workspace {next(_count)}",
        "region": "local",
        "status": WorkspaceStatus.READY,
        "due_at": None,
        **fields,
    }
    configuration = configuration or make_configuration(organization)
    return Workspace.objects.create(organization=organization, cloud_configuration=configuration, **values)


def add_to_workspace(workspace: Workspace, user: User, role: WorkspaceRole) -> WorkspaceMembership:
    """A workspace membership, with the organization's if it is missing."""
    Membership.objects.get_or_create(
        organization=workspace.organization, user=user, defaults={"role": OrganizationRole.MEMBER}
    )
    return WorkspaceMembership.objects.create(workspace=workspace, user=user, role=role)


def make_cluster(workspace: Workspace, **fields: Any) -> Cluster:
    """A cluster at rest in the status given by ``fields`` (RUNNING by default); no cloud has heard of it."""
    values: dict[str, Any] = {
        "name": f"Cluster {next(_count)}",
        "instance_type": "local.1x",
        "instances": 2,
        "deployed_instances": 2,
        "deployed_generation": 1,
        "release": "2026.10",
        "status": "RUNNING",
        "due_at": None,
        **fields,
    }
    return Cluster.objects.create(workspace=workspace, **values)


def make_instance_role(workspace: Workspace, **fields: Any) -> InstanceRole:
    """A role that is ACTIVE, unless ``fields`` says otherwise; no cloud has heard of it."""
    values: dict[str, Any] = {
        "name": f"Role {next(_count)}",
        "role": "arn:aws:iam::123456789012:role/reader",
        "status": InstanceRoleStatus.ACTIVE,
        "due_at": None,
        **fields,
    }
    return InstanceRole.objects.create(workspace=workspace, **values)


def make_statement(cluster: Cluster, first: date, minutes: int = 60) -> Statement:
    """A month of the cluster's organization, closed, with one line."""
    workspace = cluster.workspace
    statement = Statement.objects.create(organization=workspace.organization, first=first)
    line = StatementLine.objects.create(
        statement=statement,
        of=first,
        workspace=workspace,
        cluster=cluster,
        workspace_name=workspace.name,
        cluster_name=cluster.name,
        instance_type=cluster.instance_type,
        hourly=Decimal("0.06"),
        minutes=minutes,
    )
    statement.total, statement.line_count, statement.closed_at = rounded(line.amount), 1, timezone.now()
    statement.save()
    return statement


def make_template(workspace: Workspace, **fields: Any) -> JobTemplate:
    """A template of a Python file."""
    values: dict[str, Any] = {"name": f"Template {next(_count)}", "file": "job.py", **fields}
    return JobTemplate.objects.create(workspace=workspace, **values)


def make_run(cluster: Cluster, **fields: Any) -> Run:
    """A run in the status given by ``fields`` (PENDING by default)."""
    values: dict[str, Any] = {"name": f"Run {next(_count)}", "file": "job.py", "mode": "spawn", **fields}
    return Run.objects.create(workspace=cluster.workspace, cluster=cluster, **values)


def make_subscription(organization: Organization | None = None, **fields: Any) -> MarketplaceSubscription:
    """A sandbox subscription, linked to an organization and active since now, unless it says otherwise."""
    now = timezone.now()
    account = f"{next(_count):012}"
    values: dict[str, Any] = {"product_code": "sandbox-product", "customer": account, "account_id": account}
    values |= {"sandbox": True, "state": "PENDING"}
    if organization:
        values |= {"organization": organization, "linked_at": now, "active_since": now, "state": "ACTIVE"}
    return MarketplaceSubscription.objects.create(**{**values, **fields})


def make_period(organization: Organization | None = None, **fields: Any) -> MeterPeriod:
    """A period that is open, of a subscription of its own."""
    subscription: MarketplaceSubscription = fields.pop("subscription", None) or make_subscription(
        organization or make_organization()
    )
    assert subscription.organization
    started_at = fields.pop("started_at", subscription.active_since)
    return MeterPeriod.objects.create(
        subscription=subscription,
        organization=subscription.organization,
        started_at=started_at,
        frozen_until=started_at.replace(minute=0, second=0, microsecond=0),
        **fields,
    )


def make_record(period: MeterPeriod, **fields: Any) -> MeterRecord:
    """A record of the period's first hour that is to be sent, of 5 cents."""
    subscription = period.subscription
    hour = fields.get("hour", period.frozen_until)
    values: dict[str, Any] = {
        "hour": hour,
        "timestamp": hour,
        "closes_at": hour + timedelta(hours=24),
        "dimension": "usd_cents",
        "total": 0,
        "unit": "0.01",
        "quantity": 5,
        "product_code": subscription.product_code,
        "license_arn": subscription.license_arn,
        "account_id": subscription.account_id,
        "customer_identifier": subscription.customer_identifier,
        **fields,
    }
    return MeterRecord.objects.create(
        period=period, subscription=subscription, organization=period.organization, **values
    )


def make_secret(workspace: Workspace, values: dict[str, str] | None = None, group: SecretGroup | None = None) -> Secret:
    """A secret in a group of its own, or in the one given."""
    values = values or {"TOKEN": "a-token-that-nobody-sees"}
    group = group or SecretGroup.objects.create(workspace=workspace, name=f"Group {next(_count)}")
    return Secret.objects.create(group=group, name=f"Secret {next(_count)}", sealed=seal(values), keys=sorted(values))


def make_catalog(workspace: Workspace, secret: dict[str, str] | None = None, **fields: Any) -> Catalog:
    """A catalog over the workspace's files, unless ``fields`` says otherwise."""
    values: dict[str, Any] = {
        "name": f"Catalog {next(_count)}",
        "kind": CatalogKind.FILESYSTEM,
        "settings": {"directory": ""},
        **fields,
    }
    return Catalog.objects.create(workspace=workspace, sealed=seal(secret) if secret else "", **values)
