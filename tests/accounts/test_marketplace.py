"""From the button in AWS Marketplace to an organization with its subscription, with the sandbox in AWS's part."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts import sandbox, services_marketplace
from accounts.audit import Actor
from accounts.marketplace import Purchase
from accounts.models import (
    AuditEvent,
    MarketplaceRegistration,
    MarketplaceSubscription,
    Organization,
    PendingSignup,
    User,
)
from accounts.permissions import OrganizationRole
from accounts.services_organizations import delete_organization
from portal.errors import UserError
from tests.accounts.conftest import new_browser
from tests.accounts.steps import CHECK_MAIL, FORM, activate, address, at_once, sign_in, sign_up
from tests.factories import PASSWORD, actor, add_to_organization, make_organization, make_user
from tests.fakes import Clock
from tests.mailbox import delivered, link_in_mail

pytestmark = pytest.mark.django_db
ACCOUNT = "123456789012"
REGISTER = "/marketplace/register/"
BUYER = Actor("visitor", "AWS Marketplace buyer")


def token(account: str = ACCOUNT, product: str = "sandbox-product", **options: Any) -> str:
    return sandbox.token_for(Purchase(product, account, license_arn=sandbox.license_of(account, product)), **options)


def post(browser: Client, text: str) -> Any:
    """As AWS's page lets the buyer's browser do it: from another site, so without our cookies."""
    elsewhere = Client(enforce_csrf_checks=True, REMOTE_ADDR=browser.defaults["REMOTE_ADDR"])
    response = elsewhere.post(REGISTER, {"x-amzn-marketplace-token": text}, headers={"origin": "https://aws.example"})
    assert not response.cookies  # one would replace that of somebody who is signed in
    return response


def arrive(browser: Client, text: str = "") -> str:
    """From the token to the address of the form."""
    claim = post(browser, text or token())
    assert claim.status_code == 303, claim.content
    response = browser.get(claim["Location"])
    assert response.status_code == 302, response.content
    return str(response["Location"])


def code_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.context["error"].code


# --- the good way ---------------------------------------------------------------------------------------------------


def test_a_buyer_becomes_the_owner_of_a_subscribed_organization(browser: Client) -> None:
    form = arrive(browser)
    page = browser.get(form).content.decode()
    assert ACCOUNT in page
    assert "sandbox: nobody pays" in page
    assert sign_up(browser, form)["Location"] == CHECK_MAIL
    assert not User.objects.exists()
    assert ACCOUNT in browser.get(link_in_mail()).content.decode()
    activate(browser)
    assert sign_in(browser, address(browser))["Location"] == "/"
    organization = Organization.objects.get()
    assert browser.get("/")["Location"] == f"/o/{organization.pk}/workspaces/"
    subscription = MarketplaceSubscription.objects.get()
    assert (subscription.organization, subscription.state, subscription.customer) == (organization, "ACTIVE", ACCOUNT)
    assert subscription.sandbox
    bill = browser.get(f"/o/{organization.pk}/billing/").content.decode()
    assert f"Subscribed through AWS Marketplace (sandbox), account {ACCOUNT}." in bill
    verbs = list(AuditEvent.objects.order_by("number").values_list("verb", flat=True))
    assert verbs == [
        "marketplace_registration.create",
        "marketplace_registration.claim",
        "user.sign_up",
        "user.activate",
        "organization.create",
        "marketplace_subscription.link",
        "user.sign_in",
    ]
    event = AuditEvent.objects.get(verb="marketplace_subscription.link")
    assert (event.organization, event.detail["account"]) == (organization, ACCOUNT)


def test_buyers_may_sign_up_where_nobody_else_may(browser: Client, settings: Settings) -> None:
    settings.PORTAL_SIGNUP_OPEN = False
    sign_up(browser, arrive(browser))
    activate(browser)
    assert MarketplaceSubscription.objects.get().organization == Organization.objects.get()


def test_somebody_signed_in_stays_so_and_makes_a_new_organization(browser: Client) -> None:
    user = make_user("bob")
    browser.force_login(user)
    session = browser.cookies["sessionid"].value
    form = arrive(browser)
    assert browser.cookies["sessionid"].value == session
    assert user.email in browser.get(form).content.decode()
    assert browser.post(form, {"target": "new", "organization": ""}).status_code == 422
    made = browser.post(form, {"target": "new", "organization": "Initech"})
    organization = Organization.objects.get()
    assert made["Location"] == f"/o/{organization.pk}/workspaces/"
    assert MarketplaceSubscription.objects.get().organization == organization


def test_somebody_signed_in_may_choose_an_organization_whose_subscriptions_they_manage(browser: Client) -> None:
    user = make_user("bob")
    own, paid, billed, administered, foreign = (
        make_organization(name=name) for name in ("Own", "Paid", "Billed", "Administered", "Foreign")
    )
    for organization, role in (
        (own, OrganizationRole.OWNER),
        (paid, OrganizationRole.OWNER),
        (billed, OrganizationRole.BILLING),
        (administered, OrganizationRole.ADMIN),
    ):
        add_to_organization(organization, user, role)
    browser.force_login(user)
    form = arrive(browser, token("1" * 12))
    browser.post(form, {"target": str(paid.pk)})
    form = arrive(browser)
    choices = [name for _, name in browser.get(form).context["form"].fields["target"].choices]
    assert choices == ["a new organization", "Billed", "Own"]
    for organization in (foreign, administered, paid):
        assert browser.post(form, {"target": str(organization.pk)}).status_code == 422
    assert browser.post(form, {"target": str(own.pk)})["Location"] == f"/o/{own.pk}/workspaces/"
    assert MarketplaceSubscription.objects.get(customer=ACCOUNT).organization == own


def test_a_role_that_is_gone_when_the_form_arrives_links_nothing(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = make_user("bob")
    organization = make_organization(user)
    browser.force_login(user)
    form = arrive(browser)
    original = services_marketplace.subscribe

    def late(**given: Any) -> Organization:
        user.memberships.update(role=OrganizationRole.MEMBER)
        return original(**given)

    monkeypatch.setattr(services_marketplace, "subscribe", late)
    response = browser.post(form, {"target": str(organization.pk)})
    assert response.status_code == 403
    assert MarketplaceSubscription.objects.get().organization is None


def test_signing_in_on_the_way_keeps_the_registration(browser: Client) -> None:
    user = make_user("bob")
    form = arrive(browser)
    login = re.search(r'href="(/accounts/login/\?next=[^"]+)"', browser.get(form).content.decode())
    assert login
    response = browser.post(login[1], {"login": user.email, "password": PASSWORD})
    assert response["Location"] == form
    assert "Link the subscription" in browser.get(form).content.decode()


# --- once, and only here --------------------------------------------------------------------------------------------


def test_a_token_works_once(browser: Client) -> None:
    text = token()
    arrive(browser, text)
    for again in (browser, new_browser()):
        assert code_of(post(again, text)) == (409, "MarketplaceTokenUsed")
    assert MarketplaceRegistration.objects.count() == 1


def test_a_claim_works_once_and_in_one_browser(browser: Client) -> None:
    claim = post(browser, token())["Location"]
    assert browser.head(claim).status_code == 302  # who only looks ahead takes nothing
    form = browser.get(claim)["Location"]
    thief = new_browser()
    for other in (thief, browser):
        assert code_of(other.get(claim)) == (409, "RegistrationClaimed")
    assert code_of(thief.get(form)) == (404, "RegistrationElsewhere")
    assert code_of(sign_up(thief, form)) == (404, "RegistrationElsewhere")
    assert browser.get(form).status_code == 200
    assert not PendingSignup.objects.exists()


@pytest.mark.parametrize("key", ["x", "%00", "x" * 900])
def test_an_invented_claim_is_none(browser: Client, key: str) -> None:
    assert code_of(browser.get(f"/marketplace/claim/{key}/")) == (409, "RegistrationClaimed")


def test_a_lost_session_is_explained(browser: Client) -> None:
    form = arrive(browser)
    browser.cookies.clear()
    response = sign_up(browser, form)
    assert code_of(response) == (404, "RegistrationElsewhere")
    assert "Set up your account" in response.content.decode()


@pytest.mark.parametrize(("minutes", "works"), [(44, True), (46, False)])
def test_a_registration_ends_after_three_quarters_of_an_hour(
    browser: Client, clock: Clock, minutes: int, works: bool
) -> None:
    form = arrive(browser)
    clock.move(minutes=minutes)
    for response in (browser.get(form), sign_up(browser, form)):
        assert (response.status_code in {200, 302}) == works
        assert works or code_of(response) == (410, "RegistrationExpired")
    assert PendingSignup.objects.exists() == works


def test_a_claim_that_comes_too_late_is_none(browser: Client, clock: Clock) -> None:
    claim = post(browser, token())["Location"]
    clock.move(minutes=46)
    assert code_of(browser.get(claim)) == (409, "RegistrationClaimed")


def test_two_tabs_have_two_registrations(browser: Client) -> None:
    first, second = arrive(browser, token("1" * 12)), arrive(browser, token("2" * 12))
    sign_up(browser, first, organization="First")
    sign_up(browser, second, organization="Second", email=f"second-{address(browser)}")
    linked = PendingSignup.objects.values_list("organization_name", "subscription__customer")
    assert dict(linked) == {"First": "1" * 12, "Second": "2" * 12}


def test_a_mistyped_address_is_corrected_with_the_back_button(browser: Client) -> None:
    form = arrive(browser)
    sign_up(browser, form, email=f"typo-{address(browser)}")
    sign_up(browser, form)
    activate(browser, address(browser))
    assert MarketplaceSubscription.objects.get().organization == Organization.objects.get()


def test_after_it_is_done_the_back_button_says_so(browser: Client) -> None:
    browser.force_login(make_user("bob"))
    form = arrive(browser)
    browser.post(form, {"target": "new", "organization": "Initech"})
    for response in (browser.get(form), browser.post(form, {"target": "new", "organization": "Again"})):
        assert code_of(response) == (409, "SubscriptionLinked")
        assert "Initech" in response.content.decode()
    assert Organization.objects.count() == 1


# --- a subscription pays for one organization -----------------------------------------------------------------------


def test_nobody_takes_a_subscription_that_is_linked(browser: Client) -> None:
    sign_up(browser, arrive(browser))
    activate(browser)
    again = post(new_browser(), token())
    assert code_of(again) == (409, "SubscriptionLinked")
    assert "Sign in to use it" in again.content.decode()
    assert "Initech" in again.content.decode()
    assert MarketplaceSubscription.objects.count() == 1


def test_who_activates_second_learns_that_the_subscription_is_gone(browser: Client) -> None:
    """Two colleagues register the same subscription; nothing of the second one's is lost but it."""
    other = new_browser()
    sign_up(browser, arrive(browser))
    sign_up(other, arrive(other), organization="Second")
    activate(browser, address(browser))
    activate(other, address(other))
    assert MarketplaceSubscription.objects.get().organization == Organization.objects.get()
    assert sign_in(other, address(other))["Location"] == "/organizations/new/"
    page = other.get("/organizations/new/").content.decode()
    assert "already belongs to the organization Initech" in page.replace("\n", " ")
    other.post("/organizations/new/", {"name": "Second"})
    assert MarketplaceSubscription.objects.get().organization == Organization.objects.get(name="Initech")
    assert Organization.objects.get(name="Second").members.get().email == address(other)


