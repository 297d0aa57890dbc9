"""The pages of usage alarms: what is typed, what is refused, what is shown; and the reconciler behind them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import Organization
from billing import services_alarms
from billing.alarms_local import LocalAlarms
from billing.alarms_reconcile import observe
from billing.models import Alarm, AlarmChange, AlarmEndpoint
from portal import reconcile as engine
from portal.clouds.base import (
    AlarmObservation,
    AlarmSpec,
    AlarmState,
    CloudError,
    EndpointState,
    Failed,
    Handle,
    Pending,
    Settled,
    Step,
    Target,
)
from portal.errors import UserError
from portal.models import DeploymentEvent
from tests.billing.alarms_world import in_a_minute, make_alarm, make_endpoint, put_samples
from tests.factories import actor, make_configuration, make_organization, make_user
from tests.fakes import Clock, FakeCloud, Workers
from tests.mailbox import delivered
from workspaces import services_configurations as workspaces
from workspaces.models import CloudConfiguration

FORM = {"name": "Big bill", "topic": "bills", "threshold": "8", "period_minutes": "5", "emails": "Ada@Example.org"}


@pytest.fixture
def configuration(db: None, fake_cloud: FakeCloud) -> CloudConfiguration:
    cache.clear()
    fake_cloud.capacity = 10
    return make_configuration(make_organization(make_user("owner")))


@pytest.fixture
def owner(configuration: CloudConfiguration) -> Client:
    client = Client()
    client.force_login(configuration.organization.memberships.get().user)
    return client


def where(name: str, configuration: CloudConfiguration, *ids: object) -> str:
    return reverse(f"billing:{name}", args=[configuration.organization_id, configuration.pk, *ids])


@pytest.fixture(autouse=True)
def seconds(clock: Clock) -> None:
    in_a_minute(clock)


def test_configurations_lead_to_their_alarms_where_they_can_have_some(
    configuration: CloudConfiguration, owner: Client
) -> None:
    configurations = reverse("workspaces:configurations", args=[configuration.organization_id])
    link = f'href="{where("alarms", configuration)}"'
    assert link in owner.get(configurations).content.decode()
    CloudConfiguration.objects.update(provider="ELSEWHERE")
    assert link not in owner.get(configurations).content.decode()
    for name in ("alarms", "alarm_new"):
        assert owner.get(where(name, configuration)).status_code == 404


# --- the form -------------------------------------------------------------------------------------------------------


def test_the_form_begins_with_the_guides_defaults(
    configuration: CloudConfiguration, owner: Client, clock: Clock
) -> None:
    put_samples(configuration, clock(), 4)
    make_alarm(configuration, name="VCPUS in use")
    response = owner.get(where("alarm_new", configuration))
    form = response.context["form"]
    assert {name: form[name].value() for name in ("name", "topic", "threshold", "period_minutes")} == {
        "name": "vCPUs in use 2",
        "topic": "usage-alarms",
        "threshold": 5,
        "period_minutes": 5,
    }
    assert form["emails"].value() == configuration.organization.memberships.get().user.email
    assert "above the highest value of the last week (4)" in response.content.decode()


def test_an_alarm_is_made_and_its_endpoints_are_asked(
    configuration: CloudConfiguration, owner: Client, workers: Workers
) -> None:
    response = workers.do(lambda: owner.post(where("alarm_new", configuration), FORM))
    alarm = Alarm.objects.get()
    assert (response.status_code, response["Location"]) == (302, alarm.get_absolute_url())
    assert workers.sent == [("alarm", str(alarm.pk))]
    workers.work()
    alarm.refresh_from_db()
    assert (alarm.status, alarm.due_at, alarm.created_by) == (
        "READY",
        None,
        configuration.organization.memberships.get().user,
    )
    (mail,) = delivered()
    assert (mail.to, mail.subject) == (["ada@example.org"], "[bills] Do you want to be told about Big bill?")
    page = owner.get(alarm.get_absolute_url()).content.decode()
    assert "The alarm watches: more than 8 vCPUs for 5 minutes." in page
    assert "Nobody is told" in page


WRONG = {
    "no name": ({"name": " "}, "name"),
    "a taken name": ({"name": "TAKEN"}, "name"),
    "a long name": ({"name": "x" * 101}, "name"),
    "a topic with a blank": ({"topic": "my topic"}, "topic"),
    "a topic in another script": ({"topic": "schöne"}, "topic"),
    "no threshold": ({"threshold": ""}, "threshold"),
    "a threshold below nothing": ({"threshold": "-1"}, "threshold"),
    "a threshold that is no number": ({"threshold": "many"}, "threshold"),
    "half a vCPU": ({"threshold": "2.5"}, "threshold"),
    "an endless threshold": ({"threshold": "9" * 30}, "threshold"),
    "a period that is not offered": ({"period_minutes": "7"}, "period_minutes"),
    "no period": ({"period_minutes": ""}, "period_minutes"),
    "no address": ({"emails": " , "}, "emails"),
    "half an address": ({"emails": "ada@"}, "emails"),
    "too many addresses": ({"emails": " ".join(f"a{n}@example.org" for n in range(21))}, "emails"),
    "a null byte": ({"name": "a\0b"}, "name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_beside_the_field_and_what_was_typed_is_kept(
    configuration: CloudConfiguration, owner: Client, case: str
) -> None:
    make_alarm(configuration, name="taken")
    changed, field = WRONG[case]
    response = owner.post(where("alarm_new", configuration), {**FORM, **changed})
    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert 'value="bills"' in response.content.decode() or field == "topic"
    assert Alarm.objects.count() == 1
    assert AlarmEndpoint.objects.count() == len(delivered()) == 0


def test_a_name_is_free_again_once_its_alarm_is_gone_and_in_other_configurations(
    configuration: CloudConfiguration, owner: Client
) -> None:
    make_alarm(configuration, name="Big bill", status="TERMINATED")
    make_alarm(make_configuration(configuration.organization), name="Big bill")
    assert owner.post(where("alarm_new", configuration), FORM).status_code == 302


def test_there_is_an_end_to_alarms(configuration: CloudConfiguration, owner: Client) -> None:
    for _ in range(services_alarms.MOST_ALARMS):
        make_alarm(configuration)
    response = owner.post(where("alarm_new", configuration), FORM)
    assert response.status_code == 422
    assert "has 20 alarms already" in response.content.decode()


def test_a_metric_that_cannot_be_read_says_so_and_the_form_still_opens(
    configuration: CloudConfiguration, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> Sequence[Any]:
        raise CloudError("PermissionDenied", "It may not be read.", "Give the permission cloudwatch:GetMetricData.")

    monkeypatch.setattr(LocalAlarms, "metric_history", denied)
    alarm = make_alarm(configuration)
    for name, ids in (("alarms", ()), ("alarm_new", ()), ("alarm", (alarm.pk,))):
        page = owner.get(where(name, configuration, *ids))
        assert page.status_code == 200
        assert "Give the permission cloudwatch:GetMetricData." in page.content.decode()


def test_an_unknown_range_is_the_default(configuration: CloudConfiguration, owner: Client) -> None:
    for query in ("?range=1d", "?range=2w", "?range=9y", "?range=%00"):
        assert owner.get(where("alarms", configuration) + query).status_code == 200


# --- changing -------------------------------------------------------------------------------------------------------


def test_another_threshold_is_looked_at_anew(
    configuration: CloudConfiguration, owner: Client, workers: Workers, clock: Clock
) -> None:
    alarm = make_alarm(configuration, name="Big bill", threshold=8)
    put_samples(configuration, clock(), 5, 5, 5, 5, 5)
    observe()
    edited = {"name": "Big bill", "threshold": "4", "period_minutes": "5"}
    assert workers.do(lambda: owner.post(where("alarm_edit", configuration, alarm.pk), edited)).status_code == 302
    workers.work()
    observe()
    assert list(AlarmChange.objects.order_by("number").values_list("state", flat=True)) == ["OK", "ALARM"]


def test_what_is_wrong_in_an_edit(configuration: CloudConfiguration, owner: Client) -> None:
    make_alarm(configuration, name="taken")
    alarm = make_alarm(configuration, name="mine")
    for changed in ({"name": "Taken"}, {"threshold": "x"}, {"period_minutes": "1"}):
        form = {"name": "mine", "threshold": "4", "period_minutes": "5", **changed}
        response = owner.post(where("alarm_edit", configuration, alarm.pk), form)
        assert (response.status_code, list(response.context["form"].errors)) == (422, list(changed))


def test_saving_what_is_there_already_changes_nothing(configuration: CloudConfiguration, owner: Client) -> None:
    alarm = make_alarm(configuration)
    form = {"name": alarm.name, "threshold": alarm.threshold, "period_minutes": "5"}
    owner.post(where("alarm_edit", configuration, alarm.pk), form)
    assert Alarm.objects.get().revision == alarm.revision


def test_a_deleted_alarm_is_gone_with_its_addresses(
    configuration: CloudConfiguration, owner: Client, workers: Workers
) -> None:
    alarm = make_alarm(configuration)
    endpoint = make_endpoint(alarm)
    workers.do(lambda: owner.post(where("alarm_delete", configuration, alarm.pk)))
    with pytest.raises(UserError, match="AlarmGone"):
        services_alarms.resend_confirmation(actor=actor(), endpoint=endpoint)
    workers.work()
    assert Alarm.objects.get().status == "TERMINATED"
    assert not AlarmEndpoint.objects.exists()
    assert owner.get(alarm.get_absolute_url()).status_code == 404


def test_a_configuration_with_an_alarm_is_not_forgotten(configuration: CloudConfiguration, workers: Workers) -> None:
    alarm = make_alarm(configuration, name="Big bill")
    with pytest.raises(UserError, match="is used by the usage alarm Big bill"):
        workspaces.delete_configuration(actor=actor(), configuration=configuration)
    workers.do(lambda: services_alarms.delete_alarm(actor=actor(), alarm=alarm))
    workers.work()
    workspaces.delete_configuration(actor=actor(), configuration=configuration)
    with pytest.raises(UserError, match="ConfigurationGone"):
        services_alarms.create_alarm(
            actor=actor(), configuration=configuration, name="x", topic="t", threshold=1, period_minutes=5, emails=[]
        )


def test_alarms_go_with_their_organization(configuration: CloudConfiguration, workers: Workers) -> None:
    from accounts import hooks

    make_alarm(configuration)
    other = make_alarm()
    organization: Organization = configuration.organization
    for deleted in hooks.organization_deleted:
        deleted(actor(), organization)
    assert list(Alarm.objects.exclude(target="TERMINATED")) == [other]


# --- endpoints ------------------------------------------------------------------------------------------------------


def test_endpoints_are_added_once_and_asked(configuration: CloudConfiguration, owner: Client) -> None:
    alarm = make_alarm(configuration)
    make_endpoint(alarm, address="ada@example.org")
    form = {"emails": "ADA@example.org, bob@example.org"}
    assert owner.post(where("alarm_endpoint_add", configuration, alarm.pk), form).status_code == 302
    assert [mail.to for mail in delivered()] == [["bob@example.org"]]
    assert owner.post(where("alarm_endpoint_add", configuration, alarm.pk), {"emails": "nobody"}).status_code == 422


def test_an_endpoint_is_asked_again_but_not_for_ever(configuration: CloudConfiguration, owner: Client) -> None:
    """The address is the one who is pestered, whichever alarm does it."""
    alarm, other = make_alarm(configuration), make_alarm()
    endpoint = make_endpoint(alarm, EndpointState.UNSUBSCRIBED, address="ada-often@example.org")
    resend = where("alarm_endpoint_resend", configuration, alarm.pk, endpoint.pk)
    for _ in range(4):
        assert owner.post(resend).status_code == 302
    assert AlarmEndpoint.objects.get().state == "PENDING"
    services_alarms.add_endpoints(actor=actor(), alarm=other, emails=["ada-often@example.org"])
    refused = owner.post(resend)
    assert refused.status_code == 429
    assert "AskedTooOften" in refused.content.decode()
    assert len(delivered()) == 5
    assert AlarmEndpoint.objects.get(alarm=alarm).asked == 5


def test_who_has_confirmed_is_not_asked_again(configuration: CloudConfiguration, owner: Client) -> None:
    endpoint = make_endpoint(make_alarm(configuration))
    refused = owner.post(where("alarm_endpoint_resend", configuration, endpoint.alarm_id, endpoint.pk))
    assert refused.status_code == 409
    assert delivered() == []


def test_an_endpoint_is_removed(configuration: CloudConfiguration, owner: Client) -> None:
    endpoint = make_endpoint(make_alarm(configuration))
    remove = where("alarm_endpoint_remove", configuration, endpoint.alarm_id, endpoint.pk)
    assert owner.post(remove).status_code == 302
    assert not AlarmEndpoint.objects.exists()
    assert owner.post(remove).status_code == 404


# --- the reconciler -------------------------------------------------------------------------------------------------


class Elsewhere:
    """A provider that takes its time, fails, and keeps the endpoints itself."""

    portal_sends = False
    observe_seconds = 0.0

    def __init__(self) -> None:
        self.next: list[Callable[[], Step]] = []
        self.specs: list[tuple[AlarmSpec, Target]] = []
        self.endpoints: dict[str, EndpointState] = {}

    def advance_alarm(self, spec: AlarmSpec, handle: Handle, target: Target) -> Step:
        self.specs.append((spec, target))
        return self.next.pop(0)() if self.next else Step(handle, Settled())

    def observe_alarms(self, alarms: Sequence[tuple[AlarmSpec, Handle]]) -> Sequence[AlarmObservation]:
        from django.utils import timezone

        return [AlarmObservation(AlarmState.OK, "Fine.", timezone.now(), self.endpoints) for _ in alarms]

    def fails(self) -> None:
        error = CloudError("PermissionDenied", "It may not.", "Give the permission sns:CreateTopic.", permanent=True)
        self.next.append(lambda: Step({}, Failed(error)))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    provider = Elsewhere()
    for module in ("alarms_reconcile", "services_alarms"):
        monkeypatch.setattr(f"billing.{module}.alarms_of", lambda _: provider)
    return provider


def test_a_failure_shows_its_remedy_and_can_be_tried_again(
    configuration: CloudConfiguration, owner: Client, workers: Workers, elsewhere: Elsewhere
) -> None:
    elsewhere.fails()
    workers.do(lambda: owner.post(where("alarm_new", configuration), FORM))
    workers.work()
    alarm = Alarm.objects.get()
    assert alarm.status == "FAILED"
    assert delivered() == [], "there, the provider asks"
    page = owner.get(alarm.get_absolute_url()).content.decode()
    assert "Give the permission sns:CreateTopic." in page
    assert "Try again" in page
    workers.do(lambda: owner.post(where("alarm_retry", configuration, alarm.pk)))
    workers.work()
    alarm.refresh_from_db()
    assert (alarm.status, alarm.failure_code) == ("READY", "")


def test_a_removal_that_fails_is_tried_until_it_is_done(
    configuration: CloudConfiguration, workers: Workers, elsewhere: Elsewhere
) -> None:
    alarm = make_alarm(configuration)
    make_endpoint(alarm)
    for _ in range(3):
        elsewhere.fails()
    workers.do(lambda: services_alarms.delete_alarm(actor=actor(), alarm=alarm))
    workers.run(alarm)
    alarm.refresh_from_db()
    assert (alarm.status, alarm.endpoints.count()) == ("TERMINATING", 1)
    assert alarm.due_at
    workers.work()
    alarm.refresh_from_db()
    assert (alarm.status, alarm.endpoints.count()) == ("TERMINATED", 0)


def test_what_takes_its_time_is_under_way(
    configuration: CloudConfiguration, workers: Workers, elsewhere: Elsewhere
) -> None:
    alarm = make_alarm(configuration, status="NEW", due_at="2026-01-01T00:00:00Z")
    elsewhere.next.append(lambda: Step({"steps": {}}, Pending(5)))
    engine.run("alarm", str(alarm.pk))
    alarm.refresh_from_db()
    assert (alarm.status, alarm.handle) == ("INPROGRESS", {"steps": {}})


def test_endpoints_stand_as_the_provider_says(
    configuration: CloudConfiguration, elsewhere: Elsewhere, workers: Workers
) -> None:
    alarm = make_alarm(configuration)
    waits, left, says_yes = (
        make_endpoint(alarm, EndpointState.PENDING, address="waits@example.org"),
        make_endpoint(alarm, EndpointState.CONFIRMED, address="left@example.org"),
        make_endpoint(alarm, EndpointState.PENDING, address="yes@example.org"),
    )
    elsewhere.endpoints = {"yes@example.org": EndpointState.CONFIRMED}
    observe()
    for endpoint in (waits, left, says_yes):
        endpoint.refresh_from_db()
    assert (waits.state, left.state, says_yes.state) == ("PENDING", "UNSUBSCRIBED", "CONFIRMED")
    messages = set(DeploymentEvent.objects.of(alarm.pk).values_list("message", flat=True))
    assert messages == {"left@example.org is unsubscribed now.", "yes@example.org is confirmed now."}
    alarm.refresh_from_db()
    assert alarm.due_at is None


def test_who_confirms_after_the_removal_is_removed_there_too(
    configuration: CloudConfiguration, elsewhere: Elsewhere, workers: Workers
) -> None:
    alarm = make_alarm(configuration)
    elsewhere.endpoints = {"removed@example.org": EndpointState.CONFIRMED}
    workers.do(observe)
    alarm.refresh_from_db()
    assert alarm.due_at
    assert ("alarm", str(alarm.pk)) in workers.sent


def test_the_provider_learns_who_is_wanted_and_how_often_they_were_asked(
    configuration: CloudConfiguration, elsewhere: Elsewhere, workers: Workers
) -> None:
    alarm = make_alarm(configuration, threshold=7, period_minutes=15)
    make_endpoint(alarm, EndpointState.UNSUBSCRIBED)
    waits = make_endpoint(alarm, EndpointState.PENDING)
    workers.do(lambda: services_alarms.resend_confirmation(actor=actor(), endpoint=waits))
    workers.work()
    spec, target = elsewhere.specs[-1]
    assert (spec.threshold, spec.period, target) == (7, 900, Target.RUNNING)
    assert spec.endpoints == {waits.address: 2}
