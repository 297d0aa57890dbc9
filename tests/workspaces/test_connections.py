"""Connection tests of catalogs against Snowflake and AWS as servers of our own: what is found, and for how long."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from portal.clouds.base import Check
from portal.errors import UserError
from tests.factories import make_organization, make_workspace
from tests.workspaces.services import FakeSnowflake, aws, snowflake, watch_signatures
from workspaces import connections
from workspaces.catalogs import ACCOUNT
from workspaces.connections import checks_of
from workspaces.models import Workspace
from workspaces.probes import glue
from workspaces.probes import snowflake as snowflake_probe
from workspaces.probes.findings import Question
from workspaces.probes.snowflake import address_of

SETTINGS = {"account": "myorg-acct", "user": "reader", "warehouse": "wh", "database": "sales", "role": "analyst"}
KEYS = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "the-secret-part"}


def names(checks: list[Check]) -> list[tuple[str, bool]]:
    return [(check.name, check.passed) for check in checks]


# --- Snowflake ------------------------------------------------------------------------------------------------------


def ask(server: FakeSnowflake, password: str = "right", seconds: float = 15, **settings: str) -> list[Check]:
    question = Question("SNOWFLAKE", {**SETTINGS, **settings}, {"password": password}, seconds, "on", server.address)
    return snowflake_probe.probe(question)


def test_all_that_a_session_has_is_checked() -> None:
    with snowflake() as server:
        checks = ask(server, schema="public")
    everything = ("Account", "Sign-in", "Role", "Warehouse", "Database", "Schema")
    assert names(checks) == [(name, True) for name in everything]
    assert "9.30.1" in checks[0].detail
    path, body = server.asked[0]
    assert "warehouse=wh" in path
    assert "right" not in path
    assert (body["data"]["LOGIN_NAME"], body["data"]["ACCOUNT_NAME"]) == ("reader", "myorg-acct")
    assert server.asked[-1][0].startswith("/session?delete=true")  # it signs out again


def test_snowflake_signs_in_without_what_it_cannot_give_and_the_test_says_so() -> None:
    with snowflake(session={"role": "PUBLIC", "warehouse": None, "database": "SALES", "schema": None}) as server:
        checks = ask(server, schema="gone")
    assert [check.name for check in checks if not check.passed] == ["Role", "Warehouse", "Schema"]
    role, warehouse, _ = [check for check in checks if not check.passed]
    assert role.detail == "analyst cannot be used; the session has PUBLIC."
    assert "USAGE" in warehouse.hint


def test_a_wrong_password_is_said_in_snowflakes_words() -> None:
    with snowflake() as server:
        checks = ask(server, password="wrong-canary")
    assert names(checks) == [("Account", True), ("Sign-in", False)]
    assert checks[1].detail == "Incorrect username or password was specified."
    assert "programmatic access token" in checks[1].hint
    assert "wrong-canary" not in str(checks)


@pytest.mark.parametrize("status", [404, 403])
def test_an_unknown_account(status: int) -> None:
    with snowflake(status=status) as server:
        (check,) = ask(server)
    assert (check.name, check.passed) == ("Account", False)
    assert "no such account" in check.detail
    assert check.hint


def test_an_answer_that_does_not_come_is_not_waited_for_long() -> None:
    with snowflake(hangs=threading.Event()) as server:
        began = time.monotonic()
        (check,) = ask(server, seconds=3)
        assert time.monotonic() - began < 10
    assert (check.name, check.passed) == ("Account", False)
    assert "in time" in check.detail


def test_a_server_without_tls_gets_no_password() -> None:
    with snowflake() as server:
        server.address = server.address.replace("http:", "https:")
        (check,) = ask(server)
    assert "No secure connection" in check.detail
    assert server.asked == []


def test_a_certificate_that_nobody_trusts_gets_no_password() -> None:
    with snowflake(tls=True) as server:
        (check,) = ask(server)
    assert "No secure connection" in check.detail
    assert server.asked == []


def test_nobody_there() -> None:
    with snowflake() as server:
        pass
    (check,) = ask(server)
    assert "refused" in check.detail


def test_a_name_without_an_address() -> None:
    (check,) = snowflake_probe.probe(
        Question("SNOWFLAKE", SETTINGS, {"password": "x"}, 15, "on", "https://no-such-account.invalid")
    )
    assert "has no address" in check.detail
    assert "account identifier" in check.hint


@pytest.mark.parametrize(
    ("account", "host"),
    [
        ("myorg-account1", "myorg-account1.snowflakecomputing.com"),
        ("MYORG-My_Account", "myorg-my-account.snowflakecomputing.com"),
        ("xy12345.eu-central-1", "xy12345.eu-central-1.snowflakecomputing.com"),
        ("xy12345.cn-northwest-1.aws", "xy12345.cn-northwest-1.aws.snowflakecomputing.cn"),
    ],
)
def test_where_an_account_lives(account: str, host: str) -> None:
    question = Question("SNOWFLAKE", {"account": account, "port": "8443"}, {}, 15, "")
    assert address_of(question) == ("https", host, 8443)


@given(st.from_regex(ACCOUNT, fullmatch=True) | st.text(max_size=30).filter(ACCOUNT.fullmatch))
def test_no_account_leads_anywhere_but_to_snowflake(account: str) -> None:
    scheme, host, port = address_of(Question("SNOWFLAKE", {"account": account}, {}, 15, ""))
    assert (scheme, port) == ("https", 443)
    assert re.fullmatch(r"[a-z0-9.-]+\.snowflakecomputing\.(com|cn)", host)


# --- Glue -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cloud() -> Iterator[Question]:
    """AWS with two databases and a bucket, and the question that finds them."""
    with aws() as address:
        own: dict[str, Any] = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
        for name in ("sales", "web"):
            boto3.client("glue", endpoint_url=address, **own).create_database(DatabaseInput={"Name": name})
        boto3.client("s3", endpoint_url=address, **own).create_bucket(Bucket="lake")
        yield Question("GLUE", {"region": "us-east-1", "warehouse": "s3://lake/tables"}, KEYS, 15, "on", address)


def user_who_may(question: Question, action: str) -> dict[str, str]:
    """Keys of a user with one permission; from now on, AWS looks at keys."""
    own: dict[str, Any] = {"aws_access_key_id": "x", "aws_secret_access_key": "y", "region_name": "us-east-1"}
    iam = boto3.client("iam", endpoint_url=question.endpoint, **own)
    iam.create_user(UserName="bodo")
    key = iam.create_access_key(UserName="bodo")["AccessKey"]
    statement = {"Effect": "Allow", "Action": action, "Resource": "*"}
    iam.put_user_policy(
        UserName="bodo",
        PolicyName="one",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    watch_signatures(question.endpoint)
    return {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}


def test_databases_and_the_warehouse_are_looked_at(cloud: Question) -> None:
    checks = glue.probe(cloud)
    assert names(checks) == [("Access key", True), ("Databases", True), ("Warehouse", True)]
    assert checks[1].detail == "sales, web"
    by_id = glue.probe(replace(cloud, settings={"region": "us-east-1", "warehouse": "123456789012"}))
    assert names(by_id) == [("Access key", True), ("Databases", True)]


def test_a_bucket_that_is_not_there(cloud: Question) -> None:
    checks = glue.probe(replace(cloud, settings={"region": "us-east-1", "warehouse": "s3://nowhere"}))
    assert checks[-1] == Check("Warehouse", False, "There is no bucket nowhere.", "Check the path.")


@pytest.mark.parametrize("wrong", ["access_key_id", "secret_access_key"])
def test_an_unknown_key_and_a_wrong_signature(cloud: Question, wrong: str) -> None:
    keys = user_who_may(cloud, "glue:*")
    (check,) = glue.probe(replace(cloud, secret={**keys, wrong: "AKIAUNKNOWN"}))
    assert (check.name, check.passed) == ("Access key", False)
    assert "AWS does not know it" in check.detail


def test_a_key_without_permission_is_told_which_one_it_needs(cloud: Question) -> None:
    (check,) = glue.probe(replace(cloud, secret=user_who_may(cloud, "s3:*")))
    assert (check.name, check.passed) == ("Databases", False)
    assert "glue:GetDatabases" in check.hint


def test_a_key_that_may_not_look_into_the_bucket(cloud: Question) -> None:
    checks = glue.probe(replace(cloud, secret=user_who_may(cloud, "glue:*")))
    assert names(checks) == [("Access key", True), ("Databases", True), ("Warehouse", False)]
    assert "s3:ListBucket on lake" in checks[-1].hint


def test_without_a_key_nothing_is_asked_of_aws(cloud: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    """Least of all with the keys that the portal's own machine may have."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-portals-own")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-portals-own")
    (check,) = glue.probe(replace(cloud, secret={}))
    assert (check.name, check.passed) == ("Access key", False)
    assert "nothing was asked" in check.detail