def test_a_name_taken_meanwhile_does_not_lose_the_subscription(browser: Client) -> None:
    sign_up(browser, arrive(browser))
    make_organization(name="Initech")
    activate(browser)
    sign_in(browser, address(browser))
    assert f"AWS Marketplace, account {ACCOUNT}" in browser.get("/organizations/new/").content.decode()
    browser.post("/organizations/new/", {"name": "Initrode"})
    assert MarketplaceSubscription.objects.get().organization == Organization.objects.get(name="Initrode")


def test_a_buyer_with_an_account_gets_the_same_answer_and_goes_on_by_mail(browser: Client) -> None:
    user = make_user("known")
    assert sign_up(browser, arrive(browser), email=user.email)["Location"] == CHECK_MAIL
    assert delivered()[-1].subject == "You already have an account"
    activate(browser)
    sign_in(browser, user.email, PASSWORD)
    browser.post("/organizations/new/", {"name": "Initech"})
    subscription = MarketplaceSubscription.objects.get()
    assert subscription.organization
    assert list(subscription.organization.members.all()) == [user]


def test_the_end_of_an_organization_frees_its_subscription(browser: Client) -> None:
    user = make_user("bob")
    browser.force_login(user)
    browser.post(arrive(browser), {"target": "new", "organization": "Initech"})
    delete_organization(actor=actor(user), organization=Organization.objects.get())
    subscription = MarketplaceSubscription.objects.get()
    assert (subscription.organization, subscription.state) == (None, "PENDING")
    browser.post(arrive(browser), {"target": "new", "organization": "Initrode"})
    assert MarketplaceSubscription.objects.get().organization == Organization.objects.get(name="Initrode")


