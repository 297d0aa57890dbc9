"""What contracts grant, and what becomes of a customer whose contract has expired. The server is the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from django.utils import timezone
from pytest_django import Settings

from accounts import entitlements, marketplace
from accounts import services_subscriptions as subscriptions
from accounts.audit import SYSTEM
from accounts.models import AuditEvent, MarketplaceSubscription, Organization
from accounts.services_marketplace import link
from accounts.services_subscriptions import Granted
from tests.accounts.entitlement_server import Entitlements, entitlement_server
from tests.accounts.test_subscriptions import event, sns, state_of, suspended, take
from tests.factories import make_organization, make_subscription, make_user
from tests.fakes import Clock

pytestmark = pytest.mark.django_db
LICENSE = "arn:aws:license-manager::123456789012:license:l-0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[Entitlements]:
    real = Config

    def impatient(**options: object) -> Config:
        return real(**{**options, "connect_timeout": 0.5, "read_timeout": 0.5})

    with entitlement_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_MARKETPLACE_ENTITLEMENT_SERVICE", server.address)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setattr("botocore.config.Config", impatient)
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        marketplace.client.cache_clear()
        yield server
    marketplace.client.cache_clear()


@pytest.fixture
def aws(server: Entitlements, settings: Settings) -> Entitlements:
    settings.PORTAL_MARKETPLACE = "aws"
    settings.PORTAL_MARKETPLACE_PRODUCT_CODES = ["contract-1", "prod-1"]
    settings.PORTAL_MARKETPLACE_CONTRACT_CODES = ["contract-1"]
    server.asked.clear()
    return server


@pytest.fixture
def organization() -> Organization:
    return make_organization(make_user("owner"))


@pytest.fixture
def contract(organization: Organization, clock: Clock) -> MarketplaceSubscription:
    return make_subscription(
        organization,
        product_code="contract-1",
        sandbox=False,
        license_arn=LICENSE,
        entitlements_due_at=clock(),
        linked_at=clock(),
        active_since=clock(),
    )


def seats(count: int, until: datetime | None) -> dict[str, Any]:
    return {
        "ProductCode": "contract-1",
        "Dimension": "seats",
        "Value": {"IntegerValue": count},
        **({"ExpirationDate": int(until.timestamp())} if until else {}),
    }


def test_what_aws_says_is_kept_and_asked_again(
    aws: Entitlements, contract: MarketplaceSubscription, clock: Clock
) -> None:
    until = clock() + timedelta(days=300)
    aws.grants(seats(5, until), {"Dimension": "support", "Value": {"BooleanValue": True}})
    assert entitlements.read_due() == 1
    assert aws.asked == [
        {"ProductCode": "contract-1", "Filter": {"LICENSE_ARN": [LICENSE]}},
        {"ProductCode": "contract-1", "Filter": {"LICENSE_ARN": [LICENSE]}, "NextToken": "more"},
    ]
    rows = contract.entitlements.order_by("dimension").values_list("dimension", "value", "expires_at")
    assert list(rows) == [("seats", "5", until.replace(microsecond=0)), ("support", "True", None)]
    assert entitlements.read_due() == 0
    clock.move(minutes=61)
    aws.grants(seats(7, until))
    assert entitlements.read_due() == 1
    assert list(contract.entitlements.values_list("dimension", "value")) == [("seats", "7")]
    assert state_of(contract) == "ACTIVE"


@pytest.mark.parametrize(
    ("fields", "filter"),
    [
        ({"license_arn": ""}, {"CUSTOMER_AWS_ACCOUNT_ID": "account_id"}),
        (
            {"license_arn": "", "account_id": "", "customer_identifier": "c1"},
            {"CUSTOMER_IDENTIFIER": "customer_identifier"},
        ),
    ],
)
def test_older_customers_are_asked_for_by_what_is_known(
    aws: Entitlements, contract: MarketplaceSubscription, fields: dict[str, str], filter: dict[str, str]
) -> None:
    MarketplaceSubscription.objects.update(**fields)
    contract.refresh_from_db()
    aws.grants()
    entitlements.read_due()
    assert aws.asked[0]["Filter"] == {name: [getattr(contract, field)] for name, field in filter.items()}


def test_a_contract_that_expires_suspends_and_a_renewal_brings_it_back(
    aws: Entitlements, contract: MarketplaceSubscription, organization: Organization, clock: Clock
) -> None:
    until = clock() + timedelta(minutes=20)
    aws.grants(seats(5, until))
    entitlements.read_due()
    clock.move(minutes=21)  # asked at its end, and not only after an hour
    assert entitlements.read_due() == 1
    assert state_of(contract) == "EXPIRED"
    assert suspended(organization)
    event_of = AuditEvent.objects.get(verb="marketplace_subscription.change")
    assert event_of.detail["reason"] == "no entitlement is in force"
    aws.grants(seats(5, clock() + timedelta(days=365)))
    assert entitlements.read_due() == 0
    take(sns("entitlement-updated", contract))
    clock.move(seconds=1)
    assert entitlements.read_due() == 1
    assert state_of(contract) == "ACTIVE"
    assert not suspended(organization)


def test_a_new_contract_has_an_hour_until_aws_knows_of_it(
    aws: Entitlements, contract: MarketplaceSubscription, clock: Clock
) -> None:
    aws.grants()
    entitlements.read_due()
    assert state_of(contract) == "ACTIVE"
    clock.move(minutes=61)
    entitlements.read_due()
    assert state_of(contract) == "EXPIRED"


def test_a_subscription_alone_does_not_bring_an_expired_contract_back(
    aws: Entitlements, contract: MarketplaceSubscription, clock: Clock
) -> None:
    aws.grants(seats(5, clock() - timedelta(days=1)))
    entitlements.read_due()
    clock.move(minutes=1)
    take(event("License Updated - Manufacturer", contract))
    assert state_of(contract) == "EXPIRED"
    clock.move(seconds=1)
    aws.grants(seats(5, clock() + timedelta(days=1)))
    assert entitlements.read_due() == 1  # the event has them read at once
    assert state_of(contract) == "ACTIVE"


@pytest.mark.parametrize("status", ["FAILED", "CANCELLING", "ENDED"])
def test_entitlements_do_not_undo_what_the_subscription_says(
    aws: Entitlements, contract: MarketplaceSubscription, clock: Clock, status: str
) -> None:
    MarketplaceSubscription.objects.update(state=status, suspended_at=clock(), active_since=None)
    for granted in ([seats(5, clock() + timedelta(days=1))], []):
        aws.grants(*granted)
        MarketplaceSubscription.objects.update(entitlements_due_at=clock())
        entitlements.read_due()
        clock.move(hours=2)
        assert state_of(contract) == status


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 400), ("InternalServiceErrorException", 500), ("AccessDeniedException", 400)],
)
def test_where_aws_does_not_answer_what_is_known_stays(
    aws: Entitlements,
    contract: MarketplaceSubscription,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    code: str,
    status: int,
) -> None:
    aws.grants(seats(5, clock() + timedelta(minutes=30)))
    entitlements.read_due()
    clock.move(hours=3)
    aws.fails(code, status)
    assert entitlements.read_due() == 0
    assert (state_of(contract), contract.entitlements.count()) == ("ACTIVE", 1)
    assert "does not say what" in caplog.text
    aws.grants(seats(5, clock() + timedelta(days=1)))
    assert entitlements.read_due() == 0  # somebody else may be asking still
    clock.move(minutes=3)
    assert entitlements.read_due() == 1


@pytest.mark.parametrize("page", [b"", b"nonsense", {"Entitlements": [{"Value": {}}]}, {"Entitlements": "x"}])
def test_nonsense_is_no_answer(aws: Entitlements, contract: MarketplaceSubscription, page: Any) -> None:
    contract.entitlements.create(dimension="seats", value="5")
    aws.status, aws.pages = 200, [page]
    assert entitlements.read_due() == 0
    assert (state_of(contract), contract.entitlements.count()) == ("ACTIVE", 1)


def test_pages_without_an_end_are_given_up(aws: Entitlements, contract: MarketplaceSubscription) -> None:
    aws.status, aws.pages = 200, [{"Entitlements": [], "NextToken": "more"}]
    assert entitlements.read_due() == 0
    assert len(aws.asked) == entitlements.PAGES


def test_an_answer_that_is_older_than_the_last_is_dropped(contract: MarketplaceSubscription, clock: Clock) -> None:
    now = clock()
    later, earlier = [Granted("seats", "9", None)], [Granted("seats", "1", now - timedelta(days=1))]
    for granted, read_at in ((later, now), (earlier, now - timedelta(seconds=1))):
        subscriptions.record_entitlements(actor=SYSTEM, subscription=contract, granted=granted, read_at=read_at)
    assert contract.entitlements.get().value == "9"
    assert state_of(contract) == "ACTIVE"


def test_only_contracts_are_asked_for(aws: Entitlements, organization: Organization, clock: Clock) -> None:
    plain = make_subscription(product_code="prod-1", sandbox=False)
    link(actor=SYSTEM, subscription=plain, organization=organization)
    clock.move(seconds=1)
    take(sns("entitlement-updated", plain))
    clock.move(seconds=1)
    assert entitlements.read_due() == 0
    assert aws.asked == []


def test_linking_has_a_contract_s_entitlements_read(aws: Entitlements, organization: Organization) -> None:
    row = make_subscription(product_code="contract-1", sandbox=False)
    link(actor=SYSTEM, subscription=row, organization=organization)
    aws.grants(seats(1, timezone.now() + timedelta(days=1)))
    assert entitlements.read_due() == 1
