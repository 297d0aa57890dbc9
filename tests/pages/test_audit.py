"""Each write leaves one audit event: who, what, on which object, from where."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts import audit, services_lockout, services_marketplace, services_security, services_signup, services_tokens
from accounts import services_invitations as invitations
from accounts import services_joining as joining
from accounts import services_organizations as organizations
from accounts import services_people as people
from accounts.audit import Actor
from accounts.audit_search import Wanted
from accounts.models import ApiToken, AuditEvent, Invitation, Organization, PendingSignup
from accounts.permissions import OrganizationRole, WorkspaceRole
from accounts.services import add_member, create_organization
from accounts.services_audit import note_export
from clusters import services as clusters
from clusters import services_idle
from clusters.models import Cluster
from tests.accounts import writes_sso as single_sign_on
from tests.accounts import writes_staff as staff
from tests.billing import writes_alarms as alarms
from tests.billing import writes_budgets as budgets
from tests.billing import writes_marketplace as marketplace
from tests.factories import (
    actor,
    add_to_organization,
    add_to_workspace,
    make_authenticator,
    make_invitation,
    make_organization,
    make_session,
    make_user,
    make_workspace,
    stay_away,
)
from tests.jobs import writes as jobs
from tests.notebooks import writes as notebooks
from tests.pages.world import Tenants
from tests.workspaces import writes as choices
from tests.workspaces import writes_configurations as configurations
from workspaces import services as workspaces
from workspaces import services_catalogs as catalogs
from workspaces import services_members as members
from workspaces import services_secrets as secrets
from workspaces.models import Workspace
from workspaces.services_tokens import create_workspace_token


def _text() -> Iterator[bytes]:
    yield b"text"


def _secured(by: dict[str, Any]) -> Actor:
    """The same person, with a second factor."""
    who: Actor = by["actor"]
    assert who.user
    make_authenticator(who.user)
    return who


def in_transaction(write: Callable[..., object], **given: Any) -> object:
    """For those that belong into the transaction of something else."""
    with transaction.atomic():
        return write(**given)


def only(kept: Invitation, actor: Actor) -> Actor:
    """So that the write concerns one invitation."""
    Invitation.objects.exclude(pk=kept.pk).delete()
    return actor


def invited(t: Tenants) -> str:
    """The token of an invitation for the person who acts."""
    make_invitation(t.globex, t.people["owner"].email, t.people["outsider"], token="for-the-owner")
    return "for-the-owner"


def entered(t: Tenants, actor: Actor) -> Workspace:
    """A workspace of which the person who acts is a member."""
    assert actor.user
    add_to_workspace(t.lab.workspace, actor.user, WorkspaceRole.VIEWER)
    return t.lab.workspace


def leave_with_another_owner(t: Tenants, actor: Actor) -> None:
    add_to_organization(t.acme, make_user("second"), OrganizationRole.OWNER)
    people.leave_organization(actor=actor, organization=t.acme)


def end_a_snooze(t: Tenants, actor: Actor) -> None:
    Cluster.objects.filter(pk=t.lab.cluster.pk).update(snoozed_until=_tomorrow())
    services_idle.end_snooze(actor=actor, cluster=t.lab.cluster)


def _confirmed(tenants: Tenants) -> PendingSignup:
    PendingSignup.objects.update(user=tenants.people["owner"])
    return tenants.pending


def _tomorrow() -> datetime:
    return timezone.now() + timedelta(days=1)


def _subscribed(tenants: Tenants) -> Organization:
    services_marketplace.link(
        actor=Actor("system", "Tests"), subscription=tenants.registration.subscription, organization=tenants.acme
    )
    return tenants.acme


NEW_TOKEN: dict[str, Any] = {"pk": uuid.uuid4(), "name": "nightly"}
Write = Callable[[Tenants, dict[str, Any]], object]
WRITES: dict[str, tuple[str, Write]] = {
    "accounts.services.create_organization": (
        "organization.create",
        lambda t, by: create_organization(**by, name="Initech", owner=t.people["owner"]),
    ),
    "accounts.services.add_member": (
        "membership.create",
        lambda t, by: add_member(**by, organization=t.acme, user=t.people["outsider"], role=OrganizationRole.MEMBER),
    ),
    "accounts.services_audit.note_export": (
        "audit.export",
        lambda t, by: note_export(**by, organization=t.acme, kind="csv", wanted=Wanted(text="etl")),
    ),
    "accounts.services_security.require_second_factor": (
        "organization.require_second_factor",
        lambda t, by: services_security.require_second_factor(actor=_secured(by), organization=t.acme, required=True),
    ),
    "accounts.services_security.end_sessions": (
        "session.end",
        lambda t, by: services_security.end_sessions(**by, sessions=[make_session(t.people["owner"])]),
    ),
    "accounts.services_lockout.lock_user": (
        "user.lock",
        lambda t, by: services_lockout.lock_user(**by, user=stay_away(t.people["member"], days=91)),
    ),
    "accounts.services_lockout.warn_user": (
        "user.warn",
        lambda t, by: services_lockout.warn_user(**by, user=stay_away(t.people["member"], days=80)),
    ),
    "accounts.services_lockout.unlock_user": (
        "user.unlock",
        lambda t, by: services_lockout.unlock_user(
            **by, user=stay_away(t.people["member"], days=91), organization=t.acme
        ),
    ),
    "accounts.services_invitations.invite": (
        "invitation.create",
        lambda t, by: invitations.invite(
            **by, organization=t.acme, emails=["new@example.com"], role=OrganizationRole.MEMBER
        ),
    ),
    "accounts.services_invitations.issue": (
        "invitation.create",
        lambda t, by: in_transaction(
            invitations.issue, **by, organization=t.acme, email="new@example.com", role=OrganizationRole.MEMBER
        ),
    ),
    "accounts.services_invitations.resend_invitation": (
        "invitation.resend",
        lambda t, by: invitations.resend_invitation(**by, invitation=t.lab.invitation),
    ),
    "accounts.services_invitations.revoke_invitation": (
        "invitation.revoke",
        lambda t, by: invitations.revoke_invitation(**by, invitation=t.lab.invitation),
    ),
    "accounts.services_invitations.revoke_all": (
        "invitation.revoke",
        lambda t, by: in_transaction(invitations.revoke_all, **by, invitations=[t.lab.invitation], reason="test"),
    ),
    "accounts.services_invitations.revoke_of": (
        "invitation.revoke",
        lambda t, by: in_transaction(
            invitations.revoke_of,
            actor=only(t.lab.invitation, **by),
            organization=t.acme,
            user=t.people["owner"],
        ),
    ),
    "accounts.services_joining.accept_invitation": (
        "invitation.accept",
        lambda t, by: joining.accept_invitation(**by, token=invited(t)),
    ),
    "accounts.services_joining.decline_invitation": (
        "invitation.decline",
        lambda t, by: joining.decline_invitation(**by, token=invited(t)),
    ),
    "accounts.services_people.change_role": (
        "membership.change_role",
        lambda t, by: people.change_role(
            **by, organization=t.acme, user=t.people["member"], role=OrganizationRole.BILLING
        ),
    ),
    "accounts.services_people.remove_member": (
        "membership.remove",
        lambda t, by: people.remove_member(**by, organization=t.acme, user=t.people["viewer"]),
    ),
    "accounts.services_people.leave_organization": (
        "membership.leave",
        lambda t, by: leave_with_another_owner(t, **by),
    ),
    "accounts.services_organizations.rename_organization": (
        "organization.rename",
        lambda t, by: organizations.rename_organization(**by, organization=t.acme, name="Initech"),
    ),
    "accounts.services_organizations.delete_organization": (
        "organization.delete",
        lambda t, by: organizations.delete_organization(
            **by, organization=make_organization(t.people["owner"], name="Short-lived")
        ),
    ),
    "accounts.services_signup.accept_terms": (
        "user.accept_terms",
        lambda t, by: services_signup.accept_terms(**by, user=t.people["owner"]),
    ),
    "accounts.services_signup.reset_password": (
        "user.reset_password",
        lambda t, by: services_signup.reset_password(**by, user=t.people["owner"], password="not-in-any-log"),
    ),
    "accounts.services_signup.finish": (
        "organization.create",
        lambda t, by: services_signup.finish(**by, owner=t.people["owner"], pending=_confirmed(t), name="Initech"),
    ),
    "accounts.services_marketplace.register": (
        "marketplace_registration.create",
        lambda t, by: services_marketplace.register(**by, token=t.ids()["token"]),
    ),
    "accounts.services_marketplace.claim": (
        "marketplace_registration.claim",
        lambda t, by: services_marketplace.claim(**by, key=t.claim_key),
    ),
    "accounts.services_marketplace.subscribe": (
        "marketplace_subscription.link",
        lambda t, by: services_marketplace.subscribe(
            **by, owner=t.people["owner"], registration=t.registration, organization=None, name="Initech"
        ),
    ),
    "accounts.services_marketplace.link": (
        "marketplace_subscription.link",
        lambda t, by: services_marketplace.link(**by, organization=t.acme, subscription=t.registration.subscription),
    ),
    "accounts.services_tokens.create_token": (
        "api_token.create",
        lambda t, by: services_tokens.create_token(
            **by, **NEW_TOKEN, organization=t.acme, role=OrganizationRole.ADMIN, expires_at=_tomorrow()
        ),
    ),
    "accounts.services_tokens.revoke_token": (
        "api_token.revoke",
        lambda t, by: services_tokens.revoke_token(**by, token=t.tokens[t.acme.pk]),
    ),
    "accounts.services_tokens.revoke_tokens": (
        "api_token.revoke",
        lambda t, by: services_tokens.revoke_tokens(
            **by, tokens=ApiToken.objects.in_organization(t.acme), reason="a test"
        ),
    ),
    "workspaces.services_tokens.create_workspace_token": (
        "api_token.create",
        lambda t, by: create_workspace_token(
            **by, **NEW_TOKEN, workspace=t.lab.workspace, role=WorkspaceRole.VIEWER, expires_at=_tomorrow()
        ),
    ),
    "accounts.services_marketplace.release": (
        "marketplace_subscription.release",
        lambda t, by: services_marketplace.release(**by, organization=_subscribed(t)),
    ),
    "workspaces.services.create_workspace": (
        "workspace.create",
        lambda t, by: workspaces.create_workspace(
            **by, organization=t.acme, name="Attic", cloud_configuration=t.configuration, region="local"
        ),
    ),
    "workspaces.services.rename_workspace": (
        "workspace.rename",
        lambda t, by: workspaces.rename_workspace(**by, workspace=t.lab.workspace, name="Laboratory"),
    ),
    "workspaces.services_members.add_members": (
        "workspace_membership.create",
        lambda t, by: members.add_members(
            **by, workspace=t.lab.workspace, emails=[t.people["member"].email], role=WorkspaceRole.VIEWER
        ),
    ),
    "workspaces.services_members.add_workspace_member": (
        "workspace_membership.create",
        lambda t, by: members.add_workspace_member(
            **by, workspace=t.lab.workspace, user=t.people["member"], role=WorkspaceRole.VIEWER
        ),
    ),
    "workspaces.services_members.change_workspace_role": (
        "workspace_membership.update",
        lambda t, by: members.change_workspace_role(
            **by, workspace=t.lab.workspace, user=t.people["viewer"], role=WorkspaceRole.DEVELOPER
        ),
    ),
    "workspaces.services_members.remove_workspace_member": (
        "workspace_membership.remove",
        lambda t, by: members.remove_workspace_member(**by, workspace=t.lab.workspace, user=t.people["viewer"]),
    ),
    "workspaces.services_members.leave_workspace": (
        "workspace_membership.leave",
        lambda t, by: members.leave_workspace(**by, workspace=entered(t, **by)),
    ),
    "workspaces.services.delete_workspace": (
        "workspace.delete",
        lambda t, by: workspaces.delete_workspace(**by, workspace=make_workspace(t.acme, t.configuration)),
    ),
    "workspaces.services.save_file": (
        "file.save",
        lambda t, by: workspaces.save_file(**by, workspace=t.lab.workspace, path="new.txt", chunks=_text()),
    ),
    "workspaces.services.make_folder": (
        "file.make_folder",
        lambda t, by: workspaces.make_folder(**by, workspace=t.lab.workspace, path="new"),
    ),
    "workspaces.services.move_file": (
        "file.move",
        lambda t, by: workspaces.move_file(**by, workspace=t.lab.workspace, source="job.py", destination="x.py"),
    ),
    "workspaces.services.delete_file": (
        "file.delete",
        lambda t, by: workspaces.delete_file(**by, workspace=t.lab.workspace, path="folder"),
    ),
    "workspaces.services_catalogs.create_catalog": (
        "catalog.create",
        lambda t, by: catalogs.create_catalog(
            **by,
            workspace=t.lab.workspace,
            name="warehouse",
            kind="GLUE",
            settings={"region": "us-east-1", "warehouse": "s3://bucket/tables"},
            secret={"access_key_id": "not-in-any-log", "secret_access_key": "not-in-any-log"},
        ),
    ),
    "workspaces.services_catalogs.update_catalog": (
        "catalog.update",
        lambda t, by: catalogs.update_catalog(
            **by, catalog=t.lab.catalog, name="other", settings={"directory": "folder"}, secret=None
        ),
    ),
    "workspaces.services_catalogs.record_test": (
        "catalog.test",
        lambda t, by: catalogs.record_test(**by, catalog=t.lab.catalog, checks=[]),
    ),
    "workspaces.services_catalogs.delete_catalog": (
        "catalog.delete",
        lambda t, by: catalogs.delete_catalog(**by, catalog=t.lab.catalog),
    ),
    "workspaces.services_secrets.create_group": (
        "secret_group.create",
        lambda t, by: secrets.create_group(**by, workspace=t.lab.workspace, name="production"),
    ),
    "workspaces.services_secrets.update_group": (
        "secret_group.update",
        lambda t, by: secrets.update_group(**by, group=t.lab.secret.group, name="staging", description="x"),
    ),
    "workspaces.services_secrets.delete_group": (
        "secret_group.delete",
        lambda t, by: secrets.delete_group(**by, group=t.lab.secret.group),
    ),
    "workspaces.services_secrets.create_secret": (
        "secret.create",
        lambda t, by: secrets.create_secret(
            **by, group=t.lab.secret.group, name="warehouse", values={"PASSWORD": "not-in-any-log"}
        ),
    ),
    "workspaces.services_secrets.update_secret": (
        "secret.update",
        lambda t, by: secrets.update_secret(
            **by, secret=t.lab.secret, name="warehouse", values={"PASSWORD": "not-in-any-log"}
        ),
    ),
    "workspaces.services_secrets.delete_secret": (
        "secret.delete",
        lambda t, by: secrets.delete_secret(**by, secret=t.lab.secret),
    ),
    "clusters.services.create_cluster": (
        "cluster.create",
        lambda t, by: clusters.create_cluster(
            **by, workspace=t.lab.workspace, name="new", instance_type="local.1x", instances=1, release="2026.10"
        ),
    ),
    "clusters.services.act": (
        "cluster.pause",
        lambda t, by: clusters.act(**by, cluster=t.lab.cluster, action=clusters.ACTIONS["pause"]),
    ),
    "clusters.services.scale_cluster": (
        "cluster.scale",
        lambda t, by: clusters.scale_cluster(**by, cluster=t.lab.cluster, instances=5),
    ),
    "clusters.services.update_cluster": (
        "cluster.update",
        lambda t, by: clusters.update_cluster(**by, cluster=t.lab.cluster, name="other"),
    ),
    "clusters.services_idle.snooze_cluster": (
        "cluster.snooze",
        lambda t, by: services_idle.snooze_cluster(**by, cluster=t.lab.cluster, minutes=60),
    ),
    "clusters.services_idle.end_snooze": ("cluster.end_snooze", lambda t, by: end_a_snooze(t, **by)),
    **choices.WRITES,
    **jobs.WRITES,
    **marketplace.WRITES,
    **staff.WRITES,
    **single_sign_on.WRITES,
    **alarms.WRITES,
    **budgets.WRITES,
    **configurations.WRITES,
    **notebooks.WRITES,
}


PERSONAL = (
    *staff.PERSONAL,
    "marketplace_registration.create",
    "marketplace_registration.claim",
)
"""What a person does about themselves happens in no organization."""

MAKES_ITS_OWN = (
    *choices.MAKES_ITS_OWN,
    *jobs.MAKES_ITS_OWN,
    *marketplace.MAKES_ITS_OWN,
    *staff.MAKES_ITS_OWN,
    *single_sign_on.MAKES_ITS_OWN,
    *alarms.MAKES_ITS_OWN,
    *budgets.MAKES_ITS_OWN,
    *configurations.MAKES_ITS_OWN,
    *notebooks.MAKES_ITS_OWN,
    "delete_workspace",
    *(
        "lock_user",
        "unlock_user",
        "warn_user",
        "delete_organization",
        "leave_organization",
        "finish",
        "release",
        "send_activation_again",
    ),
    *("end_snooze", "revoke_of", "accept_invitation", "decline_invitation", "leave_workspace"),
)
"""What these write upon is made in the table above."""


@pytest.mark.parametrize("name", WRITES)
def test_each_write_leaves_an_event(tenants: Tenants, name: str) -> None:
    verb, write = WRITES[name]
    who = tenants.people["owner"]
    before = list(AuditEvent.objects.values_list("pk", flat=True))
    write(tenants, {"actor": actor(who)})
    event = AuditEvent.objects.filter(verb=verb).exclude(pk__in=before).get()
    assert (event.actor_user, event.address) == (who, "127.0.0.1")
    assert (event.organization is None) == (verb in PERSONAL)
    assert event.object_id
    assert event.object_label
    assert "not-in-any-log" not in str(event.detail)


@pytest.mark.parametrize("name", [name for name in WRITES if not name.endswith(MAKES_ITS_OWN)])
def test_no_write_stays_without_its_event(tenants: Tenants, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the event cannot be written, nothing is: both are one transaction. (Files are no part of it.)"""
    _, write = WRITES[name]
    who = actor(tenants.people["owner"])
    before = rows()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no audit log")

    monkeypatch.setattr(audit, "_event", broken)
    with pytest.raises(RuntimeError, match="no audit log"):
        write(tenants, {"actor": who})
    assert rows() == before