@pytest.mark.django_db(transaction=True)
def test_one_token_twice_at_once_is_one_registration() -> None:
    text = token()
    results = at_once(*[lambda: services_marketplace.register(actor=BUYER, token=text)] * 3)
    assert [type(result) for result in results].count(services_marketplace.Arrival) == 1
    assert [result.code for result in results if isinstance(result, UserError)] == ["MarketplaceTokenUsed"] * 2
    assert MarketplaceRegistration.objects.count() == MarketplaceSubscription.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_new_customer_with_two_tokens_at_once_is_one_customer() -> None:
    results = at_once(*[lambda: services_marketplace.register(actor=BUYER, token=token())] * 2)
    assert all(isinstance(result, services_marketplace.Arrival) for result in results), results
    assert MarketplaceSubscription.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_one_claim_by_two_browsers_at_once_goes_to_one() -> None:
    key = services_marketplace.register(actor=BUYER, token=token()).claim_key
    results = at_once(*[lambda: services_marketplace.claim(actor=BUYER, key=key)] * 2)
    assert sorted(type(result).__name__ for result in results) == ["MarketplaceRegistration", "UserError"]


@pytest.mark.django_db(transaction=True)
def test_one_subscription_for_two_organizations_at_once_goes_to_one() -> None:
    arrival = services_marketplace.register(actor=BUYER, token=token())
    people = [make_user("one"), make_user("two")]
    results = at_once(
        *(
            lambda user=user: services_marketplace.subscribe(
                actor=actor(user), owner=user, registration=arrival.registration, organization=None, name=user.email
            )
            for user in people
        )
    )
    assert sorted(type(result).__name__ for result in results) == ["Organization", "UserError"]
    assert MarketplaceSubscription.objects.get().organization == Organization.objects.get()


