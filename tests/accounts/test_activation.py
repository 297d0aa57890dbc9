"""The activation link: once, for whom it was sent, and nothing lost where the organization cannot be made."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts import activation, services_signup
from accounts.models import AuditEvent, Membership, Organization, PendingSignup, User
from portal.errors import UserError
from tests.accounts.conftest import new_browser
from tests.accounts.steps import CHECK_MAIL, FORM, activate, address, at_once, sign_in, sign_up
from tests.factories import PASSWORD, make_organization, make_user, stay_away
from tests.fakes import Clock
from tests.mailbox import delivered, link_in_mail

pytestmark = pytest.mark.django_db
AGAIN = f"{CHECK_MAIL}?again=1"


def code_of(response: object) -> str:
    return str(response.context["error"].code)  # type: ignore[attr-defined]


# --- links that do not work -----------------------------------------------------------------------------------------


def test_a_link_works_once(browser: Client) -> None:
    sign_up(browser)
    link = link_in_mail()
    browser.post(link)
    for again in (browser.get(link), browser.post(link), new_browser().post(link)):
        assert (again.status_code, code_of(again)) == (410, "ActivationLinkUsed")
        assert b"Sign in" in again.content
    assert User.objects.count() == Organization.objects.count() == 1


def test_a_changed_or_foreign_link_does_nothing(browser: Client) -> None:
    sign_up(browser)
    link = link_in_mail()
    mine = link.split("/")[2]
    other = services_signup.sign_up(
        address=None, email="eve@example.org", password="x", first_name="E", last_name="V", organization_name="Evil"
    )
    foreign = activation.key_of(other)
    mixed = foreign.partition(":")[0] + ":" + mine.partition(":")[2]
    for key in (mine[:-1], mine[:-1] + ("A" if mine[-1] != "A" else "B"), mixed, "x", "x:y", "%00", "~:"):
        for response in (browser.get(f"/activate/{key}/"), browser.post(f"/activate/{key}/")):
            assert (response.status_code, code_of(response)) == (404, "ActivationLinkBroken")
    assert not User.objects.exists()


def test_a_link_of_another_purpose_is_none(browser: Client) -> None:
    """Whatever else the portal signs with its key."""
    from django.core import signing

    sign_up(browser)
    value = f"{PendingSignup.objects.get().pk}~1"
    for salt in ("account", "accounts.sandbox", "django.core.signing.Signer"):
        assert browser.get(f"/activate/{signing.Signer(salt=salt).sign(value)}/").status_code == 404


@pytest.mark.parametrize(("hours", "works"), [(7 * 24 - 0.1, True), (7 * 24 + 0.1, False)])
def test_a_link_works_for_seven_days(browser: Client, clock: Clock, hours: float, works: bool) -> None:
    sign_up(browser)
    link = link_in_mail()
    clock.move(hours=hours)
    response = browser.post(link)
    assert User.objects.exists() == works
    if not works:
        assert (response.status_code, code_of(response)) == (410, "ActivationLinkExpired")
        assert b"Sign up again" in response.content


def test_what_nobody_activates_is_forgotten(browser: Client, clock: Clock) -> None:
    sign_up(browser)
    link = link_in_mail()
    clock.move(days=6)
    services_signup.sweep()
    assert PendingSignup.objects.exists()
    clock.move(days=1, seconds=1)
    assert services_signup.sweep() == 1
    assert services_signup.sweep() == 0
    assert not PendingSignup.objects.exists()
    event = AuditEvent.objects.get(verb="user.sign_up_expire")
    assert (event.actor_kind, event.object_label) == ("system", address(browser))
    assert code_of(browser.get(link)) == "ActivationLinkExpired"


# --- one address, several sign-ups ----------------------------------------------------------------------------------


def test_nobody_can_take_an_address_whose_mail_they_do_not_read(browser: Client) -> None:
    """Eve signs up first, with Ada's address. Ada's own sign-up, name and password are not disturbed."""
    sign_up(new_browser(), email=address(browser), organization="Evil", first_name="Eve", password1="known to Eve, too")
    sign_up(browser)
    activate(browser)
    assert User.objects.get().get_full_name() == "Ada Lovelace"
    assert Organization.objects.get().name == "Initech"
    assert sign_in(new_browser(), address(browser), "known to Eve, too").status_code == 200
    assert sign_in(browser, address(browser))["Location"] == "/"


def test_the_page_says_who_signed_up(browser: Client) -> None:
    """So that Ada sees what Eve did in her name, before she presses the button."""
    sign_up(new_browser(), email=address(browser), organization="Evil", first_name="Eve")
    asked = browser.get(link_in_mail()).content
    assert b"Eve Lovelace" in asked
    assert b"Evil" in asked
    assert "Evil" not in str(delivered()[-1].body)  # what strangers write is not for our mail


def test_an_address_that_somebody_else_only_claims_is_free(browser: Client) -> None:
    """Bob added it to his account and never confirmed it."""
    bob = make_user("bob")
    EmailAddress.objects.create(user=bob, email=address(browser), verified=False, primary=False)
    sign_up(browser)
    activate(browser)
    assert User.objects.get(email=address(browser)) != bob
    assert EmailAddress.objects.get(email=address(browser), verified=True).user != bob
    assert sign_in(browser, address(browser))["Location"] == "/"


def test_a_second_sign_up_of_the_same_person_adds_an_organization(browser: Client) -> None:
    sign_up(browser)
    first = link_in_mail()
    sign_up(browser, organization="Second", first_name="Another", password1="another password")
    second = link_in_mail()
    assert first != second
    browser.post(first)
    assert b"There is an account with your address already" in browser.get(second).content
    browser.post(second)
    user = User.objects.get()
    assert (user.first_name, user.check_password(FORM["password1"])) == ("Ada", True)
    assert list(Organization.objects.values_list("name", flat=True)) == ["Initech"]
    assert sign_in(browser, address(browser))["Location"] == "/organizations/new/"
    assert b'value="Second"' in browser.get("/organizations/new/").content
    browser.post("/organizations/new/", {"name": "Second"})
    assert set(user.organizations.values_list("name", flat=True)) == {"Initech", "Second"}
    assert not PendingSignup.objects.exists()


def test_a_link_that_left_an_organization_to_be_made_is_used_up_as_well(browser: Client) -> None:
    sign_up(browser)
    link = link_in_mail()
    make_organization(name="Initech")
    browser.post(link)
    assert PendingSignup.objects.get().user == User.objects.get(email=address(browser))
    for again in (browser.get(link), browser.post(link)):
        assert (again.status_code, b"ActivationLinkUsed" in again.content) == (410, True)


def test_somebody_with_an_account_signs_in_and_goes_on(browser: Client) -> None:
    user = make_user("known")
    sign_up(browser, email=user.email)
    asked = activate(browser)
    assert asked["Location"] == "/accounts/login/"
    assert not Organization.objects.exists()  # reading the mail is not enough: the password is asked for
    assert sign_in(browser, user.email, PASSWORD)["Location"] == "/organizations/new/"
    browser.post("/organizations/new/", {"name": "Initech"})
    assert Membership.objects.get(user=user).organization.name == "Initech"
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


# --- the organization cannot be made --------------------------------------------------------------------------------


def test_a_name_that_was_taken_meanwhile_is_asked_for_again(browser: Client) -> None:
    sign_up(browser)
    make_organization(name="initech")
    assert activate(browser)["Location"] == "/accounts/login/"
    assert User.objects.get().is_active
    assert Organization.objects.count() == 1

    assert sign_in(browser, address(browser))["Location"] == "/organizations/new/"
    page = browser.get("/organizations/new/").content.decode()
    assert 'value="Initech"' in page
    assert "was taken before your account was activated" in page
    assert browser.post("/organizations/new/", {"name": "Initech"}).status_code == 422
    assert PendingSignup.objects.exists()
    made = browser.post("/organizations/new/", {"name": "Initrode"})
    organization = Organization.objects.get(name="Initrode")
    assert made["Location"] == f"/o/{organization.pk}/workspaces/"
    assert not PendingSignup.objects.exists()
    assert "was taken" not in browser.get("/organizations/new/").content.decode()


def test_the_unfinished_organization_of_one_is_not_shown_to_another(browser: Client) -> None:
    sign_up(browser)
    make_organization(name="Initech")
    activate(browser)
    other = new_browser()
    other.force_login(make_user("bob"))
    assert b"was taken" not in other.get("/organizations/new/").content


def test_an_activation_that_crashes_leaves_the_link_good(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_up(browser)
    link = link_in_mail()

    def crash(**_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("accounts.services.create_organization", crash)
        with pytest.raises(RuntimeError, match="power cut"):
            browser.post(link)
    assert not User.objects.exists()
    assert PendingSignup.objects.exists()
    browser.post(link)
    assert Organization.objects.exists()


def test_the_signed_in_person_stays_when_another_is_activated(browser: Client) -> None:
    sign_up(new_browser(), email=address(browser))
    bob = make_user("bob")
    browser.force_login(bob)
    response = activate(browser)
    assert response["Location"] == "/"
    assert browser.session["_auth_user_id"] == str(bob.pk)


# --- two at once ----------------------------------------------------------------------------------------------------


def pending(organization: str = "Initech") -> str:
    made = services_signup.sign_up(
        address=None,
        email="ada@example.org",
        password="x",
        first_name="Ada",
        last_name="Lovelace",
        organization_name=organization,
    )
    return activation.key_of(made)


@pytest.mark.django_db(transaction=True)
def test_a_link_pressed_twice_at_once_makes_one_account() -> None:
    key = pending()

    def press() -> object:
        return services_signup.activate(key=key, address=None)

    results = at_once(press, press, press)
    assert [type(result) for result in results].count(services_signup.Activated) == 1
    assert [result.code for result in results if isinstance(result, UserError)] == ["ActivationLinkUsed"] * 2
    assert User.objects.count() == Organization.objects.count() == Membership.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_sign_ups_of_one_address_activated_at_once_make_one_account() -> None:
    keys = [pending("One"), pending("Two")]
    results = at_once(*(lambda key=key: services_signup.activate(key=key, address=None) for key in keys))
    assert all(isinstance(result, services_signup.Activated) for result in results), results
    assert User.objects.count() == Organization.objects.count() == 1
    assert PendingSignup.objects.filter(user=User.objects.get()).count() == 1


# --- sending it again -----------------------------------------------------------------------------------------------


def test_the_link_is_sent_again(browser: Client) -> None:
    sign_up(browser)
    first = link_in_mail()
    assert f'value="{address(browser)}"' in browser.get(CHECK_MAIL).content.decode()
    response = browser.post("/activate/", {"email": address(browser).upper()})
    assert response["Location"] == AGAIN
    assert len(delivered()) == 2
    assert link_in_mail() == first  # so that of two mails either works
    browser.post(first)
    assert User.objects.exists()


def test_sending_again_answers_the_same_for_every_address(browser: Client) -> None:
    active, inactive = make_user("active"), make_user("inactive", is_active=False)
    locked = stay_away(make_user("locked"), days=91)
    sign_up(browser)
    delivered()
    subjects, pages = [], []
    for email in (address(browser), active.email, inactive.email, locked.email, f"nobody-{address(browser)}"):
        stranger = new_browser()
        response = stranger.post("/activate/", {"email": email})
        assert response["Location"] == AGAIN
        page = stranger.get(AGAIN).content.decode().replace(email, "")
        pages.append(page.replace(str(stranger.cookies["csrftoken"].value), ""))
        assert delivered()[-1].to == [email]
        subjects.append(delivered()[-1].subject)
    assert len({len(page) for page in pages}) == 1
    assert subjects == [
        "Activate your Bodo Cloud Platform account",
        "Your account is active",
        "Your account is locked",
        "Your account is locked",
        "No account with this address",
    ]


def test_a_lost_password_before_the_activation_brings_the_link(browser: Client) -> None:
    sign_up(browser)
    link = link_in_mail()
    browser.post("/accounts/password/reset/", {"email": address(browser)})
    assert link_in_mail() == link
    assert len(delivered()) == 2
