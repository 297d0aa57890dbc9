"""Usage alarms on AWS: the CloudWatch alarm and the SNS topic that the guide explains by hand, with its defaults.

topic           the topic, with the name that was asked for and our uuid in it; or one that was there, left as it is
subscription-…  one for each e-mail endpoint, side by side; SNS asks the address itself
alarm           on the vCPUs of running On-Demand instances of the standard families, one period, its maximum

Service Quotas names this metric, its dimensions and the statistic for the quota of these instances (L-1216C47A). AWS
evaluates the highest value of the period, where LOCAL asks for all of them: one peak is enough here.

All three are found by their names: making a topic, a subscription or an alarm again gives the one that is there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from portal.clouds import plan
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.session import Session
from portal.clouds.base import (
    AlarmObservation,
    AlarmSpec,
    AlarmState,
    CloudError,
    EndpointState,
    Event,
    Failed,
    Handle,
    Pending,
    Sample,
    Settled,
    Step,
    Target,
)

TAG = "portal:alarm"
"""On topic and alarm; its value is the alarm's uuid."""

METRIC: dict[str, Any] = {
    "Namespace": "AWS/Usage",
    "MetricName": "ResourceCount",
    "Dimensions": [
        {"Name": "Service", "Value": "EC2"},
        {"Name": "Type", "Value": "Resource"},
        {"Name": "Resource", "Value": "vCPU"},
        {"Name": "Class", "Value": "Standard/OnDemand"},
    ],
}
QUOTA = "L-1216C47A"
AT_ONCE = 100
"""Alarms that one question can name."""

_PREFIX = "subscription-"


