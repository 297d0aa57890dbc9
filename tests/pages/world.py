"""Two tenants with everybody in them: what the tests that walk all addresses stand on.

Acme has a person in every role; the workspace Lab has files, a cluster, a run and an open invitation, and so has its
sister, Annex.
Globex is another tenant, with the same. Files are real; no cloud has heard of the clusters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts import activation, sandbox
from accounts.audit import Actor
from accounts.marketplace import Purchase
from accounts.models import (
    ApiToken,
    Invitation,
    MarketplaceRegistration,
    Membership,
    Organization,
    PendingSignup,
    SsoDomain,
    User,
)
from accounts.permissions import OrganizationRole, WorkspaceRole
from accounts.services_marketplace import claim, register
from accounts.services_signup import sign_up
from accounts.views_marketplace import CLAIMED
from billing import metering
from billing.alarms_links import confirm_key, unsubscribe_key
from billing.models import Alarm, AlarmEndpoint, Budget, UsageInterval
from clusters import snooze_links
from clusters.models import Cluster, Transition
from jobs.models import JobSchedule, JobTemplate, Run, RunAttempt
from portal.clouds.base import EndpointState
from tests.billing.alarms_world import make_alarm, make_endpoint
from tests.factories import (
    add_to_organization,
    add_to_workspace,
    make_catalog,
    make_cluster,
    make_configuration,
    make_connection,
    make_instance_role,
    make_invitation,
    make_lost_thing,
    make_network,
    make_organization,
    make_run,
    make_secret,
    make_statement,
    make_template,
    make_token,
    make_user,
    make_workspace,
)
from tests.notebooks.making import make_server
from workspaces.models import (
    Catalog,
    CloudConfiguration,
    InstanceRole,
    LostThing,
    NetworkConfiguration,
    Secret,
    Workspace,
    WorkspaceMembership,
)

STATED = ("2026-09", "2026-08")
"""The month whose statement each of the two organizations has."""

ORGANIZATION_ROLES = {
    "owner": OrganizationRole.OWNER,
    "admin": OrganizationRole.ADMIN,
    "billing": OrganizationRole.BILLING,
    "member": OrganizationRole.MEMBER,
}
WORKSPACE_ROLES = {
    "ws_admin": WorkspaceRole.ADMIN,
    "developer": WorkspaceRole.DEVELOPER,
    "viewer": WorkspaceRole.VIEWER,
}
STRANGERS = ("outsider", "inactive", "anonymous")
EVERYBODY = (*ORGANIZATION_ROLES, *WORKSPACE_ROLES, *STRANGERS)


@dataclass
class Place:
    """A workspace with what is in it."""

    workspace: Workspace
    cluster: Cluster
    run: Run
    template: JobTemplate
    schedule: JobSchedule
    secret: Secret
    catalog: Catalog
    instance_role: InstanceRole
    files: Path
    token: ApiToken
    invitation: Invitation
    resident: WorkspaceMembership

    @property
    def invitation_key(self) -> str:
        """What the link in its invitation holds."""
        return f"{self.workspace.name.lower()}-token"


@dataclass
class Tenants:
    """The world; ``people`` by role, ``outsider`` owns Globex. Of each organization there is a token,
    and a membership of ``somebody``."""

    acme: Organization
    globex: Organization
    configuration: CloudConfiguration
    lab: Place
    annex: Place
    abroad: Place
    pending: PendingSignup
    registration: MarketplaceRegistration
    claim_key: str
    people: dict[str, User] = field(default_factory=dict)
    tokens: dict[UUID, ApiToken] = field(default_factory=dict)
    somebody: dict[UUID, Membership] = field(default_factory=dict)

    def ids(self, place: Place | None = None, **other: Any) -> dict[str, Any]:
        """Values for all the names that addresses have."""
        place = place or self.lab
        endpoint = self.endpoint_of(place.workspace.organization)
        return {
            "organization": place.workspace.organization_id,
            "configuration": place.workspace.cloud_configuration_id,
            "thing": LostThing.objects.in_configuration(place.workspace.cloud_configuration)[0].pk,
            "workspace": place.workspace.pk,
            "cluster": place.cluster.pk,
            "run": place.run.pk,
            "template": place.template.pk,
            "schedule": place.schedule.pk,
            "api_token": self.tokens[place.workspace.organization_id].pk,
            "workspace_token": place.token.pk,
            "membership": self.somebody[place.workspace.organization_id].pk,
            "organization_name": place.workspace.organization.name,
            "group": place.secret.group_id,
            "secret": place.secret.pk,
            "catalog": place.catalog.pk,
            "instance_role": place.instance_role.pk,
            "invitation": place.invitation.pk,
            "workspace_membership": place.resident.pk,
            "invitation_key": place.invitation_key,
            "action": "pause",
            "network": NetworkConfiguration.objects.in_organization(place.workspace.organization)[0].pk,
            "month": STATED[place.workspace.organization == self.globex],
            "interval": UsageInterval.objects.get(cluster=place.cluster).pk,
            "budget": self.budget_of(place.workspace.organization).pk,
            "alarm": endpoint.alarm_id,
            "endpoint": endpoint.pk,
            "confirm_key": confirm_key(endpoint),
            "unsubscribe_key": unsubscribe_key(endpoint),
            "session": 1,
            "tenant": place.workspace.organization_id,
            "domain": SsoDomain.objects.in_organization(place.workspace.organization).values_list("pk", flat=True)[0],
            "activation_key": activation.key_of(self.pending),
            "claim_key": self.claim_key,
            "snooze_key": snooze_links.key_of(place.cluster, self.people["owner"]),
            "registration": self.registration.pk,
            "token": sandbox.token_for(Purchase("sandbox-product", "210987654321")),
            **other,
        }

    def budget_of(self, organization: Organization) -> Budget:
        """The budget of one of its workspaces."""
        return Budget.objects.get(organization=organization)

    def alarm_of(self, organization: Organization) -> Alarm:
        """The usage alarm of its cloud configuration."""
        return Alarm.objects.in_organization(organization)[0]

    def endpoint_of(self, organization: Organization) -> AlarmEndpoint:
        """The endpoint of that alarm, which has not confirmed."""
        return AlarmEndpoint.objects.get(alarm=self.alarm_of(organization), address="endpoint@example.org")

    def client(self, role: str, **options: Any) -> Client:
        """A browser in which that person has signed in, and in which somebody came from AWS Marketplace."""
        client = Client(**options)
        if role != "anonymous":
            client.force_login(self.people[role])
        session = client.session
        session[CLAIMED] = [str(self.registration.pk)]
        session.save()
        client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key or ""
        return client


def make_place(organization: Organization, configuration: CloudConfiguration, directory: Path, name: str) -> Place:
    """A READY workspace with real files."""
    files = directory / name / "bodofs"
    files.mkdir(parents=True)
    (files / "job.py").write_text("print('hello')\n")
    (files / "folder").mkdir()
    handle = {"steps": {"filesystem": {"id": name}}}
    workspace = make_workspace(organization, configuration, name=name.title(), handle=handle)
    cluster = make_cluster(workspace, auto_pause_minutes=60)
    charge(cluster)
    token = make_token(owner_of(organization), organization, workspace=workspace)
    template = make_template(workspace, cluster=cluster)
    schedule = JobSchedule.objects.create(workspace=workspace, template=template, name="nightly", cron="0 3 * * *")
    run = make_run(cluster)
    reference = {"run": f"runs/{run.pk}", "node": "nowhere"}
    RunAttempt.objects.create(run=run, number=1, handle=reference, started_at=timezone.now(), ended_at=timezone.now())
    output = directory / reference["run"] / "output"
    output.mkdir(parents=True)
    (output / "result.json").write_text("{}")
    invitation = make_invitation(
        organization,
        f"{name}@example.com",
        owner_of(organization),
        token=f"{name}-token",
        workspace=workspace,
        workspace_role=WorkspaceRole.VIEWER,
    )
    return Place(
        workspace,
        cluster,
        run,
        template,
        schedule,
        make_secret(workspace),
        make_catalog(workspace),
        make_instance_role(workspace),
        files,
        token,
        invitation,
        add_to_workspace(workspace, make_user("resident"), WorkspaceRole.VIEWER),
    )


def charge(cluster: Cluster) -> None:
    """An hour of it, with the ledger from which that follows."""
    at = timezone.now() - timedelta(hours=2)
    lines = [("STATUS", "RUNNING", at), ("REQUEST", "PAUSED", at + timedelta(hours=1))]
    for seq, (kind, status, when) in enumerate(lines, 1):
        Transition.objects.create(
            cluster=cluster, seq=seq, at=when, kind=kind, status=status, instances=1, instance_type="local.1x"
        )
    cluster.ledger_length = len(lines)
    cluster.save(update_fields=["ledger_length"])
    metering.rebuild([cluster.pk])


def owner_of(organization: Organization) -> User:
    """Somebody who owns it."""
    return organization.memberships.filter(role=OrganizationRole.OWNER)[0].user


def make_tenants(directory: Path) -> Tenants:
    """All of it."""
    people = {name: make_user(name) for name in ("outsider", "inactive", *ORGANIZATION_ROLES, *WORKSPACE_ROLES)}
    acme, globex = make_organization(), make_organization(people["outsider"])
    for name, role in ORGANIZATION_ROLES.items():
        add_to_organization(acme, people[name], role)
    acme_cloud = make_configuration(acme, directory / "acme")
    globex_cloud = make_configuration(globex, directory / "globex")
    for cloud in (acme_cloud, globex_cloud):
        make_lost_thing(cloud)
    lab = make_place(acme, acme_cloud, directory / "acme", "lab")
    annex = make_place(acme, acme_cloud, directory / "acme", "annex")
    abroad = make_place(globex, globex_cloud, directory / "globex", "abroad")
    for name, ws_role in WORKSPACE_ROLES.items():
        add_to_workspace(lab.workspace, people[name], ws_role)
    add_to_workspace(lab.workspace, people["inactive"], WorkspaceRole.ADMIN)
    make_server(lab.workspace, people["owner"])
    User.objects.filter(pk=people["inactive"].pk).update(is_active=False)
    somebody = {
        row.organization_id: row for row in Membership.objects.filter(user__in=[people["member"], people["outsider"]])
    }
    tokens = {place.pk: make_token(owner_of(place), place) for place in (acme, globex)}
    for place in (acme, globex):
        make_connection(place)
    for cluster, month in zip((lab.cluster, abroad.cluster), STATED, strict=True):
        make_statement(cluster, date.fromisoformat(f"{month}-01"))
    for place_ in (lab, abroad):
        workspace = place_.workspace
        Budget.objects.create(organization=workspace.organization, workspace=workspace, limit=100_000)
    for cloud in (acme_cloud, globex_cloud):
        make_network(cloud)
        make_endpoint(make_alarm(cloud), EndpointState.PENDING, address="endpoint@example.org")
    pending = sign_up(
        address=None,
        email="newcomer@example.org",
        password="a new password",
        first_name="New",
        last_name="Comer",
        organization_name="Hooli",
    )
    by = Actor("visitor", "AWS Marketplace buyer")
    arrivals = [register(actor=by, token=sandbox.token_for(Purchase("sandbox-product", account))) for account in "12"]
    registration = claim(actor=by, key=arrivals[0].claim_key)
    return Tenants(
        acme,
        globex,
        acme_cloud,
        lab,
        annex,
        abroad,
        pending,
        registration,
        arrivals[1].claim_key,
        people,
        tokens,
        somebody,
    )