def test_aws_that_does_not_answer_is_not_waited_for_long() -> None:
    with snowflake(hangs=threading.Event()) as server:
        began = time.monotonic()
        settings = {"region": "us-east-1", "warehouse": "s3://lake"}
        (check,) = glue.probe(Question("GLUE", settings, KEYS, 4, "on", server.address))
        assert time.monotonic() - began < 10
    assert (check.name, check.passed) == ("Region", False)


# --- the process of its own -----------------------------------------------------------------------------------------


@pytest.fixture
def workspace(db: None) -> Workspace:
    return make_workspace(make_organization())


def test_snowflake_from_the_portal(workspace: Workspace, settings: Settings) -> None:
    settings.PORTAL_PRIVATE_ADDRESSES = "on"
    with snowflake() as server:
        settings.CATALOG_ENDPOINTS = {"SNOWFLAKE": server.address}
        checks = checks_of(workspace, "SNOWFLAKE", SETTINGS, {"password": "right"})
    assert ("Sign-in", True) in names(checks)
    assert "right" not in str(checks)


def test_glue_from_the_portal(workspace: Workspace, settings: Settings, cloud: Question) -> None:
    settings.PORTAL_PRIVATE_ADDRESSES = "on"
    settings.CATALOG_ENDPOINTS = {"GLUE": cloud.endpoint}
    assert ("Databases", True) in names(checks_of(workspace, "GLUE", cloud.settings, KEYS))


