"""What is asked of AWS, and what its answers mean to a buyer. The server is the test's own; AWS itself is not asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from botocore.config import Config
from django.test import Client
from pytest_django import Settings

from accounts import marketplace
from accounts.models import MarketplaceRegistration, MarketplaceSubscription
from tests.accounts.marketplace_server import Marketplace, marketplace_server

pytestmark = pytest.mark.django_db
ACCOUNT = "123456789012"
LICENSE = f"arn:aws:license-manager::{ACCOUNT}:license:l-0123456789abcdef"
TOKEN = "a-token/from+aws=="


@pytest.fixture(scope="module")
def server() -> Iterator[Marketplace]:
    """One for all tests, as making a client of boto3's costs half a second."""
    real = Config

    def impatient(**options: object) -> Config:
        """The timeouts are seconds; nobody waits for them here."""
        return real(**{**options, "connect_timeout": 0.5, "read_timeout": 0.5})

    with marketplace_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_MARKETPLACE_METERING", server.address)
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setattr("botocore.config.Config", impatient)
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
        marketplace.client.cache_clear()
        yield server
    marketplace.client.cache_clear()


@pytest.fixture
def aws(server: Marketplace, settings: Settings) -> Marketplace:
    settings.PORTAL_MARKETPLACE = "aws"
    settings.PORTAL_MARKETPLACE_PRODUCT_CODES = ["prod-1"]
    server.asked.clear()
    server.sells(ProductCode="prod-1", CustomerAWSAccountId=ACCOUNT, LicenseArn=LICENSE)
    return server


@pytest.fixture
def new_client() -> Iterator[None]:
    """For tests that change what a client reads once."""
    marketplace.client.cache_clear()
    yield
    marketplace.client.cache_clear()


def arrive(browser: Client, token: str | None = TOKEN) -> tuple[int, str]:
    """The status, and the code of the refusal or the word ``claim``."""
    response = browser.post("/marketplace/register/", {"x-amzn-marketplace-token": token} if token is not None else {})
    if response.status_code == 303:
        return 303, response["Location"].split("/")[2]
    return response.status_code, str(response.context["error"].code)


def test_a_token_is_resolved(browser: Client, aws: Marketplace) -> None:
    assert arrive(browser) == (303, "claim")
    assert aws.asked == [("AWSMPMeteringService.ResolveCustomer", {"RegistrationToken": TOKEN})]
    found = MarketplaceSubscription.objects.get()
    assert (found.product_code, found.customer, found.account_id) == ("prod-1", ACCOUNT, ACCOUNT)
    assert (found.license_arn, found.customer_identifier, found.sandbox) == (LICENSE, "", False)


def test_an_older_product_has_a_customer_identifier_and_no_licence(browser: Client, aws: Marketplace) -> None:
    aws.sells(ProductCode="prod-1", CustomerAWSAccountId=ACCOUNT, CustomerIdentifier="ifAPi5AcF3")
    assert arrive(browser) == (303, "claim")
    found = MarketplaceSubscription.objects.get()
    assert (found.customer, found.customer_identifier, found.license_arn) == (ACCOUNT, "ifAPi5AcF3", "")


@pytest.mark.parametrize(
    ("code", "status", "page"),
    [
        ("InvalidTokenException", 400, (400, "MarketplaceTokenInvalid")),
        ("ExpiredTokenException", 400, (410, "MarketplaceTokenExpired")),
        ("ThrottlingException", 400, (503, "MarketplaceBusy")),
        ("InternalServiceErrorException", 500, (503, "MarketplaceBusy")),
        ("Whatever", 502, (503, "MarketplaceBusy")),
        ("DisabledApiException", 400, (502, "MarketplaceRefused")),
        ("AccessDeniedException", 400, (502, "MarketplaceRefused")),
        ("UnrecognizedClientException", 400, (502, "MarketplaceRefused")),
    ],
)
def test_each_refusal_has_its_page(
    browser: Client, aws: Marketplace, code: str, status: int, page: tuple[int, str]
) -> None:
    aws.fails(code, status)
    assert arrive(browser) == page
    assert not MarketplaceSubscription.objects.exists()


def test_what_went_wrong_does_not_use_the_token_up(browser: Client, aws: Marketplace) -> None:
    """Throttled, broken, silent, then answered: the buyer reloads the page and goes on."""
    for code in ("ThrottlingException", "InternalServiceErrorException"):
        aws.fails(code, 400)
        assert arrive(browser) == (503, "MarketplaceBusy")
    aws.hang = True
    assert arrive(browser) == (503, "MarketplaceBusy")
    aws.sells(ProductCode="prod-1", CustomerAWSAccountId=ACCOUNT)
    assert arrive(browser) == (303, "claim")


def test_silence_is_not_waited_for_for_ever(browser: Client, aws: Marketplace) -> None:
    aws.hang = True
    assert arrive(browser) == (503, "MarketplaceBusy")
    assert len(aws.asked) == 2  # once more, and no more