class AwsAlarms:
    """The usage alarms of one account in one region; ``portal.clouds.base.Alarms``."""

    portal_sends = False
    observe_seconds = 60.0

    def __init__(self, session: Session) -> None:
        self.session = session

    def advance_alarm(self, spec: AlarmSpec, handle: Handle, target: Target) -> Step:
        """Topic, subscriptions, alarm. Once all stand, whoever confirmed after they were removed is removed again."""
        try:
            topic = Topic(self.session, spec, self.session.account())
        except CloudError as error:
            return Step(handle, Failed(error))
        alarm = AlarmStep(self.session, spec, topic)
        asked = spec.endpoints if topic.ours else {}
        wanted: list[plan.PlanStep] = [
            TopicStep(topic),
            *(SubscriptionStep(topic, address, times, kept=True) for address, times in asked.items()),
            alarm,
        ]
        left = [name.removeprefix(_PREFIX) for name in handle.get("steps", {}) if name.startswith(_PREFIX)]
        known: list[plan.PlanStep] = [
            TopicStep(topic),
            *(SubscriptionStep(topic, address, 0) for address in left),
            alarm,
        ]
        step = plan.advance(wanted if target is not Target.TERMINATED else [], known, handle)
        if target is Target.TERMINATED or not topic.ours or not isinstance(step.outcome, Settled):
            return step
        try:
            return replace(step, events=_remove_strays(topic, asked))
        except CloudError as error:
            return Step(step.handle, Failed(error))

    def observe_alarms(self, alarms: Sequence[tuple[AlarmSpec, Handle]]) -> Sequence[AlarmObservation]:
        """What CloudWatch says of each, and what SNS says of the endpoints of its topic."""
        now, account, found = datetime.now(UTC), self.session.account(), {}
        names = [alarm_name(spec) for spec, _ in alarms]
        for start in range(0, len(names), AT_ONCE):
            asked = {"AlarmNames": names[start : start + AT_ONCE], "AlarmTypes": ["MetricAlarm"]}
            for row in self.session.client("cloudwatch").pages("describe_alarms", "MetricAlarms", **asked):
                found[row["AlarmName"]] = row
        observations = []
        for (spec, _), name in zip(alarms, names, strict=True):
            row = found.get(name)
            if row is None:
                reason = "AWS has this alarm no more: somebody deleted it there. Delete it here, too, and make another."
                observations.append(AlarmObservation(AlarmState.INSUFFICIENT_DATA, reason, now))
                continue
            endpoints = Topic(self.session, spec, account).endpoints()
            state, reason = AlarmState(row["StateValue"]), str(row.get("StateReason", ""))
            observations.append(AlarmObservation(state, reason, now, endpoints))
        return observations

    def metric_history(self, start: datetime, end: datetime, period: int) -> Sequence[Sample]:
        """From CloudWatch, which counts periods from the start that it is asked for."""
        first = datetime.fromtimestamp(int(start.timestamp()) // period * period, UTC)
        query = {"Id": "vcpus", "MetricStat": {"Metric": METRIC, "Period": period, "Stat": "Maximum"}}
        pages = self.session.client("cloudwatch").pages(
            "get_metric_data",
            "MetricDataResults",
            MetricDataQueries=[query],
            StartTime=first,
            EndTime=end,
            ScanBy="TimestampAscending",
        )
        samples = [
            Sample(at.astimezone(UTC), value)
            for result in pages
            for at, value in zip(result["Timestamps"], result["Values"], strict=True)
        ]
        return sorted((sample for sample in samples if sample.at < end), key=lambda sample: sample.at)

    def total_vcpus(self) -> int | None:
        """What the account's quota allows to run."""
        try:
            quotas = self.session.client("service-quotas")
            return int(quotas.get_service_quota(ServiceCode="ec2", QuotaCode=QUOTA)["Quota"]["Value"])
        except AwsError:
            return None  # it only helps to choose a threshold

    def topics(self) -> list[str]:
        """The ARNs of the topics that are there, which an alarm can be given instead of one of its own."""
        return [str(row["TopicArn"]) for row in self.session.client("sns").pages("list_topics", "Topics")]


def alarm_name(spec: AlarmSpec) -> str:
    """What the alarm is called at CloudWatch. Putting an alarm replaces one of the same name, so it is our uuid; what
    people call it is its description, which stands in the mails."""
    return f"portal/{spec.id}"


@dataclass(frozen=True)
class Topic:
    """The topic of an alarm: one of its own, or one that was there."""

    session: Session
    spec: AlarmSpec
    account: str

    @property
    def ours(self) -> bool:
        """Whether it was made for the alarm."""
        return not self.spec.topic.startswith("arn:")

    @property
    def name(self) -> str:
        """Its name at SNS. Making a topic gives the one that has the name, so our uuid is in it."""
        return f"portal-{self.spec.topic[:200]}-{uuid.UUID(self.spec.id).hex}"

    @property
    def arn(self) -> str:
        """Where it is, or will be."""
        return f"arn:aws:sns:{self.session.region}:{self.account}:{self.name}" if self.ours else self.spec.topic

    def subscriptions(self) -> Iterator[Mapping[str, str]]:
        """Its e-mail endpoints as SNS lists them; none where the topic is not there."""
        try:
            pages = self.session.client("sns").pages("list_subscriptions_by_topic", "Subscriptions", TopicArn=self.arn)
            yield from (row for row in pages if row["Protocol"] == "email")
        except AwsError as error:
            if not error.absent:
                raise

    def endpoints(self) -> dict[str, EndpointState]:
        """How each stands."""
        return {row["Endpoint"]: _state(row["SubscriptionArn"]) for row in self.subscriptions()}


def _state(arn: str) -> EndpointState:
    """SNS puts a word in the place of the ARN for as long as there is none."""
    if arn.startswith("arn:"):
        return EndpointState.CONFIRMED
    return EndpointState.UNSUBSCRIBED if arn == "Deleted" else EndpointState.PENDING


@dataclass(frozen=True)
class TopicStep:
    """The topic."""

    topic: Topic
    name: str = "topic"
    label: str = "SNS topic"
    group: str = "topic"

    @property
    def fingerprint(self) -> str:
        """Another name is another topic."""
        return self.topic.arn

    def find(self) -> str | None:
        """Its ARN, if it is there. One that was chosen has to be."""
        try:
            self.topic.session.client("sns").get_topic_attributes(TopicArn=self.topic.arn)
        except AwsError as error:
            if not error.absent:
                raise
            if not self.topic.ours:
                hint = "Choose another topic, or let one be made."
                raise CloudError("TopicNotFound", f"{self.topic.arn} is not there.", hint, permanent=True) from error
            return None
        return self.topic.arn

    def create(self) -> str:
        """Make it, tagged."""
        tags = [{"Key": TAG, "Value": self.topic.spec.id}]
        return str(self.topic.session.client("sns").create_topic(Name=self.topic.name, Tags=tags)["TopicArn"])

    def ready(self, id: str) -> bool | Pending | Event:
        """At once."""
        return True

    def delete(self, id: str | None) -> bool:
        """Only ours; its subscriptions go with it, also those that nobody has confirmed."""
        if not self.topic.ours or self.find() is None:
            return True
        self.topic.session.client("sns").delete_topic(TopicArn=self.topic.arn)
        return self.find() is None


@dataclass(frozen=True)
class SubscriptionStep:
    """An e-mail endpoint. SNS sends the mail with the link to confirm, each time that it is asked to subscribe one that
    has not confirmed. ``times`` is how often people wanted that; one that is ``kept`` is only to be asked again."""

    topic: Topic
    address: str
    times: int
    kept: bool = False
    group: str = "subscriptions"

    @property
    def name(self) -> str:
        """One for each address."""
        return f"{_PREFIX}{self.address}"

    @property
    def label(self) -> str:
        """For people."""
        return f"subscription of {self.address}"

    @property
    def fingerprint(self) -> str:
        """To be asked again, it is made again."""
        return str(self.times)

    def find(self) -> str | None:
        """Its ARN, if it was confirmed. One that waits can be asked again at no harm."""
        rows = (row["SubscriptionArn"] for row in self.topic.subscriptions() if row["Endpoint"] == self.address)
        return next((arn for arn in rows if _state(arn) is EndpointState.CONFIRMED), None)

    def create(self) -> str:
        """Let SNS ask the address."""
        answer = self.topic.session.client("sns").subscribe(
            TopicArn=self.topic.arn, Protocol="email", Endpoint=self.address, ReturnSubscriptionArn=False
        )
        return str(answer["SubscriptionArn"])

    def ready(self, id: str) -> bool | Pending | Event:
        """At once: people may take days to confirm."""
        return True

    def delete(self, id: str | None) -> bool:
        """One that waits cannot be removed; SNS forgets it after two days, and if it is confirmed before, it is a stray
        that ``AwsAlarms.advance_alarm`` removes. Who confirmed while they were asked again stays."""
        arn = self.find()
        if arn is None or self.kept:
            return True
        self.topic.session.client("sns").unsubscribe(SubscriptionArn=arn)
        return self.find() is None


@dataclass(frozen=True)
class AlarmStep:
    """The alarm."""

    session: Session
    spec: AlarmSpec
    topic: Topic
    name: str = "alarm"
    label: str = "CloudWatch alarm"
    group: str = "alarm"

    @property
    def fingerprint(self) -> str:
        """With anything else, CloudWatch would go on with what it found out before: it is made anew."""
        return f"{self.spec.threshold} {self.spec.period} {self.topic.arn} {self.spec.name}"

    def find(self) -> str | None:
        """Its name, if it is there."""
        asked = {"AlarmNames": [alarm_name(self.spec)], "AlarmTypes": ["MetricAlarm"]}
        rows = self.session.client("cloudwatch").describe_alarms(**asked)["MetricAlarms"]
        return str(rows[0]["AlarmName"]) if rows else None

    def create(self) -> str:
        """Make it, tagged. It tells its topic when it goes off and when it is over."""
        self.session.client("cloudwatch").put_metric_alarm(
            AlarmName=alarm_name(self.spec),
            AlarmDescription=f"{self.spec.name} (Bodo Cloud Platform)",
            **METRIC,
            Statistic="Maximum",
            Period=self.spec.period,
            EvaluationPeriods=1,
            Threshold=float(self.spec.threshold),
            ComparisonOperator="GreaterThanThreshold",
            ActionsEnabled=True,
            AlarmActions=[self.topic.arn],
            OKActions=[self.topic.arn],
            Tags=[{"Key": TAG, "Value": self.spec.id}],
        )
        return alarm_name(self.spec)

    def ready(self, id: str) -> bool | Pending | Event:
        """At once."""
        return True

    def delete(self, id: str | None) -> bool:
        """True once CloudWatch no longer lists it."""
        if self.find() is None:
            return True
        self.session.client("cloudwatch").delete_alarms(AlarmNames=[alarm_name(self.spec)])
        return self.find() is None


def _remove_strays(topic: Topic, wanted: Mapping[str, int]) -> list[Event]:
    """Unsubscribe who confirmed after their address was removed."""
    events = []
    for row in list(topic.subscriptions()):
        if row["Endpoint"] not in wanted and _state(row["SubscriptionArn"]) is EndpointState.CONFIRMED:
            topic.session.client("sns").unsubscribe(SubscriptionArn=row["SubscriptionArn"])
            events.append(Event("endpoints", f"Removed {row['Endpoint']}, which confirmed after it was removed"))
    return events
