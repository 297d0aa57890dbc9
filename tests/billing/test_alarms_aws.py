"""Usage alarms of a configuration on AWS, from the form to CloudWatch and back, over HTTP against moto."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from billing import alarms_reconcile
from billing.models import Alarm, AlarmStatus
from tests.clouds.aws.cloud import PLATFORM, Aws, connected
from tests.clouds.aws.conftest import aws, moto
from tests.factories import make_aws_configuration, make_organization, make_user
from tests.fakes import Workers
from workspaces.models import CloudConfiguration

__all__ = ["aws", "moto"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def row(aws: Aws, settings: Settings) -> CloudConfiguration:
    settings.PORTAL_AWS, settings.PORTAL_AWS_ENDPOINT, settings.PORTAL_AWS_ACCOUNT = True, aws.address, PLATFORM
    known = connected(aws)
    names = {"region": known.region, "bucket": known.bucket, "table": known.table, "role_arn": known.role_arn}
    organization = make_organization(make_user("owner"))
    return make_aws_configuration(organization, external_id=known.external_id, settings=names)


@pytest.fixture
def owner(row: CloudConfiguration) -> Client:
    client = Client()
    client.force_login(row.organization.memberships.get().user)
    return client


FORM = {"name": "vCPUs", "threshold": "100", "period_minutes": "5", "existing_topic": "", "topic": "oncall"}


def where(row: CloudConfiguration, name: str, *more: Any) -> str:
    return reverse(f"billing:{name}", args=[row.organization_id, row.pk, *more])


def test_an_alarm_with_a_topic_of_its_own(aws: Aws, row: CloudConfiguration, owner: Client, workers: Workers) -> None:
    assert owner.get(where(row, "alarms")).status_code == 200
    response = owner.post(where(row, "alarm_new"), {**FORM, "emails": "oncall@example.org"})
    assert response.status_code == 302, response.context["form"].errors
    workers.run(Alarm.objects.get())
    alarm = Alarm.objects.get()
    assert (alarm.status, alarm.failure_message) == (AlarmStatus.READY, "")
    session = aws.administrator()
    made = session.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert [(each["AlarmName"], each["Threshold"]) for each in made] == [(f"portal/{alarm.pk}", 100.0)]
    assert len(session.client("sns").list_topics()["Topics"]) == 1
    alarms_reconcile.observe()
    assert alarm.endpoints.get().state == "PENDING"
    aws.confirmed.add("oncall@example.org")
    Alarm.objects.update(observed_at=None)
    alarms_reconcile.observe()
    assert alarm.endpoints.get().state == "CONFIRMED"
    assert owner.get(where(row, "alarm", alarm.pk)).status_code == 200
    form = owner.get(where(row, "alarm_new")).context["form"]
    assert "existing_topic" not in form.fields, "the topic of another alarm is not offered"
    owner.post(where(row, "alarm_delete", alarm.pk))
    workers.run(Alarm.objects.get())
    assert Alarm.objects.get().status == AlarmStatus.TERMINATED
    assert session.client("sns").list_topics()["Topics"] == []


def test_an_alarm_tells_a_topic_that_is_there(
    aws: Aws, row: CloudConfiguration, owner: Client, workers: Workers
) -> None:
    sns = aws.administrator().client("sns")
    topic = str(sns.create_topic(Name="pagers")["TopicArn"])
    sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="somebody@example.org")
    aws.confirmed.add("somebody@example.org")
    page = owner.get(where(row, "alarm_new")).content.decode()
    assert topic in page
    wrong = owner.post(where(row, "alarm_new"), {**FORM, "existing_topic": "arn:aws:sns:us-east-2:1:other"})
    assert wrong.context["form"].errors["existing_topic"]
    assert owner.post(where(row, "alarm_new"), {**FORM, "emails": ""}).context["form"].errors["emails"]
    form = {**FORM, "existing_topic": topic, "topic": "not counted!", "emails": "nor this"}
    response = owner.post(where(row, "alarm_new"), form)
    assert response.status_code == 302, response.context["form"].errors
    workers.run(Alarm.objects.get())
    alarm = Alarm.objects.get()
    assert (alarm.status, alarm.topic, alarm.endpoints.count()) == (AlarmStatus.READY, topic, 0)
    alarms_reconcile.observe()
    alarm.refresh_from_db()
    assert alarm.due_at is None, "its subscribers are none of ours"
    page = owner.get(where(row, "alarm", alarm.pk)).content.decode()
    assert "whoever subscribed to its topic in AWS" in page
    assert "Nobody is told" not in page
    add = owner.post(where(row, "alarm_endpoint_add", alarm.pk), {"emails": "more@example.org"})
    assert b"ForeignTopic" in add.content
    owner.post(where(row, "alarm_delete", alarm.pk))
    workers.run(Alarm.objects.get())
    assert Alarm.objects.get().status == AlarmStatus.TERMINATED
    assert [each["TopicArn"] for each in sns.list_topics()["Topics"]] == [topic], "it stays"


def test_one_that_is_not_set_up_has_none(row: CloudConfiguration, owner: Client) -> None:
    unfinished = make_aws_configuration(row.organization, status="SETUP", settings={"region": "us-east-2"})
    assert owner.get(where(unfinished, "alarms")).status_code == 404
