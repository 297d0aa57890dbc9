"""Sign-up, activation, sign-in and the lost password, through the forms and the mail that people use."""

from __future__ import annotations

import itertools
import os
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from pytest_django import Settings

from accounts import services
from accounts.models import AuditEvent, Membership, Organization, User
from tests.factories import PASSWORD, make_organization, make_user
from tests.mailbox import delivered, link_in_mail

_hosts = itertools.count(1)
FORM = {
    "organization": "Initech",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "password1": "an engine of brass",
    "accept_terms": "on",
}
pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    """Each from an address of its own, as sign-in is limited by address. CSRF is checked, as for everybody."""

    number = next(_hosts)
    return Client(REMOTE_ADDR=f"10.{os.getpid() % 250}.{number // 250}.{number % 250 + 1}")


def address(browser: Client) -> str:
    """Ada's, in this test; mail to one address is limited, too."""
    return f"ada-{browser.defaults['REMOTE_ADDR']}@example.org"


def sign_up(browser: Client, **changes: Any) -> Any:
    given = {"email": address(browser), **FORM, **changes}
    form = {key: value for key, value in given.items() if value is not None}
    return browser.post("/accounts/signup/", form)


def sign_in(browser: Client, email: str, password: str, query: str = "") -> Any:
    return browser.post(f"/accounts/login/{query}", {"login": email, "password": password})


def nothing_was_made() -> bool:
    made = (User, Organization, Membership, EmailAddress, AuditEvent)
    return not any(model._default_manager.exists() for model in made)


def error_beside(response: Any, field: str) -> str:
    """The error that the page shows at a field."""
    assert response.status_code in {200, 422}
    errors = response.context["form"].errors
    assert field in errors, errors
    text = str(errors[field][0])
    assert text.partition("'")[0] in response.content.decode().replace("&#x27;", "'")
    return text


# --- the good way ---------------------------------------------------------------------------------------------------


def test_from_sign_up_to_the_first_page(browser: Client) -> None:
    response = sign_up(browser)
    assert (response.status_code, response["Location"]) == (302, "/accounts/confirm-email/")
    user, organization = User.objects.get(), Organization.objects.get()
    assert (user.email, user.get_full_name()) == (address(browser), "Ada Lovelace")
    assert user.terms_version
    assert user.terms_accepted_at
    assert Membership.objects.get().role == "OWNER"
    assert set(AuditEvent.objects.values_list("verb", flat=True)) == {"organization.create", "user.sign_up"}
    assert not EmailAddress.objects.get().verified

    assert "_auth_user_id" not in browser.session  # signing up signs nobody in
    assert sign_in(browser, address(browser), FORM["password1"])["Location"] == "/accounts/confirm-email/"
    assert browser.get("/organizations/new/").status_code == 302

    link = link_in_mail()
    assert b"Activate" in browser.get(link).content
    assert not EmailAddress.objects.get().verified  # a mail scanner that opens links activates nothing
    browser.post(link)
    assert EmailAddress.objects.get().verified

    assert sign_in(browser, f"{address(browser).upper()} ", FORM["password1"])["Location"] == "/"
    first = browser.get("/", follow=True)
    assert first.redirect_chain == [(f"/o/{organization.pk}/workspaces/", 302)]
    assert b"Initech" in first.content

    assert browser.get("/accounts/logout/").status_code == 200  # asks; a link or a picture signs nobody out
    assert "_auth_user_id" in browser.session
    browser.post("/accounts/logout/")
    assert "_auth_user_id" not in browser.session
    assert browser.get(f"/o/{organization.pk}/workspaces/").status_code == 302


def test_an_activation_link_works_once_and_not_when_changed(browser: Client) -> None:
    sign_up(browser)
    link = link_in_mail()
    assert b"does not work" in browser.get(link[:-3] + "xy/").content
    browser.post(link)
    again = browser.get(link)
    assert again.status_code == 200
    assert b"does not work" in again.content
    assert EmailAddress.objects.get().verified


# --- names ----------------------------------------------------------------------------------------------------------


NAMES = ["Ада", "李小龍", "محمد", "नमस्ते", "O'Brien-Smith", "Zoë", "می\u200cخواهم", "👩\u200d💻 & Söhne <Co>"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["first_name", "organization"])
def test_names_in_any_script_are_kept_as_written(browser: Client, name: str, field: str) -> None:
    assert sign_up(browser, **{field: name}).status_code == 302
    assert User.objects.get().first_name == name if field == "first_name" else True
    assert field != "organization" or Organization.objects.get().name == name


