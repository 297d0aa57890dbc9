"""A cloud configuration on AWS that is made with access keys, by the thread that has them, over HTTP against moto."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEvent
from portal.clouds.aws import onboarding
from portal.clouds.base import Step
from portal.models import DeploymentEvent
from tests.clouds.aws.cloud import CUSTOMER, Aws
from tests.clouds.local_world import wait_for
from tests.factories import make_aws_configuration, make_organization, make_user
from workspaces import keys_configurations
from workspaces.models import CloudConfiguration

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def row(offered: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudConfiguration]:
    monkeypatch.setattr(keys_configurations, "CHECK_AGAIN_SECONDS", 0.0)
    organization = make_organization(make_user("owner"))
    yield make_aws_configuration(organization, way="KEYS", status="SETUP", settings={"region": "us-east-2"})
    for thread in list(keys_configurations._running):
        thread.join(60)


@pytest.fixture
def owner(row: CloudConfiguration) -> Client:
    client = Client()
    client.force_login(row.organization.memberships.get().user)
    return client


def page_of(row: CloudConfiguration, name: str = "configuration") -> str:
    return reverse(f"workspaces:{name}", args=[row.organization_id, row.pk])


def form_of(aws: Aws, **other: str) -> dict[str, str]:
    keys = aws.keys()
    given = {"access_key_id": keys.access_key_id, "secret_access_key": keys.secret_access_key}
    return {**given, "session_token": keys.session_token or "", **other}


def settled(row: CloudConfiguration) -> CloudConfiguration:
    wait_for(lambda: not CloudConfiguration.objects.get(pk=row.pk).under_way, 120)
    return CloudConfiguration.objects.get(pk=row.pk)


def test_from_keys_to_ready(offered: Aws, row: CloudConfiguration, owner: Client) -> None:
    form = form_of(offered)
    page = owner.get(page_of(row)).content.decode()
    assert 'type="password" name="secret_access_key"' in page
    assert page.count('autocomplete="off"') >= 3
    response = owner.post(page_of(row), form)
    assert response.status_code == 302, response.content.decode()
    assert "hx-trigger" in owner.get(page_of(row)).content.decode()
    done = settled(row)
    assert (done.status, done.failure_message) == ("READY", "")
    assert done.account == CUSTOMER
    assert done.settings["bucket"] == done.resource_name
    assert all(check["passed"] for check in done.checks)
    said = [event.message for event in DeploymentEvent.objects.of(row.pk)]
    for step in ("S3 bucket ready", "DynamoDB table ready", "IAM role ready", "All checks passed"):
        assert any(step.lower() in line.lower() for line in said), said
    assert done.lease_token is None
    assert AuditEvent.objects.filter(verb="cloud_configuration.connect", object_id=str(row.pk)).count() == 1
    page = owner.get(page_of(row)).content.decode()
    assert done.settings["role_arn"] in page


def test_what_is_no_key_is_refused_and_not_given_back(offered: Aws, row: CloudConfiguration, owner: Client) -> None:
    good = form_of(offered)
    wrong = {"access_key_id": "AKIA with spaces 00", "secret_access_key": "line\nbreak" * 4, "session_token": "<html>"}
    for field, value in wrong.items():
        response = owner.post(page_of(row), {**good, field: value})
        assert response.status_code == 422
        assert response.context["form"].errors[field]
        page = response.content.decode()
        for given in (value, good["access_key_id"], good["secret_access_key"], good["session_token"]):
            assert given not in page
        assert response["Cache-Control"] == "no-store"
    assert CloudConfiguration.objects.get(pk=row.pk).status == "SETUP"


def test_a_refusal_is_told_in_aws_words_and_tried_again(offered: Aws, row: CloudConfiguration, owner: Client) -> None:
    form = form_of(offered)
    offered.fail("CreateTable", "AccessDeniedException", "User is not authorized to perform: dynamodb:CreateTable", 403)
    owner.post(page_of(row), form)
    failed = settled(row)
    assert (failed.status, failed.failure_code) == ("FAILED", "PermissionDenied")
    assert "dynamodb:CreateTable" in failed.failure_message
    page = owner.get(page_of(row)).content.decode()
    assert "not authorized to perform: dynamodb:CreateTable" in page
    assert "secret_access_key" in page, "the form is there for another try"
    assert row.name in page
    assert failed.lease_token is None
    owner.post(page_of(row), form)
    assert settled(row).status == "READY"
    assert len(offered.administrator().client("s3").list_buckets()["Buckets"]) == 1, "what was made was found"


def test_keys_that_aws_repeats_are_not_kept(offered: Aws, row: CloudConfiguration, owner: Client) -> None:
    """A wrong signature comes back with the text that was signed."""
    form = form_of(offered)
    words = f"The canonical string was x-amz-security-token:{form['session_token']} {form['secret_access_key']}"
    offered.fail("GetCallerIdentity", "SignatureDoesNotMatch", f"{words} {form['access_key_id']}", 403)
    owner.post(page_of(row), form)
    failed = settled(row)
    assert failed.failure_code == "CredentialsInvalid"
    assert "(not shown)" in failed.failure_message
    kept = f"{vars(failed)} {[vars(event) for event in DeploymentEvent.objects.of(row.pk)]}"
    kept += f"{[vars(event) for event in AuditEvent.objects.all()]} {owner.get(page_of(row)).content.decode()}"
    for key in ("access_key_id", "secret_access_key", "session_token"):
        assert form[key] not in kept


def test_what_passes_by_is_tried_again(
    offered: Aws, row: CloudConfiguration, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workspaces.keys_configurations.time.sleep", lambda _: None)
    offered.fail("CreateRole", "Throttling", "Rate exceeded", 400, times=2)
    owner.post(page_of(row), form_of(offered))
    assert settled(row).status == "READY"
    assert any("Trying again (2 of 4)" in event.message for event in DeploymentEvent.objects.of(row.pk))


def test_a_died_process_asks_for_the_keys_again(
    offered: Aws, row: CloudConfiguration, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_configurations, "start", lambda *_: None)  # it died right after the commit
    owner.post(page_of(row), form_of(offered))
    left = CloudConfiguration.objects.get(pk=row.pk)
    assert left.under_way
    assert owner.post(page_of(row), form_of(offered)).status_code == 409, "somebody may still be at it"
    CloudConfiguration.objects.filter(pk=row.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    page = owner.get(page_of(row)).content.decode()
    assert "Enter the keys again to go on" in page
    assert "secret_access_key" in page
    monkeypatch.undo()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "portal")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "portal")


def test_dying_at_each_save_leaves_nothing_twice(
    offered: Aws, row: CloudConfiguration, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the thread ends after one more step, and somebody comes again with keys."""
    real, deaths = keys_configurations._Maker._save, 0

    def dying(maker: keys_configurations._Maker, change: object) -> bool:
        nonlocal deaths
        saves[0] += 1
        if saves[0] > deaths + 1:
            return False  # gone before it could store what it did
        return real(maker, change)  # type: ignore[arg-type]

    monkeypatch.setattr(keys_configurations._Maker, "_save", dying)
    while True:
        saves = [0]
        owner.post(page_of(row), form_of(offered))
        for thread in list(keys_configurations._running):
            thread.join(60)
        CloudConfiguration.objects.filter(pk=row.pk, status="CREATING").update(lease_until=timezone.now())
        if CloudConfiguration.objects.get(pk=row.pk).status == "READY":
            break
        deaths += 1
        assert deaths < 40
    assert deaths >= 3
    account = offered.administrator()
    assert len(account.client("s3").list_buckets()["Buckets"]) == 1
    assert len(account.client("dynamodb").list_tables()["TableNames"]) == 1
    assert len(account.client("iam").list_roles()["Roles"]) == 1


