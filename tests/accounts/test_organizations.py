"""An organization's name, and its end."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts import hooks, services, services_organizations
from accounts.models import AuditEvent, Membership, Organization, User
from accounts.permissions import OrganizationRole
from portal.errors import PermissionNeededError, UserError
from tests.factories import (
    actor,
    add_to_organization,
    make_configuration,
    make_organization,
    make_user,
    make_workspace,
)
from tests.mailbox import delivered
from workspaces.models import CloudConfiguration, Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    return make_user("olga")


@pytest.fixture
def acme(owner: User) -> Organization:
    return make_organization(owner, "Acme")


@pytest.fixture
def client(owner: User) -> Client:
    client = Client()
    client.force_login(owner)
    return client


def test_a_new_name_is_unique_in_any_case(acme: Organization, client: Client) -> None:
    make_organization(name="Globex")
    where = reverse("accounts:organization_rename", args=[acme.pk])
    response = client.post(where, {"name": "GLOBEX"})
    assert response.status_code == 422
    assert "An organization of this name exists" in response.content.decode()
    assert client.post(where, {"name": "  Initech  "}).status_code == 302
    acme.refresh_from_db()
    assert acme.name == "Initech"
    event = AuditEvent.objects.get(verb="organization.rename")
    assert event.detail == {"before": {"name": "Acme"}, "after": {"name": "Initech"}}
    assert client.post(where, {"name": "Initech"}).status_code == 302  # unchanged
    assert AuditEvent.objects.count() == 1


def test_admins_see_the_settings_but_change_and_delete_nothing(acme: Organization) -> None:
    admin = make_user("adam")
    add_to_organization(acme, admin, OrganizationRole.ADMIN)
    client = Client()
    client.force_login(admin)
    page = client.get(reverse("accounts:settings", args=[acme.pk])).content.decode()
    assert "Delete organization" not in page
    assert 'name="name"' not in page
    for name, form in (("organization_rename", {"name": "Mine"}), ("organization_delete", {"name": "Acme"})):
        assert client.post(reverse(f"accounts:{name}", args=[acme.pk]), form).status_code == 403
    with pytest.raises(PermissionNeededError):
        services_organizations.delete_organization(actor=actor(admin), organization=acme)
    acme.refresh_from_db()
    assert (acme.name, acme.deleted_at) == ("Acme", None)


def test_an_organization_with_workspaces_or_clouds_stays_and_says_which(acme: Organization, client: Client) -> None:
    configuration = make_configuration(acme)
    workspace = make_workspace(acme, configuration, name="Lab", status="TERMINATING")
    where = reverse("accounts:organization_delete", args=[acme.pk])
    page = client.get(where).content.decode()
    assert "The workspace Lab" in page
    assert f"The cloud configuration {configuration.name}" in page
    assert "danger-fill" not in page.split("form-panel", 1)[1].split("</section>")[0]
    response = client.post(where, {"name": "Acme"})
    assert response.status_code == 422
    assert "Acme still has the workspace Lab, the cloud configuration" in response.content.decode()
    Workspace.objects.filter(pk=workspace.pk).update(status="TERMINATED")
    assert client.post(where, {"name": "Acme"}).status_code == 422
    CloudConfiguration.objects.update(deleted_at=workspace.created_at)
    assert client.post(where, {"name": "Acme"}).status_code == 302


@pytest.mark.parametrize("typed", ["", "acme", "Acme Inc", "Globex"])
def test_the_name_must_be_typed(acme: Organization, client: Client, typed: str) -> None:
    response = client.post(reverse("accounts:organization_delete", args=[acme.pk]), {"name": typed})
    assert response.status_code == 422
    assert Organization.objects.standing().count() == 1


def test_a_deleted_organization_is_gone_for_all_and_leaves_its_past(acme: Organization, client: Client) -> None:
    member = make_user("mary")
    add_to_organization(acme, member, OrganizationRole.MEMBER)
    other = Client()
    other.force_login(member)
    assert other.get(f"/o/{acme.pk}/people/").status_code == 200
    before = AuditEvent.objects.count()
    assert client.post(reverse("accounts:organization_delete", args=[acme.pk]), {"name": "Acme"}).status_code == 302
    for each in (client, other):
        for page in ("people", "workspaces", "billing", "audit", "settings", "events"):
            assert each.get(f"/o/{acme.pk}/{page}/").status_code == 404, page
        assert each.get("/")["Location"] == "/organizations/new/"
    assert not Membership.objects.filter(organization=acme).exists()
    event = AuditEvent.objects.get(verb="organization.delete")
    assert (event.organization, event.detail["members"], AuditEvent.objects.count()) == (acme, 2, before + 1)
    assert [mail.subject for mail in delivered()] == ["The organization Acme was deleted"]


def test_its_name_is_free_again(acme: Organization, owner: User) -> None:
    services_organizations.delete_organization(actor=actor(owner), organization=acme)
    again = services.create_organization(actor=actor(owner), name="ACME", owner=owner)
    assert list(Organization.objects.of(owner)) == [again]


def test_a_membership_left_over_opens_nothing(acme: Organization, owner: User, client: Client) -> None:
    """Nobody should be in it; if somebody were, it would still be gone."""
    services_organizations.delete_organization(actor=actor(owner), organization=acme)
    add_to_organization(acme, owner, OrganizationRole.OWNER)
    assert client.get(f"/o/{acme.pk}/people/").status_code == 404
    assert not Organization.objects.of(owner).exists()
    with pytest.raises(UserError, match="OrganizationGone"):
        services.add_member(actor=actor(), organization=acme, user=make_user("mary"), role=OrganizationRole.MEMBER)


def test_apps_above_are_asked_and_told(acme: Organization, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Organization] = []
    monkeypatch.setattr(hooks, "organization_deleted", [lambda _, organization: told.append(organization)])
    monkeypatch.setattr(hooks, "organization_in_use", [lambda _: ["a mountain"]])
    with pytest.raises(UserError, match=r"OrganizationInUse.*a mountain"):
        services_organizations.delete_organization(actor=actor(owner), organization=acme)
    assert told == []
    monkeypatch.setattr(hooks, "organization_in_use", [])
    services_organizations.delete_organization(actor=actor(owner), organization=acme)
    assert told == [acme]