def rows() -> dict[str, list[tuple[Any, ...]]]:
    """All there is in the tables of ours."""
    tables = [
        "accounts_organization",
        "accounts_membership",
        "accounts_invitation",
        "accounts_impersonation",
        "accounts_marketplaceregistration",
        "accounts_marketplacesubscription",
        "accounts_pendingsignup",
        "accounts_user",
        "workspaces_cloudconfiguration",
        "workspaces_networkconfiguration",
        "workspaces_workspace",
    ]
    tables += ["workspaces_secretgroup", "workspaces_secret", "workspaces_catalog", "accounts_apitoken"]
    tables += [
        "workspaces_offers",
        "workspaces_instancerole",
        "workspaces_workspacemembership",
        "clusters_cluster",
        "clusters_transition",
        "jobs_run",
    ]
    tables += ["billing_alarm", "billing_alarmendpoint", "billing_budget", "billing_budgetoverride"]
    found = {}
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT t::text FROM {table} t ORDER BY 1")
            found[table] = cursor.fetchall()
    return found


def test_an_event_outside_a_transaction_is_a_mistake(tenants: Tenants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.audit.connection", SimpleNamespace(in_atomic_block=False))
    with pytest.raises(RuntimeError, match="transaction"):
        audit.record(actor(), "x.y", tenants.acme, organization=tenants.acme)


@pytest.mark.parametrize("address", ["", "garbage", "unix:", "fe80::1%eth0", "10.0.0.1", "::1", "1.2.3.4, 5.6.7.8"])
def test_any_address_can_be_recorded(tenants: Tenants, address: str) -> None:
    """What a proxy puts there must not stop a write."""
    client = tenants.client("owner", REMOTE_ADDR=address)
    assert client.post("/organizations/new/", {"name": "Initech"}).status_code == 302
    found = AuditEvent.objects.get(verb="organization.create").address
    assert found in {None, address.partition("%")[0]}
