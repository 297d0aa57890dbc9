"""Usage alarms: topic, subscriptions and alarm as the guide says, found again after a crash, removed whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.clouds.aws.alarms import METRIC, AwsAlarms, alarm_name
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.permissions import GRANTS
from portal.clouds.aws.session import Role, Session
from portal.clouds.base import AlarmSpec, CloudError, EndpointState, Event, Failed, Handle, Settled, Step, Target
from tests.clouds.aws.cloud import CUSTOMER, REGION, Aws

ID = "0b3f8c5e-1111-4222-8333-444455556666"
SPEC = AlarmSpec(ID, "Big bill", "usage-alarms", 1000, 300, {"ada@example.org": 1, "bob@example.org": 1})
TOPIC = f"arn:aws:sns:{REGION}:{CUSTOMER}:portal-usage-alarms-0b3f8c5e111142228333444455556666"


class Killed(BaseException):
    """The worker was killed: nothing catches it."""


@pytest.fixture
def alarms(aws: Aws) -> AwsAlarms:
    return AwsAlarms(aws.administrator())


def finish(
    alarms: AwsAlarms, spec: AlarmSpec = SPEC, handle: Handle | None = None, target: Target = Target.RUNNING
) -> tuple[Handle, list[Event]]:
    """Until it is settled, storing the handle as the database does. Raises what failed."""
    kept: Handle = handle or {}
    events: list[Event] = []
    for _ in range(60):
        step = alarms.advance_alarm(spec, kept, target)
        kept = json.loads(json.dumps(step.handle))
        events += step.events
        if isinstance(step.outcome, Failed):
            raise step.outcome.error
        if isinstance(step.outcome, Settled):
            return kept, events
    raise AssertionError("does not settle")


def there(alarms: AwsAlarms) -> dict[str, Any]:
    """All that the account has."""
    sns, cloudwatch = alarms.session.client("sns"), alarms.session.client("cloudwatch")
    topics = [row["TopicArn"] for row in sns.list_topics()["Topics"]]
    subscribed = sorted((row["TopicArn"], row["Endpoint"]) for row in sns.list_subscriptions()["Subscriptions"])
    rows = cloudwatch.describe_alarms()["MetricAlarms"]
    return {"topics": topics, "subscribed": subscribed, "alarms": [row["AlarmName"] for row in rows]}


NOTHING: dict[str, Any] = {"topics": [], "subscribed": [], "alarms": []}
EVERYTHING = {
    "topics": [TOPIC],
    "subscribed": [(TOPIC, "ada@example.org"), (TOPIC, "bob@example.org")],
    "alarms": [f"portal/{ID}"],
}


def test_the_alarm_is_the_guides(alarms: AwsAlarms) -> None:
    _, events = finish(alarms)
    assert there(alarms) == EVERYTHING
    (row,) = alarms.session.client("cloudwatch").describe_alarms()["MetricAlarms"]
    wanted = {
        **METRIC,
        "Statistic": "Maximum",
        "Period": 300,
        "EvaluationPeriods": 1,
        "Threshold": 1000.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": [TOPIC],
        "OKActions": [TOPIC],
        "AlarmDescription": "Big bill (Bodo Cloud Platform)",
    }
    assert {name: row[name] for name in wanted} == wanted
    tags = [{"Key": "portal:alarm", "Value": ID}]
    assert alarms.session.client("sns").list_tags_for_resource(ResourceArn=TOPIC)["Tags"] == tags
    assert alarms.session.client("cloudwatch").list_tags_for_resource(ResourceARN=row["AlarmArn"])["Tags"] == tags
    assert [event.message for event in events] == [
        "Making SNS topic",
        "SNS topic ready",
        "Making subscription of ada@example.org",
        "Subscription of ada@example.org ready",
        "Making subscription of bob@example.org",
        "Subscription of bob@example.org ready",
        "Making CloudWatch alarm",
        "CloudWatch alarm ready",
    ]


def test_endpoints_wait_until_they_confirm(aws: Aws, alarms: AwsAlarms) -> None:
    handle, _ = finish(alarms)
    aws.confirmed.add("bob@example.org")
    (seen,) = alarms.observe_alarms([(SPEC, handle)])
    assert seen.endpoints == {
        "ada@example.org": EndpointState.PENDING,
        "bob@example.org": EndpointState.CONFIRMED,
    }


def test_another_threshold_leaves_the_endpoints_as_they_are(aws: Aws, alarms: AwsAlarms) -> None:
    handle, _ = finish(alarms)
    aws.asked.clear()
    finish(alarms, replace(SPEC, threshold=5, period=900), handle)
    (row,) = alarms.session.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert (row["Threshold"], row["Period"]) == (5.0, 900)
    assert {"Subscribe", "Unsubscribe", "CreateTopic", "DeleteTopic"} & set(aws.asked) == set()


def test_who_waits_is_asked_again_and_who_confirmed_meanwhile_stays(aws: Aws, alarms: AwsAlarms) -> None:
    handle, _ = finish(alarms)
    aws.confirmed.add("bob@example.org")
    aws.asked.clear()
    again = replace(SPEC, endpoints={"ada@example.org": 2, "bob@example.org": 2})
    finish(alarms, again, handle)
    assert (aws.asked.count("Subscribe"), aws.asked.count("Unsubscribe")) == (1, 0)
    assert there(alarms) == EVERYTHING


def test_a_removed_endpoint_is_unsubscribed_and_a_late_one_too(aws: Aws, alarms: AwsAlarms) -> None:
    handle, _ = finish(alarms)
    aws.confirmed.add("bob@example.org")
    nobody = replace(SPEC, endpoints={})
    handle, _ = finish(alarms, nobody, handle)
    assert there(alarms)["subscribed"] == [(TOPIC, "ada@example.org")], "who waits cannot be removed"
    aws.confirmed.add("ada@example.org")
    _, events = finish(alarms, nobody, handle)
    assert [event.message for event in events] == [
        "Removed ada@example.org, which confirmed after it was removed",
    ]
    assert there(alarms)["subscribed"] == []


def test_nothing_is_left(aws: Aws, alarms: AwsAlarms) -> None:
    handle, _ = finish(alarms)
    aws.confirmed.add("bob@example.org")
    other = replace(SPEC, id="77777777-1111-4222-8333-444455556666")
    other_handle, _ = finish(alarms, other)
    handle, _ = finish(alarms, SPEC, handle, Target.TERMINATED)
    assert handle == {"steps": {}}
    assert len(there(alarms)["topics"]) == len(there(alarms)["alarms"]) == 1
    finish(alarms, other, other_handle, Target.TERMINATED)
    assert there(alarms) == NOTHING


def test_what_was_deleted_by_hand_can_be_removed(alarms: AwsAlarms) -> None:
    handle, _ = finish(alarms)
    alarms.session.client("sns").delete_topic(TopicArn=TOPIC)
    alarms.session.client("cloudwatch").delete_alarms(AlarmNames=[alarm_name(SPEC)])
    (seen,) = alarms.observe_alarms([(SPEC, handle)])
    assert seen.state == "INSUFFICIENT_DATA"
    assert "somebody deleted it" in seen.reason
    finish(alarms, SPEC, handle, Target.TERMINATED)


def test_every_call_is_in_the_policy(aws: Aws, alarms: AwsAlarms) -> None:
    """With the resources that the policy has, too: topics and alarms have our names."""
    handle, _ = finish(alarms)
    aws.confirmed |= {"ada@example.org", "bob@example.org"}
    alarms.observe_alarms([(SPEC, handle)])
    alarms.metric_history(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC), 300)
    alarms.total_vcpus()
    alarms.topics()
    finish(alarms, SPEC, handle, Target.TERMINATED)
    granted = {action.partition(":")[2]: grant for grant in GRANTS for action in grant.actions}
    asked = set(aws.asked) - {"AssumeRole", "GetCallerIdentity"}
    assert set(WRITES) < asked
    assert asked <= set(granted)
    assert TOPIC.startswith("arn:aws:sns:us-east-2:222222222222:portal-")
    assert granted["CreateTopic"].resources == ("arn:aws:sns:*:*:portal-*",)
    assert alarm_name(SPEC).startswith("portal/")
    assert granted["PutMetricAlarm"].resources == ("arn:aws:cloudwatch:*:*:alarm:portal/*",)


# --- a topic that was there -----------------------------------------------------------------------------------------


def test_a_chosen_topic_is_used_and_left_as_it_is(aws: Aws, alarms: AwsAlarms) -> None:
    sns = alarms.session.client("sns")
    arn = sns.create_topic(Name="theirs")["TopicArn"]
    sns.subscribe(TopicArn=arn, Protocol="email", Endpoint="their@example.org")
    aws.confirmed.add("their@example.org")
    assert alarms.topics() == [arn]
    spec = replace(SPEC, topic=arn)
    handle, _ = finish(alarms, spec)
    (row,) = alarms.session.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert row["AlarmActions"] == [arn]
    (seen,) = alarms.observe_alarms([(spec, handle)])
    assert seen.endpoints == {"their@example.org": EndpointState.CONFIRMED}
    finish(alarms, spec, handle, Target.TERMINATED)
    assert there(alarms) == {"topics": [arn], "subscribed": [(arn, "their@example.org")], "alarms": []}


def test_a_chosen_topic_has_to_be_there(alarms: AwsAlarms) -> None:
    with pytest.raises(CloudError, match="TopicNotFound") as caught:
        finish(alarms, replace(SPEC, topic=f"arn:aws:sns:{REGION}:{CUSTOMER}:gone"))
    assert caught.value.permanent
    assert caught.value.hint
    assert there(alarms) == NOTHING


# --- crashes and refusals -------------------------------------------------------------------------------------------

WRITES = ("CreateTopic", "Subscribe", "PutMetricAlarm", "DeleteAlarms", "Unsubscribe", "DeleteTopic")


def dying(alarms: AwsAlarms, monkeypatch: pytest.MonkeyPatch, at: int, after: bool) -> Callable[[], int]:
    """The process dies at the ``at``-th call that changes something, before it is made or before its answer is kept.
    Returns how many such calls there were."""
    from botocore.client import BaseClient

    count = 0
    real = BaseClient._make_api_call

    def call(self: Any, name: str, arguments: Any) -> Any:
        nonlocal count
        if name not in WRITES:
            return real(self, name, arguments)
        count += 1
        if count == at and not after:
            raise Killed
        answer = real(self, name, arguments)
        if count == at:
            raise Killed
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return lambda: count


def until_killed(alarms: AwsAlarms, spec: AlarmSpec, kept: Handle, target: Target) -> Handle:
    """What the database holds when the process dies; at the end, if it does not."""
    for _ in range(60):
        try:
            step: Step = alarms.advance_alarm(spec, kept, target)
        except Killed:
            return kept
        kept = json.loads(json.dumps(step.handle))
        if isinstance(step.outcome, Settled):
            return kept
    raise AssertionError("does not settle")


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 5))
@pytest.mark.parametrize("then", ["resume", "delete", "change"])
def test_dying_on_the_way_up_leaves_neither_two_nor_a_rest(
    aws: Aws, alarms: AwsAlarms, monkeypatch: pytest.MonkeyPatch, at: int, after: bool, then: str
) -> None:
    with monkeypatch.context() as patch:
        calls = dying(alarms, patch, at, after)
        kept = until_killed(alarms, SPEC, {}, Target.RUNNING)
        assert calls() == at
    if then == "delete":
        finish(alarms, SPEC, kept, Target.TERMINATED)
        assert there(alarms) == NOTHING
        return
    spec = replace(SPEC, name="Other", threshold=7) if then == "change" else SPEC
    kept, _ = finish(alarms, spec, kept)
    assert there(alarms) == EVERYTHING
    finish(alarms, spec, kept, Target.TERMINATED)
    assert there(alarms) == NOTHING


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 5))
def test_dying_on_the_way_down_leaves_no_rest(
    aws: Aws, alarms: AwsAlarms, monkeypatch: pytest.MonkeyPatch, at: int, after: bool
) -> None:
    """The alarm, two confirmed subscriptions, the topic."""
    kept, _ = finish(alarms)
    aws.confirmed |= {"ada@example.org", "bob@example.org"}
    with monkeypatch.context() as patch:
        calls = dying(alarms, patch, at, after)
        kept = until_killed(alarms, SPEC, kept, Target.TERMINATED)
        assert calls() == at
    finish(alarms, SPEC, kept, Target.TERMINATED)
    assert there(alarms) == NOTHING


@pytest.mark.parametrize("operation", WRITES)
def test_who_may_not_is_told_the_permission(aws: Aws, alarms: AwsAlarms, operation: str) -> None:
    """SNS and CloudWatch name theirs in different words, or not at all."""
    service = "cloudwatch" if "Alarm" in operation else "sns"
    target, handle = Target.RUNNING, Handle()
    if operation in WRITES[3:]:
        handle, _ = finish(alarms)
        aws.confirmed |= {"ada@example.org", "bob@example.org"}
        target = Target.TERMINATED
    code = "AuthorizationError" if service == "sns" else "AccessDenied"
    aws.fail(operation, code, f"User: x is not authorized to perform: {service.upper()}:{operation}", 403)
    error: CloudError | None = None
    for _ in range(60):
        step = alarms.advance_alarm(SPEC, handle, target)
        handle = step.handle
        if isinstance(step.outcome, Failed):
            error = step.outcome.error
            break
    assert error
    assert (error.code, error.permanent) == ("PermissionDenied", True)
    assert f"the permission {service}:{operation}" in error.hint
    finish(alarms, SPEC, handle, Target.TERMINATED)
    assert there(alarms) == NOTHING


@pytest.mark.parametrize("operation", [*WRITES[:3], "GetTopicAttributes", "DescribeAlarms"])
def test_throttling_is_tried_again(aws: Aws, alarms: AwsAlarms, operation: str) -> None:
    aws.fail(operation, "Throttling", "Rate exceeded", 400, times=1)
    kept: Handle = {}
    failures = []
    for _ in range(60):
        step = alarms.advance_alarm(SPEC, kept, Target.RUNNING)
        kept = step.handle
        if isinstance(step.outcome, Failed):
            failures.append((step.outcome.error.code, step.outcome.error.permanent))
        elif isinstance(step.outcome, Settled):
            break
    assert failures == [("Throttled", False)]
    assert there(alarms) == EVERYTHING


def test_a_listing_that_fails_is_not_taken_for_empty(aws: Aws, alarms: AwsAlarms) -> None:
    """Else everybody would seem to have unsubscribed."""
    handle, _ = finish(alarms)
    aws.fail("ListSubscriptionsByTopic", "InternalFailure", "Oops", 500)
    with pytest.raises(AwsError, match="ProviderUnavailable"):
        alarms.observe_alarms([(SPEC, handle)])


def test_a_role_that_is_not_lent_fails_the_step(aws: Aws) -> None:
    role = Role(f"arn:aws:iam::{CUSTOMER}:role/nobody", "x" * 20)
    step = AwsAlarms(Session(REGION, role=role, endpoint=aws.address)).advance_alarm(SPEC, {}, Target.RUNNING)
    step = AwsAlarms(Session(REGION, role=role, endpoint=aws.address)).advance_alarm(SPEC, step.handle, Target.RUNNING)
    assert isinstance(step.outcome, Failed)
    assert "trust policy" in step.outcome.error.hint


# --- what is read ---------------------------------------------------------------------------------------------------


def test_many_alarms_are_asked_at_once(aws: Aws, alarms: AwsAlarms) -> None:
    specs = [replace(SPEC, id=f"{number:08}-1111-4222-8333-444455556666", endpoints={}) for number in range(101)]
    cloudwatch = alarms.session.client("cloudwatch")
    for spec in specs[::50]:
        finish(alarms, spec)
        cloudwatch.set_alarm_state(AlarmName=alarm_name(spec), StateValue="ALARM", StateReason="Threshold Crossed")
    aws.asked.clear()
    seen = alarms.observe_alarms([(spec, {}) for spec in specs])
    assert [number for number, each in enumerate(seen) if each.state == "ALARM"] == [0, 50, 100]
    assert seen[50].reason == "Threshold Crossed"
    assert aws.asked.count("DescribeAlarms") == 2


def test_the_history_is_that_of_the_metric_of_the_alarm(alarms: AwsAlarms) -> None:
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    other = [*METRIC["Dimensions"][:3], {"Name": "Class", "Value": "G/OnDemand"}]
    for minutes, value, dimensions in ((1, 8, None), (4, 16, None), (4, 999, other), (11, 4, None)):
        alarms.session.client("cloudwatch").put_metric_data(
            Namespace=METRIC["Namespace"],
            MetricData=[
                {
                    "MetricName": METRIC["MetricName"],
                    "Dimensions": dimensions or METRIC["Dimensions"],
                    "Timestamp": start + timedelta(minutes=minutes),
                    "Value": value,
                }
            ],
        )
    found = alarms.metric_history(start + timedelta(seconds=30), start + timedelta(hours=1), 300)
    assert [(sample.at, sample.vcpus) for sample in found] == [
        (start, 16.0),
        (start + timedelta(minutes=10), 4.0),
    ]


def test_the_capacity_is_the_quota(aws: Aws, alarms: AwsAlarms) -> None:
    aws.quotas["L-1216C47A"] = 1920.0
    assert alarms.total_vcpus() == 1920
    aws.fail("GetServiceQuota", "AccessDeniedException", "no", 400)
    assert alarms.total_vcpus() is None
