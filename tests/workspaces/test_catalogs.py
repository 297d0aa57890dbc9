"""Catalogs: what is asked for, kept, shown and given to jobs; and the tables among the workspace's files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from portal.clouds.base import Check
from portal.clouds.local.files import LocalFiles
from portal.crypto import unseal
from portal.errors import UserError
from tests.factories import actor, make_catalog, make_workspace
from tests.pages.world import Tenants
from tests.workspaces.test_secrets import redis_content, rows
from workspaces import hooks, services, tables, views_catalogs
from workspaces import services_catalogs as catalogs
from workspaces.catalogs import environment_of, secret_values_of
from workspaces.models import Catalog, Workspace
from workspaces.tables import tables_below

CANARY = "canary-Zy9!x-7f3a"
SNOWFLAKE = {
    "kind": "SNOWFLAKE",
    "name": "sales",
    "account": "myorg-acct",
    "user": "reader",
    "password": CANARY,
    "warehouse": "WH",
    "database": "SALES",
}
GLUE = {"kind": "GLUE", "name": "lake", "region": "us-east-1", "warehouse": "s3://lake/tables"}
KEY = {"access_key_id": f"{CANARY}-id", "secret_access_key": CANARY}


@pytest.fixture
def workspace(tenants: Tenants) -> Workspace:
    Catalog.objects.all().delete()
    return tenants.lab.workspace


@pytest.fixture
def admin(tenants: Tenants) -> Client:
    return tenants.client("ws_admin")


def make(client: Client, workspace: Workspace, form: dict[str, str], **more: str) -> Any:
    return client.post(reverse("workspaces:catalog_new", args=[workspace.pk]), {**form, **more})


def edit(client: Client, catalog: Catalog, form: dict[str, str], **more: str) -> Any:
    where = reverse("workspaces:catalog_edit", args=[catalog.workspace_id, catalog.pk])
    return client.post(where, {**form, **more})


# --- forms ----------------------------------------------------------------------------------------------------------


def test_the_kind_is_chosen_first_with_links_alone(admin: Client, workspace: Workspace) -> None:
    new = reverse("workspaces:catalog_new", args=[workspace.pk])
    page = BeautifulSoup(admin.get(new).content, "html.parser")
    links = [str(link["href"]) for link in page.select("a.choice")]
    assert links == [f"{new}?kind={kind}" for kind in ("FILESYSTEM", "SNOWFLAKE", "GLUE")]
    fields = {}
    for link in links:
        form = BeautifulSoup(admin.get(link).content, "html.parser").select_one("main form")
        assert form
        fields[link.rpartition("=")[2]] = [
            str(field["name"]) for field in form.select("[name]:not([type=hidden], button)")
        ]
    assert fields["FILESYSTEM"] == ["name", "directory", "description"]
    assert fields["SNOWFLAKE"][:5] == ["name", "account", "user", "password", "warehouse"]
    assert "access_key_id" in fields["GLUE"]
    assert make(admin, workspace, {"kind": "ORACLE", "name": "x"}).status_code == 422


@pytest.mark.parametrize(
    ("form", "kept", "secret"),
    [
        ({"kind": "FILESYSTEM", "name": "files", "directory": "data/sales/"}, {"directory": "data/sales"}, {}),
        ({"kind": "FILESYSTEM", "name": "files", "directory": ""}, {"directory": ""}, {}),
        (
            {**SNOWFLAKE, "schema": "PUBLIC", "port": "8443"},
            {
                "account": "myorg-acct",
                "user": "reader",
                "warehouse": "WH",
                "database": "SALES",
                "schema": "PUBLIC",
                "port": "8443",
            },
            {"password": CANARY},
        ),
        ({**GLUE, **KEY}, {"region": "us-east-1", "warehouse": "s3://lake/tables"}, KEY),
        ({**GLUE, "warehouse": "123456789012"}, {"region": "us-east-1", "warehouse": "123456789012"}, {}),
    ],
)
def test_a_catalog_is_made_and_what_a_job_gets_of_it(
    admin: Client, workspace: Workspace, form: dict[str, str], kept: dict[str, str], secret: dict[str, str]
) -> None:
    response = make(admin, workspace, form)
    catalog = Catalog.objects.get()
    assert response["Location"] == catalog.get_absolute_url()
    given = environment_of(catalog)
    (variable, value), *rest = given.items()
    assert (variable, rest) == ("PORTAL_CATALOG", [])
    assert json.loads(value) == {
        "name": form["name"],
        "kind": form["kind"],
        "settings": kept,
        "secret": secret,
    }
    assert secret_values_of(given) == ([*secret.values(), value] if secret else [])
    for where in (
        catalog.get_absolute_url(),
        reverse("workspaces:catalogs", args=[workspace.pk]),
        reverse("workspaces:catalog_edit", args=[workspace.pk, catalog.pk]),
    ):
        assert CANARY not in admin.get(where).content.decode()


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({**SNOWFLAKE, "account": "evil example"}, "account"),
        ({**SNOWFLAKE, "account": "a@evil.example"}, "account"),
        ({**SNOWFLAKE, "account": "a:1"}, "account"),
        ({**SNOWFLAKE, "account": "-a"}, "account"),
        ({**SNOWFLAKE, "account": ""}, "account"),
        ({**SNOWFLAKE, "user": ""}, "user"),
        ({**SNOWFLAKE, "user": "x" * 1001}, "user"),
        ({**SNOWFLAKE, "password": ""}, "password"),
        ({**SNOWFLAKE, "password": "x" * 5000}, "password"),
        ({**SNOWFLAKE, "warehouse": ""}, "warehouse"),
        ({**SNOWFLAKE, "database": ""}, "database"),
        *(({**SNOWFLAKE, "port": port}, "port") for port in ("0", "65536", "x", "-1", "٣")),
        ({**SNOWFLAKE, "role": "a\tb"}, "role"),
        *(({**GLUE, "region": region}, "region") for region in ("", "here", "us-east-1.evil.example", "us-east-1/")),
        *(({**GLUE, "warehouse": path}, "warehouse") for path in ("", "s3://", "s3://A/b", "s3:bucket")),
        ({**GLUE, "access_key_id": "AKIA"}, "secret_access_key"),
        ({**GLUE, "secret_access_key": "x"}, "access_key_id"),
        *(
            ({"kind": "FILESYSTEM", "name": "x", "directory": path}, "directory")
            for path in ("/etc", "../other", "a/../../b", "a\nb")
        ),
        ({**GLUE, "name": ""}, "name"),
    ],
)
def test_the_error_stands_beside_its_field(
    admin: Client, workspace: Workspace, form: dict[str, str], field: str
) -> None:
    for action in ("save", "test"):
        response = make(admin, workspace, form, action=action)
        assert response.status_code == 422
        assert list(response.context["form"].errors) == [field]
        assert CANARY not in response.content.decode()
    assert not Catalog.objects.exists()


@pytest.mark.parametrize(
    "pasted", ["https://myorg-acct.snowflakecomputing.com/console", "MyOrg-Acct", " myorg-acct.snowflakecomputing.com"]
)
def test_the_address_of_an_account_will_do(admin: Client, workspace: Workspace, pasted: str) -> None:
    make(admin, workspace, {**SNOWFLAKE, "account": pasted})
    assert Catalog.objects.get().settings["account"] == "myorg-acct"


def test_a_password_that_is_left_empty_stays(admin: Client, workspace: Workspace) -> None:
    make(admin, workspace, SNOWFLAKE)
    catalog = Catalog.objects.get()
    assert edit(admin, catalog, SNOWFLAKE, password="", database="OTHER", name="renamed").status_code == 302
    catalog.refresh_from_db()
    assert (catalog.name, catalog.settings["database"]) == ("renamed", "OTHER")
    assert unseal(catalog.sealed) == {"password": CANARY}
    assert edit(admin, catalog, SNOWFLAKE, password="another").status_code == 302
    catalog.refresh_from_db()
    assert unseal(catalog.sealed) == {"password": "another"}


@pytest.mark.parametrize("change", [{"account": "other-acct"}, {"user": "other"}, {"port": "8443"}])
@pytest.mark.parametrize("action", ["save", "test"])
def test_a_stored_password_goes_to_nobody_else(
    admin: Client, workspace: Workspace, change: dict[str, str], action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise who may not see it could have it sent to an account of their own."""
    monkeypatch.setattr(views_catalogs, "checks_of", lambda *_: pytest.fail("it was sent"))
    make(admin, workspace, SNOWFLAKE)
    catalog = Catalog.objects.get()
    response = edit(admin, catalog, {**SNOWFLAKE, "password": "", **change}, action=action)
    assert list(response.context["form"].errors) == ["password"]
    settings = {**catalog.settings, **change}
    with pytest.raises(UserError, match="SecretNeeded"):
        catalogs.update_catalog(actor=actor(), catalog=catalog, name="x", settings=settings, secret=None)
    assert edit(admin, catalog, {**SNOWFLAKE, "password": "new", **change}).status_code == 302


