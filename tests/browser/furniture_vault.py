"""Secrets and catalogs of the museum, with names and keys as long as they can be."""

from __future__ import annotations

from pathlib import Path

from accounts.models import User
from portal.clouds.base import Check
from tests.factories import actor, make_catalog, make_secret
from workspaces import services_catalogs as catalogs
from workspaces import services_secrets as secrets
from workspaces.models import Workspace

SNOWFLAKE = {
    "account": "northwind-eu1",
    "user": "BODO",
    "warehouse": "REPORTING",
    "database": "SALES",
    "role": "READER",
}
CHECKS = [
    Check("Account", True, "northwind-eu1 runs Snowflake 9.30.1."),
    Check("Sign-in", True, "Signed in as BODO."),
    Check("Role", True, "READER"),
    Check("Warehouse", False, "REPORTING cannot be used.", "Check its name; grant USAGE on it to the role."),
    Check("Database", True, "SALES"),
]


def fill_vault(owner: User, workspace: Workspace, endless: Workspace, long: str, files: Path) -> dict[str, str]:
    """Make them; returns what addresses need."""
    return {
        **_secrets(owner, workspace, endless, long),
        **_catalogs(owner, workspace, endless, long, files),
    }


def _catalogs(owner: User, workspace: Workspace, endless: Workspace, long: str, files: Path) -> dict[str, str]:
    who = actor(owner)
    for path in ("orders/day=2026-11-01/a.parquet", "orders/day=2026-11-02/a.parquet", "customers.parquet"):
        (files / "lake" / path).parent.mkdir(parents=True, exist_ok=True)
        (files / "lake" / path).write_bytes(b"x" * 834_112)
    lake = make_catalog(workspace, name="lake", settings={"directory": "lake"}, description="What the nights load")
    lake.changed_by = owner
    lake.save(update_fields=["changed_by"])
    gone = make_catalog(workspace, name="archive", settings={"directory": "archive"})
    sales = catalogs.create_catalog(
        actor=who,
        workspace=workspace,
        name="sales",
        kind="SNOWFLAKE",
        settings=SNOWFLAKE,
        secret={"password": "not shown"},
    )
    catalogs.record_test(actor=who, catalog=sales, checks=CHECKS)
    glue = make_catalog(
        workspace, name="events", kind="GLUE", settings={"region": "eu-central-1", "warehouse": "s3://northwind-events"}
    )
    catalogs.record_test(actor=who, catalog=glue, checks=CHECKS[:1])
    settings = {**SNOWFLAKE, "database": long, "schema": long * 3, "user": long}
    lengthy = make_catalog(endless, kind="SNOWFLAKE", name=long, description=long * 9, settings=settings)
    return {
        "catalog": str(lake.pk),
        "gone_catalog": str(gone.pk),
        "snowflake_catalog": str(sales.pk),
        "long_catalog": str(lengthy.pk),
    }


def _secrets(owner: User, workspace: Workspace, endless: Workspace, long: str) -> dict[str, str]:
    who = actor(owner)
    group = secrets.create_group(
        actor=who, workspace=workspace, name="warehouse", description="The reporting database, read only"
    )
    secrets.create_group(actor=who, workspace=workspace, name="mail")
    values = {"DB_HOST": "db", "DB_USER": "reader", "DB_PASSWORD": "not shown", "DB_CA_CERTIFICATE": "not shown"}
    secret = secrets.create_secret(actor=who, group=group, name="database", values=values)
    secrets.create_secret(actor=who, group=group, name="alerts", values={"SLACK_WEBHOOK": "not shown"})
    many_keys = secrets.create_group(actor=who, workspace=endless, name=long, description=long * 9)
    for number in (1, 2):
        many = {f"K{number}{'X' * 120}{key:02}": "x" for key in range(12)}
        secrets.create_secret(actor=who, group=many_keys, name=f"{number}{long[1:]}", values=many)
    make_secret(endless)
    return {"group": str(group.pk), "secret": str(secret.pk)}