# --- tokens that are none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("", (422, "MarketplaceTokenMissing")),
        ("garbage", (400, "MarketplaceTokenInvalid")),
        ("a:b:c", (400, "MarketplaceTokenInvalid")),
        ("\x00", (400, "MarketplaceTokenInvalid")),
        ("x" * 100_000, (400, "MarketplaceTokenInvalid")),
    ],
    ids=lambda value: str(value)[:20],
)
def test_each_kind_of_nonsense_has_its_page(browser: Client, text: str, page: tuple[int, str]) -> None:
    response = post(browser, text)
    assert code_of(response) == page
    assert "Set up your account" in response.content.decode()


def test_expired_forged_and_foreign_tokens_have_their_pages(browser: Client) -> None:
    purchase = Purchase("sandbox-product", ACCOUNT)
    assert code_of(post(browser, token(age=601))) == (410, "MarketplaceTokenExpired")
    assert code_of(post(browser, sandbox.forged_token(purchase))) == (400, "MarketplaceTokenInvalid")
    assert code_of(post(browser, token()[:-1])) == (400, "MarketplaceTokenInvalid")
    assert code_of(post(browser, token(product="other"))) == (409, "MarketplaceProductUnknown")
    assert not MarketplaceSubscription.objects.exists()


def test_asking_for_the_address_explains_it(browser: Client) -> None:
    response = browser.get(REGISTER)
    assert response.status_code == 200
    assert "choose “Set up your account”" in response.content.decode()