def test_a_configuration_deleted_meanwhile_is_made_no_further(
    offered: Aws, row: CloudConfiguration, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = threading.Event(), threading.Event()
    real = onboarding.Onboarding.advance

    def slow(work: onboarding.Onboarding, handle: dict[str, object]) -> Step:
        reached.set()
        go_on.wait(30)
        return real(work, handle)

    monkeypatch.setattr(onboarding.Onboarding, "advance", slow)
    owner.post(page_of(row), form_of(offered))
    assert reached.wait(60)
    assert owner.post(page_of(row, "configuration_delete")).status_code == 302
    go_on.set()
    for thread in list(keys_configurations._running):
        thread.join(60)
    left = CloudConfiguration.objects.get(pk=row.pk)
    assert (left.status, left.handle) == ("CREATING", {})
    assert offered.administrator().client("s3").list_buckets()["Buckets"] == []


def test_checks_that_fail_need_no_keys_again(
    offered: Aws, row: CloudConfiguration, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered.quotas["L-F678F1CE"] = 0
    owner.post(page_of(row), form_of(offered))
    failed = settled(row)
    assert (failed.status, failed.failure_code) == ("FAILED", "ChecksFailed")
    assert [check["name"] for check in failed.checks if not check["passed"]] == ["Quota: VPCs"]
    del offered.quotas["L-F678F1CE"]
    owner.post(page_of(row, "configuration_check"))
    assert CloudConfiguration.objects.get(pk=row.pk).status == "READY"


def test_a_mistake_of_ours_names_no_key(
    offered: Aws,
    row: CloudConfiguration,
    owner: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    form = form_of(offered)

    def broken(*_: object) -> None:
        raise ValueError(f"Invalid header value {form['secret_access_key']}")

    monkeypatch.setattr(onboarding, "begin", broken)
    owner.post(page_of(row), form)
    failed = settled(row)
    assert (failed.status, failed.failure_code) == ("FAILED", "InternalError")
    assert "ValueError" in caplog.text
    assert form["secret_access_key"] not in f"{caplog.text}{vars(failed)}"


def test_no_more_at_once_than_a_process_should(
    offered: Aws, row: CloudConfiguration, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_configurations, "MOST_AT_ONCE", 0)
    response = owner.post(page_of(row), form_of(offered))
    assert response.status_code == 503
    assert b"TooBusy" in response.content
    assert CloudConfiguration.objects.get(pk=row.pk).status == "SETUP"