@pytest.mark.parametrize("field", ["first_name", "last_name", "organization"])
@pytest.mark.parametrize(
    "name",
    [
        *("", "   ", "x" * 101, "x" * 300, "a\x00b", "a\nb", "a\x1bb", "a\x85b", "a\u2028b", "a\u202eb", "a\u2066b"),
        *("a\u200bb", "\ufeff", "\u3164", "\u2800", "\u0301", "\ud7ff\U0010ffff", "\ue000", "\ufb2c" * 60),
    ],
    ids=ascii,
)
def test_names_that_deceive_or_do_not_fit_are_refused_beside_the_field(browser: Client, name: str, field: str) -> None:
    """The last one is short enough as typed, and too long once normalised."""
    assert error_beside(sign_up(browser, **{field: name}), field)
    assert nothing_was_made()
    assert delivered() == []


def test_markup_in_names_is_shown_as_text(browser: Client) -> None:
    markup = '"><script>alert(1)</script>'
    sign_up(browser, organization=markup, first_name=markup, last_name=markup)
    browser.post(link_in_mail())
    sign_in(browser, address(browser), FORM["password1"])
    for page in ("workspaces", "people", "audit", "configurations", "billing"):
        text = browser.get(f"/o/{Organization.objects.get().pk}/{page}/").content.decode()
        assert "&lt;script&gt;alert" in text
        assert "<script>alert" not in text


def test_doubled_spaces_and_composed_letters_are_one_name(browser: Client) -> None:
    sign_up(browser, organization="  Cafe\u0301   Noir ")
    assert Organization.objects.get().name == "Café Noir"


@pytest.mark.parametrize("taken", ["INITECH", " initech ", "Initech"])
def test_an_organization_s_name_is_taken_in_any_case(browser: Client, taken: str) -> None:
    make_organization(name="Initech")
    assert "exists" in error_beside(sign_up(browser, organization=taken), "organization")
    assert not User.objects.exists()


def test_names_that_only_upper_case_makes_equal_are_two(browser: Client) -> None:
    make_organization(name="Straße")
    assert sign_up(browser, organization="Strasse").status_code == 302


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["", "short", "1234567890123", "password123", "{address}"])
def test_weak_passwords_are_refused(browser: Client, password: str) -> None:
    """Too short, only digits, common, like the address."""
    error_beside(sign_up(browser, password1=password.format(address=address(browser))), "password1")
    assert nothing_was_made()


LONG = "x" * 250 + "@example.org"


@pytest.mark.parametrize("email", ["", "ada", "ada@", "a b@example.org", LONG, "ada\x00@example.org"])
def test_addresses_that_are_none_are_refused(browser: Client, email: str) -> None:
    assert error_beside(sign_up(browser, email=email), "email")
    assert nothing_was_made()


def test_terms_must_be_accepted(browser: Client) -> None:
    assert error_beside(sign_up(browser, accept_terms=None), "accept_terms")
    assert nothing_was_made()


def test_a_refused_form_keeps_what_was_typed_but_the_password(browser: Client) -> None:
    text = sign_up(browser, organization="", last_name="Byron").content.decode()
    assert 'value="Byron"' in text
    assert FORM["password1"] not in text


def test_sign_up_can_be_closed(browser: Client, settings: Settings) -> None:
    settings.PORTAL_SIGNUP_OPEN = False
    assert b"closed" in browser.get("/accounts/signup/").content
    assert b"closed" in sign_up(browser).content
    assert nothing_was_made()


def test_a_known_address_gets_the_answer_of_a_new_one(browser: Client) -> None:
    user = make_user(f"known-{os.getpid()}")
    new = sign_up(browser, organization="One")
    known = sign_up(browser, organization="Two", email=user.email.upper())
    assert (known.status_code, known["Location"]) == (new.status_code, new["Location"])
    assert browser.get(known["Location"]).status_code == 200
    assert not Organization.objects.filter(name="Two").exists()
    assert delivered()[-1].to == [user.email]
    assert delivered()[-1].subject == "You already have an account"