def test_too_many_arrivals_have_to_wait(browser: Client) -> None:
    cache.clear()
    for _ in range(30):
        assert post(browser, "garbage").status_code == 400
    response = post(browser, token())
    assert response.status_code == 429
    assert 1 <= int(response["Retry-After"]) <= 60
    assert post(new_browser(), token()).status_code == 303


# --- the sandbox ----------------------------------------------------------------------------------------------------


def tokens_on(page: str) -> list[str]:
    return re.findall(r'name="x-amzn-marketplace-token" value="([^"]+)"', page)


def test_the_sandbox_s_buttons_do_what_they_say(browser: Client) -> None:
    page = browser.get("/marketplace/sandbox/").content.decode()
    assert "This is not AWS." in page
    good, *bad = tokens_on(page)
    codes = [code_of(browser.post(REGISTER, {"x-amzn-marketplace-token": text})) for text in bad]
    assert codes == [
        (410, "MarketplaceTokenExpired"),
        (409, "MarketplaceProductUnknown"),
        (400, "MarketplaceTokenInvalid"),
    ]
    assert browser.post(REGISTER, {"x-amzn-marketplace-token": good}).status_code == 303
    used = tokens_on(browser.get("/marketplace/sandbox/").content.decode())[-1]
    assert used == good
    assert code_of(browser.post(REGISTER, {"x-amzn-marketplace-token": used})) == (409, "MarketplaceTokenUsed")


def test_the_sandbox_lets_one_be_any_customer(browser: Client) -> None:
    query = {"account": ACCOUNT, "product": "sandbox-product"}
    for _ in range(2):
        good = tokens_on(browser.get("/marketplace/sandbox/", query).content.decode())[0]
        arrive(browser, good)
    assert MarketplaceSubscription.objects.get().customer == ACCOUNT
    page = browser.get("/marketplace/sandbox/", {"account": "12", "product": "sandbox-product"}).content.decode()
    assert "Enter twelve digits." in page


@pytest.mark.parametrize("mode", ["off", "aws"])
def test_there_is_no_sandbox_where_it_is_real(browser: Client, settings: Settings, mode: str) -> None:
    made = token()
    settings.PORTAL_MARKETPLACE = mode
    settings.PORTAL_MARKETPLACE_PRODUCT_CODES = ["sandbox-product"]
    assert browser.get("/marketplace/sandbox/").status_code == 404
    for page in ("/", "/accounts/signup/"):
        assert "sandbox" not in browser.get(page).content.decode()
    if mode == "off":
        assert code_of(post(browser, made)) == (404, "MarketplaceOff")


def test_the_form_refuses_what_the_other_sign_up_refuses(browser: Client) -> None:
    form = arrive(browser)
    for field, value in {"organization": "", "email": "ada", "password1": "short", "accept_terms": None}.items():
        response = sign_up(browser, form, **{field: value})
        assert response.status_code == 422
        assert field in response.context["form"].errors
    assert FORM["password1"] not in response.content.decode()
    assert not PendingSignup.objects.exists()