@pytest.mark.parametrize("answer", ["", "<html>Bad gateway</html>", "[1, 2]", "{", "null", '{"Customer'])
def test_nonsense_is_no_answer(browser: Client, aws: Marketplace, answer: str) -> None:
    aws.status, aws.answer = 200, answer
    assert arrive(browser) == (503, "MarketplaceBusy")
    assert not MarketplaceSubscription.objects.exists()


@pytest.mark.parametrize(
    "answer",
    [{}, {"ProductCode": "prod-1"}, {"CustomerAWSAccountId": ACCOUNT}, {"ProductCode": "", "CustomerAWSAccountId": ""}],
)
def test_half_an_answer_is_none(browser: Client, aws: Marketplace, answer: dict[str, str]) -> None:
    aws.sells(**answer)
    assert arrive(browser) == (503, "MarketplaceBusy")
    assert not MarketplaceSubscription.objects.exists()


@pytest.mark.usefixtures("new_client")
def test_nobody_listens(browser: Client, aws: Marketplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_MARKETPLACE_METERING", "http://127.0.0.1:9")
    assert arrive(browser) == (503, "MarketplaceBusy")


@pytest.mark.usefixtures("new_client")
def test_without_credentials_the_operator_is_told(
    browser: Client, aws: Marketplace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    assert arrive(browser) == (502, "MarketplaceRefused")
    assert "cannot be asked" in caplog.text


def test_a_product_of_somebody_else_is_refused(browser: Client, aws: Marketplace) -> None:
    aws.sells(ProductCode="prod-2", CustomerAWSAccountId=ACCOUNT)
    assert arrive(browser) == (409, "MarketplaceProductUnknown")
    assert not MarketplaceSubscription.objects.exists()


@pytest.mark.parametrize("token", ["x" * 8193, "a b\x00c", "ключ", "a\nb", "\x7f"])
def test_what_cannot_be_a_token_is_not_sent_on(browser: Client, aws: Marketplace, token: str) -> None:
    assert arrive(browser, token) == (400, "MarketplaceTokenInvalid")
    assert aws.asked == []


@pytest.mark.parametrize("token", [None, ""])
def test_nothing_is_not_sent_on_either(browser: Client, aws: Marketplace, token: str | None) -> None:
    assert arrive(browser, token) == (422, "MarketplaceTokenMissing")
    assert aws.asked == []


def test_a_used_token_is_not_sent_on(browser: Client, aws: Marketplace) -> None:
    arrive(browser)
    assert arrive(browser) == (409, "MarketplaceTokenUsed")
    assert len(aws.asked) == 1
    assert MarketplaceRegistration.objects.count() == 1


def test_no_token_is_kept_or_logged(browser: Client, aws: Marketplace, caplog: pytest.LogCaptureFixture) -> None:
    from django.db import connection

    caplog.set_level(logging.DEBUG, "accounts")
    for code in ("ThrottlingException", "AccessDeniedException"):
        aws.fails(code)
        arrive(browser)
    aws.sells(ProductCode="prod-1", CustomerAWSAccountId=ACCOUNT)
    arrive(browser)
    assert TOKEN not in caplog.text
    with connection.cursor() as cursor:
        for table in ("accounts_marketplaceregistration", "accounts_marketplacesubscription", "accounts_auditevent"):
            cursor.execute(f"SELECT t::text FROM {table} t")
            assert all(TOKEN not in str(row) for row in cursor.fetchall())


def test_a_licence_told_later_belongs_to_the_same_customer(browser: Client, aws: Marketplace) -> None:
    aws.sells(ProductCode="prod-1", CustomerAWSAccountId=ACCOUNT)
    arrive(browser, "one")
    aws.sells(ProductCode="prod-1", CustomerAWSAccountId=ACCOUNT, LicenseArn=LICENSE)
    arrive(browser, "two")
    assert MarketplaceSubscription.objects.get().license_arn == LICENSE
    aws.sells(ProductCode="prod-1", CustomerAWSAccountId=ACCOUNT)
    arrive(browser, "three")
    assert MarketplaceSubscription.objects.count() == 1


def test_a_second_agreement_of_one_customer_is_another_subscription(browser: Client, aws: Marketplace) -> None:
    arrive(browser, "one")
    aws.sells(ProductCode="prod-1", CustomerAWSAccountId=ACCOUNT, LicenseArn=f"{LICENSE}0")
    arrive(browser, "two")
    assert MarketplaceSubscription.objects.count() == 2


def test_switched_off_the_address_says_so(browser: Client, settings: Settings) -> None:
    settings.PORTAL_MARKETPLACE = "off"
    assert arrive(browser) == (404, "MarketplaceOff")
    assert browser.get("/marketplace/sandbox/").status_code == 404