@pytest.mark.parametrize("kind", ["SNOWFLAKE", "GLUE"])
def test_private_networks_are_out_of_reach_unless_the_operator_says_otherwise(
    workspace: Workspace, settings: Settings, kind: str
) -> None:
    assert settings.PORTAL_PRIVATE_ADDRESSES == ""
    values, secret = {
        "SNOWFLAKE": (SETTINGS, {"password": "right"}),
        "GLUE": ({"region": "us-east-1", "warehouse": "s3://lake"}, KEYS),
    }[kind]
    with snowflake() as server:
        settings.CATALOG_ENDPOINTS = {kind: server.address}
        (check,) = checks_of(workspace, kind, values, secret)
    assert "private network" in check.detail
    assert server.asked == []


def program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(connections, "COMMAND", [sys.executable, "-c", text])


def test_whatever_hangs_is_ended(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    program(monkeypatch, "import signal; signal.pause()")
    monkeypatch.setattr(connections, "SECONDS", 0.5)
    began = time.monotonic()
    (check,) = checks_of(workspace, "SNOWFLAKE", SETTINGS, {"password": "right"})
    assert time.monotonic() - began < 10
    assert "no answer within" in check.detail


def test_a_test_that_breaks_is_logged_without_the_secret(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program(monkeypatch, "import sys; sys.exit('it broke: ' + sys.stdin.read())")
    (check,) = checks_of(workspace, "SNOWFLAKE", SETTINGS, {"password": "canary-password"})
    assert (check.passed, check.hint) == (False, "Tell your operator.")
    assert "it broke" in caplog.text
    assert "canary-password" not in caplog.text + str(check)


def test_it_sees_nothing_of_the_portals_environment(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    names_of = "[{'name': n, 'passed': True, 'detail': v} for n, v in os.environ.items()]"
    program(monkeypatch, f"import os, json; print(json.dumps({names_of}))")
    kept_away = {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "SECRET_KEY", "DATABASE_URL", "PORTAL_FERNET_KEYS", "PYTHONPATH"}
    for name in (*kept_away, "HTTPS_PROXY", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "set")
    seen = {check.name for check in checks_of(workspace, "SNOWFLAKE", SETTINGS, {"password": "x"})}
    assert not seen & (kept_away | {"PORTAL_HOME", "DJANGO_SETTINGS_MODULE"})
    assert {"HTTPS_PROXY", "SSL_CERT_FILE"} <= seen


def test_only_so_many_are_made_at_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    place = threading.BoundedSemaphore(1)
    monkeypatch.setattr(connections, "_places", place)
    program(monkeypatch, "print('[]')")
    with place, pytest.raises(UserError, match="TooManyTests"):
        checks_of(workspace, "SNOWFLAKE", SETTINGS, {"password": "x"})
    assert checks_of(workspace, "SNOWFLAKE", SETTINGS, {"password": "x"}) == []
    assert checks_of(workspace, "SNOWFLAKE", SETTINGS, {"password": "x"}) == []
