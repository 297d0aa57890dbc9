"""Workspaces and cloud configurations: names, what stands on what, and what two people do at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from billing.models import Alarm
from portal.errors import UserError
from tests.factories import actor, make_configuration, make_organization
from tests.pages.world import Tenants
from workspaces import services, services_configurations
from workspaces.models import CloudConfiguration, NetworkConfiguration, Workspace


@pytest.fixture
def owner(tenants: Tenants) -> Client:
    return tenants.client("owner")


def error_of(response: Any, field: str) -> str:
    assert response.status_code == 422
    return str(response.context["form"].errors[field][0])


def test_a_name_is_taken_in_any_case_and_only_here(tenants: Tenants, owner: Client) -> None:
    new = reverse("workspaces:new", args=[tenants.acme.pk])
    form = {"cloud_configuration": str(tenants.configuration.pk), "region": "local"}
    for name in ("Lab", "LAB", " lab "):
        assert "exists" in error_of(owner.post(new, {**form, "name": name}), "name")
    assert owner.post(new, {**form, "name": "Abroad"}).status_code == 302  # Globex has one of this name
    settings = reverse("workspaces:settings", args=[tenants.lab.workspace.pk])
    assert "exists" in error_of(owner.post(settings, {"name": "ANNEX"}), "name")
    assert owner.post(settings, {"name": "LAB"}).status_code == 302  # its own name in another case
    configurations = reverse("workspaces:configuration_new", args=[tenants.acme.pk])
    taken = {"name": tenants.configuration.name.upper(), "directory": "", "action": "create"}
    assert "exists" in error_of(owner.post(configurations, taken), "name")


def test_names_come_free_when_their_bearers_are_gone(tenants: Tenants, owner: Client) -> None:
    Workspace.objects.filter(pk=tenants.lab.workspace.pk).update(status="TERMINATED")
    form = {"name": "Lab", "cloud_configuration": str(tenants.configuration.pk), "region": "local"}
    assert owner.post(reverse("workspaces:new", args=[tenants.acme.pk]), form).status_code == 302


def test_an_unknown_region_is_no_choice(tenants: Tenants, owner: Client) -> None:
    form = {"name": "New", "cloud_configuration": str(tenants.configuration.pk), "region": "us-east-1"}
    assert error_of(owner.post(reverse("workspaces:new", args=[tenants.acme.pk]), form), "region")


def test_a_workspace_with_clusters_stays(tenants: Tenants, owner: Client) -> None:
    response = owner.post(reverse("workspaces:delete", args=[tenants.lab.workspace.pk]))
    assert response.status_code == 409
    text = response.content.decode()
    assert "WorkspaceInUse" in text
    assert tenants.lab.cluster.name in text
    tenants.lab.workspace.refresh_from_db()
    assert tenants.lab.workspace.target == "RUNNING"


def test_a_configuration_with_workspaces_stays(tenants: Tenants, owner: Client) -> None:
    where = reverse("workspaces:configuration_delete", args=[tenants.acme.pk, tenants.configuration.pk])
    assert b"ConfigurationInUse" in owner.post(where).content
    Workspace.objects.filter(cloud_configuration=tenants.configuration).update(status="TERMINATED")
    assert b"Networks belong to" in owner.post(where).content
    NetworkConfiguration.objects.all().delete()
    assert b"the usage alarm" in owner.post(where).content
    Alarm.objects.update(status="TERMINATED")
    assert owner.post(where).status_code == 302
    assert owner.post(where).status_code == 404  # twice
    page = owner.get(reverse("workspaces:configurations", args=[tenants.acme.pk])).content.decode()
    assert f"configuration-{tenants.configuration.pk}" not in page


def test_a_configuration_deleted_meanwhile_is_said(tenants: Tenants) -> None:
    """The form saw it; the service looks again, under a lock."""
    gone = make_configuration(tenants.acme)
    services_configurations.delete_configuration(actor=actor(), configuration=gone)
    with pytest.raises(UserError, match="ConfigurationGone"):
        services.create_workspace(
            actor=actor(), organization=tenants.acme, name="New", cloud_configuration=gone, region="local"
        )


def test_a_foreign_configuration_is_not_taken_by_the_service_either(tenants: Tenants) -> None:
    with pytest.raises(UserError, match="ConfigurationGone"):
        services.create_workspace(
            actor=actor(),
            organization=tenants.globex,
            name="New",
            cloud_configuration=tenants.configuration,
            region="local",
        )


def test_two_tenants_never_get_one_directory(tenants: Tenants, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both asked at once: the first look sees it free, the one under the lock does not."""
    directory = str(tmp_path / "shared")
    original = services_configurations._refuse_taken
    looks: list[Path] = []

    def first_look_is_blind(path: Path) -> None:
        looks.append(path)
        if len(looks) == 1:
            make_configuration(make_organization(), directory)
        else:
            original(path)

    monkeypatch.setattr(services_configurations, "_refuse_taken", first_look_is_blind)
    with pytest.raises(UserError, match="used by another cloud configuration"):
        services_configurations.create_local_configuration(
            actor=actor(), organization=tenants.acme, name="New", directory=directory
        )
    assert CloudConfiguration.objects.filter(settings__directory=directory).count() == 1


def test_validating_writes_nothing_and_shows_each_check(tenants: Tenants, owner: Client, tmp_path: Path) -> None:
    where = reverse("workspaces:configuration_new", args=[tenants.acme.pk])
    before = sorted(tmp_path.rglob("*"))
    response = owner.post(where, {"name": "New", "directory": f"{tmp_path}/new", "action": "validate"})
    assert response.status_code == 200
    assert len(response.context["checks"]) >= 5
    assert tenants.acme.cloud_configurations.count() == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_an_operator_can_forbid_this_machine(tenants: Tenants, owner: Client, settings: Any) -> None:
    settings.PORTAL_LOCAL_CLOUD = False
    where = reverse("workspaces:configuration_new", args=[tenants.acme.pk])
    response = owner.post(where, {"name": "New", "directory": "", "action": "create"})
    assert response.status_code == 422
    assert b"does not allow clusters on this machine" in response.content