def test_a_stored_key_can_be_forgotten(admin: Client, workspace: Workspace) -> None:
    make(admin, workspace, {**GLUE, **KEY})
    catalog = Catalog.objects.get()
    assert list(edit(admin, catalog, {**GLUE, **KEY}, forget="on").context["form"].errors) == ["forget"]
    assert edit(admin, catalog, GLUE).status_code == 302
    catalog.refresh_from_db()
    assert unseal(catalog.sealed) == KEY
    assert edit(admin, catalog, GLUE, forget="on").status_code == 302
    catalog.refresh_from_db()
    assert catalog.sealed == ""


def test_names_are_taken_in_any_case_and_only_here(admin: Client, workspace: Workspace, tenants: Tenants) -> None:
    make(admin, workspace, GLUE)
    assert list(make(admin, workspace, GLUE, name="LAKE").context["form"].errors) == ["name"]
    make_catalog(tenants.annex.workspace, name="lake")
    other = make_catalog(workspace)
    form = {"kind": "FILESYSTEM", "name": "Lake", "directory": ""}
    assert list(edit(admin, other, form).context["form"].errors) == ["name"]


def test_what_templates_use_stays_and_they_are_named(
    admin: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = make_catalog(workspace)
    monkeypatch.setattr(hooks, "uses", [lambda subject: ["template nightly-load"] if subject == catalog else []])
    delete = reverse("workspaces:catalog_delete", args=[workspace.pk, catalog.pk])
    response = admin.post(delete)
    assert response.status_code == 409
    assert "template nightly-load" in response.content.decode()
    assert "template nightly-load" in admin.get(catalog.get_absolute_url()).content.decode()
    monkeypatch.setattr(hooks, "uses", [])
    assert admin.post(delete).status_code == 302
    assert admin.post(delete).status_code == 404


def test_the_service_refuses_what_the_form_refuses(workspace: Workspace) -> None:
    good: dict[str, Any] = {"actor": actor(), "workspace": workspace, "name": "x", "kind": "GLUE"}
    good |= {"settings": {"region": "us-east-1", "warehouse": "s3://lake"}, "secret": {}}
    wrong: list[dict[str, Any]] = [
        {"kind": "ORACLE"},
        {"settings": {"region": "us-east-1"}},
        {"settings": {**good["settings"], "endpoint": "http://169.254.169.254"}},
        {"settings": {**good["settings"], "region": "x/y"}},
        {"secret": {"access_key_id": "x"}},
        {"secret": {"access_key_id": "x", "secret_access_key": ""}},
        {"secret": {"password": "x"}},
        {"kind": "SNOWFLAKE", "settings": {"account": "a", "user": "u", "warehouse": "w", "database": "d"}},
        {"kind": "FILESYSTEM", "settings": {"directory": "../up"}},
    ]
    for fields in wrong:
        with pytest.raises(UserError):
            catalogs.create_catalog(**{**good, **fields})
    assert catalogs.create_catalog(**good).pk


def test_viewers_see_settings_and_nothing_to_press(tenants: Tenants, workspace: Workspace) -> None:
    catalog = make_catalog(workspace, KEY, kind="GLUE", settings={"region": "us-east-1", "warehouse": "s3://lake"})
    for role in ("viewer", "developer"):
        text = tenants.client(role).get(catalog.get_absolute_url()).content.decode()
        assert "s3://lake" in text
        assert "Stored, not shown" in text
        assert "Test connection" not in text
        assert "delete-catalog" not in text


def test_deleting_the_workspace_forgets_passwords_and_keys(tenants: Tenants) -> None:
    place = make_workspace(tenants.acme, tenants.configuration)
    catalog = make_catalog(place, KEY, kind="GLUE", settings={"region": "us-east-1", "warehouse": "s3://lake"})
    services.delete_workspace(actor=actor(), workspace=place)
    catalog.refresh_from_db()
    assert catalog.sealed == ""


# --- the test of a connection ---------------------------------------------------------------------------------------


def test_a_connection_is_tried_before_it_is_saved(
    admin: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def checks_of(*question: Any) -> list[Check]:
        asked.append(question)
        return [Check("Account", True, "There."), Check("Warehouse", False, "Not there.", "Grant it.")]

    monkeypatch.setattr(views_catalogs, "checks_of", checks_of)
    response = make(admin, workspace, SNOWFLAKE, action="test")
    assert response.status_code == 200
    text = response.content.decode()
    assert "Grant it." in text
    assert CANARY not in text
    assert asked[0][1:] == (
        "SNOWFLAKE",
        {"account": "myorg-acct", "user": "reader", "warehouse": "WH", "database": "SALES"},
        {"password": CANARY},
    )
    assert not Catalog.objects.exists()
    make(admin, workspace, SNOWFLAKE)
    edit(admin, Catalog.objects.get(), SNOWFLAKE, password="", database="OTHER", action="test")
    assert asked[1][2]["database"] == "OTHER"
    assert asked[1][3] == {"password": CANARY}  # the stored one
    assert Catalog.objects.get().settings["database"] == "SALES"


def test_the_last_test_is_kept_until_something_changes(admin: Client, workspace: Workspace, tenants: Tenants) -> None:
    (tenants.lab.files / "folder" / "orders.parquet").write_bytes(b"x")
    make(admin, workspace, {"kind": "FILESYSTEM", "name": "files", "directory": "folder"})
    catalog = Catalog.objects.get()
    assert catalog.works is None
    test = reverse("workspaces:catalog_test", args=[workspace.pk, catalog.pk])
    assert admin.post(test)["Location"] == catalog.get_absolute_url()
    catalog.refresh_from_db()
    assert catalog.works is True
    assert AuditEvent.objects.get(verb="catalog.test").detail["failed_checks"] == []
    assert "1 found: orders." in admin.get(catalog.get_absolute_url()).content.decode()
    (tenants.lab.files / "folder" / "orders.parquet").unlink()
    admin.post(test)
    catalog.refresh_from_db()
    assert catalog.works is False
    assert AuditEvent.objects.filter(verb="catalog.test").latest("number").detail["failed_checks"] == ["Tables"]
    form = {"kind": "FILESYSTEM", "name": "files", "directory": "folder", "description": "x"}
    edit(admin, catalog, form)
    catalog.refresh_from_db()
    assert catalog.works is False
    edit(admin, catalog, form, directory="")
    catalog.refresh_from_db()
    assert catalog.works is None


def test_a_test_of_settings_that_changed_meanwhile_is_not_kept(workspace: Workspace) -> None:
    catalog = make_catalog(workspace)
    before = Catalog.objects.get(pk=catalog.pk)
    catalogs.update_catalog(actor=actor(), catalog=catalog, name="x", settings={"directory": "folder"}, secret=None)
    catalogs.record_test(actor=actor(), catalog=before, checks=[Check("Directory", True, "There.")])
    catalog.refresh_from_db()
    assert catalog.works is None


@pytest.mark.parametrize(
    ("directory", "said"),
    [("nowhere", "does not exist"), ("job.py", "not a folder"), ("link", "not a folder"), ("folder", "no Parquet")],
)
def test_a_folder_that_will_not_do(
    admin: Client, workspace: Workspace, tenants: Tenants, directory: str, said: str
) -> None:
    (tenants.lab.files / "link").symlink_to("/etc")
    form = {"kind": "FILESYSTEM", "name": "files", "directory": directory, "action": "test"}
    text = make(admin, workspace, form).content.decode()
    assert said in text
    assert 'class="hint"' in text
    make(admin, workspace, {**form, "action": "save"})
    assert admin.get(Catalog.objects.get().get_absolute_url()).status_code == 200


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    root = tmp_path / "lake"
    for path, size in {
        "data/orders.parquet": 10,
        "data/readme.txt": 5,
        "data/sales/customers/part-0.parquet": 20,
        "data/sales/customers/part-1.parquet": 30,
        "data/sales/customers/_SUCCESS": 0,
        "data/sales/customers/.part-2.parquet": 99,
        "data/sales/visits/day=2026-11-01/a.parquet": 1,
        "data/sales/visits/day=2026-11-02/b.parquet": 2,
        "data/sales/deep/er/items.pq": 7,
        "data/empty/x.csv": 1,
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x" * size)
    (root / "data" / "link.parquet").symlink_to(root / "data" / "orders.parquet")
    return root


def test_files_and_folders_of_files_are_tables(lake: Path) -> None:
    found = tables_below(LocalFiles(lake), "data")
    assert not found.cut
    assert [(table.name, table.path, table.size, table.files) for table in found.tables] == [
        ("orders", "data/orders.parquet", 10, 1),
        ("sales.customers", "data/sales/customers", 50, 2),
        ("sales.deep.er", "data/sales/deep/er", 7, 1),
        ("sales.visits", "data/sales/visits", 3, 2),
    ]


def test_a_page_does_not_wait_for_a_forest(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (lake / "data" / f"t{number:02}.parquet").touch()
    monkeypatch.setattr(tables, "MAX_ENTRIES", 20)
    found = tables_below(LocalFiles(lake), "data")
    assert found.cut
    assert 0 < len(found.tables) < 34
    monkeypatch.setattr(tables, "MAX_SECONDS", -1.0)
    assert tables_below(LocalFiles(lake), "data").cut


# --- no value anywhere ----------------------------------------------------------------------------------------------


def test_no_password_is_anywhere_but_sealed(
    admin: Client, workspace: Workspace, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(views_catalogs, "checks_of", lambda *_: [Check("Account", False, "No.", "Try again.")])
    for action in ("test", "save"):
        make(admin, workspace, SNOWFLAKE, action=action)
        make(admin, workspace, {**GLUE, **KEY}, action=action)
    for catalog in Catalog.objects.all():
        form = SNOWFLAKE if catalog.kind == "SNOWFLAKE" else {**GLUE, **KEY}
        admin.post(reverse("workspaces:catalog_test", args=[workspace.pk, catalog.pk]))
        edit(admin, catalog, form, name="")
        edit(admin, catalog, form, name=f"{catalog.name} again")
    assert Catalog.objects.count() == 2
    for found in (rows(), caplog.text, redis_content()):
        assert CANARY not in found
    assert "lake again" in rows()