# --- nothing half made ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["create_organization", "sign_up", "audit.record"])
def test_a_sign_up_that_crashes_leaves_nothing(browser: Client, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(f"accounts.services.{step}", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        sign_up(browser)
    assert nothing_was_made()
    assert delivered() == []
    monkeypatch.undo()
    assert sign_up(browser).status_code == 302


def test_a_name_taken_in_the_same_moment_leaves_no_user(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The form saw a free name; the constraint decides."""
    original = services.create_organization

    def late(**given: Any) -> Organization:
        Organization.objects.create(name="Initech")
        return original(**given)

    monkeypatch.setattr(services, "create_organization", late)
    response = sign_up(browser)
    assert response.status_code == 409
    assert b"An organization of this name exists" in response.content
    assert not User.objects.exists()


def test_a_form_sent_twice_at_once_makes_one_account(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_up(browser)
    first = delivered()[-1]
    # Blind the look-up for its first question, as it would be in the other transaction.
    monkeypatch.setattr("accounts.signup.SignupForm.account_already_exists", False, raising=False)
    monkeypatch.setattr("allauth.account.forms.filter_users_by_email", lambda *_, **__: [], raising=False)
    monkeypatch.setattr("allauth.account.internal.flows.manage_email.assess_unique_email", lambda *_, **__: True)
    response = sign_up(browser, organization="Second")
    assert response.status_code == 302
    assert User.objects.count() == Organization.objects.count() == 1
    assert delivered()[-1].to == first.to


# --- signing in -----------------------------------------------------------------------------------------------------


def test_wrong_password_and_unknown_address_get_the_same_answer(browser: Client) -> None:
    user = make_user(f"alice-{os.getpid()}")
    wrong = sign_in(browser, user.email, "not it, sorry")
    unknown = sign_in(browser, "nobody@example.org", "not it, sorry")
    assert wrong.status_code == unknown.status_code
    assert str(wrong.context["form"].errors) == str(unknown.context["form"].errors)
    assert "_auth_user_id" not in browser.session


def test_guessing_is_slowed_down(browser: Client) -> None:
    user = make_user(f"alice-{os.getpid()}")
    for _ in range(6):
        sign_in(browser, user.email, "not it, sorry")
    assert "_auth_user_id" not in browser.session
    sign_in(browser, user.email, PASSWORD)
    assert "_auth_user_id" not in browser.session  # even the right one has to wait now


def test_an_inactive_user_cannot_sign_in_and_learns_what_to_do(browser: Client) -> None:
    user = make_user(f"alice-{os.getpid()}", is_active=False)
    response = browser.post("/accounts/login/", {"login": user.email, "password": PASSWORD}, follow=True)
    assert b"User is locked out. To unlock user, please contact your administrators" in response.content
    assert "_auth_user_id" not in browser.session


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "https:evil.example",
        "\x00",
    ],
)
def test_next_leads_nowhere_else(browser: Client, target: str) -> None:
    user = make_user(f"alice-{os.getpid()}")
    form = {"login": user.email, "password": PASSWORD, "next": target}
    assert browser.post("/accounts/login/", form)["Location"] == "/"
    browser.post("/accounts/logout/", {"next": target})
    assert browser.get("/accounts/login/", {"next": target}).status_code == 200


def test_next_leads_back_to_the_page_that_asked(browser: Client) -> None:
    user = make_user(f"alice-{os.getpid()}")
    organization = make_organization(user)
    where = f"/o/{organization.pk}/people/"
    asked = browser.get(where)
    assert asked["Location"] == f"/accounts/login/?next={where}"
    assert sign_in(browser, user.email, PASSWORD, f"?next={where}")["Location"] == where


# --- the lost password ----------------------------------------------------------------------------------------------


def test_a_lost_password_is_replaced_by_mail(browser: Client) -> None:
    user = make_user(f"alice-{os.getpid()}")
    elsewhere = Client()
    elsewhere.force_login(user)
    response = browser.post("/accounts/password/reset/", {"email": user.email})
    assert response["Location"] == "/accounts/password/reset/done/"
    form = browser.get(link_in_mail(), follow=True)
    fields = {"password1": "a better engine", "password2": "a better engine"}
    browser.post(form.redirect_chain[-1][0], fields)
    assert sign_in(browser, user.email, "a better engine")["Location"] == "/"
    assert elsewhere.get("/organizations/new/").status_code == 302  # other sessions are over
    stranger = Client()
    assert b"does not work" in stranger.get(link_in_mail(), follow=True).content


def test_asking_for_a_password_says_the_same_for_unknown_addresses(browser: Client) -> None:
    user = make_user(f"alice-{os.getpid()}")
    known = browser.post("/accounts/password/reset/", {"email": user.email}, follow=True)
    unknown = browser.post("/accounts/password/reset/", {"email": "nobody@example.org"}, follow=True)
    assert known.redirect_chain == unknown.redirect_chain
    assert known.status_code == unknown.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/accounts/confirm-email/x/",
            "/accounts/confirm-email/MQ:1:x/",
            "/accounts/password/reset/key/zzzzzzzzzzzzz-x/",
        ),
        *(
            "/accounts/password/reset/key/1-%00/",
            "/accounts/password/reset/key/0-x/",
            "/accounts/confirm-email/" + "x" * 900,
        ),
    ],
)
def test_forged_links_are_explained(browser: Client, path: str) -> None:
    response = browser.get(f"/accounts/{path}", follow=True)
    assert response.status_code in {200, 400, 404}
    assert b"<h1>" in response.content
