"""Sign-up, sign-in and the lost password, through the forms and the mail that people use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import AuditEvent, Membership, Organization, PendingSignup, User
from tests.accounts.steps import CHECK_MAIL, FORM, activate, address, nothing_was_made, sign_in, sign_up
from tests.factories import PASSWORD, make_organization, make_user
from tests.mailbox import delivered, link_in_mail

pytestmark = pytest.mark.django_db


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
    assert (response.status_code, response["Location"]) == (302, CHECK_MAIL)
    assert address(browser) in browser.get(CHECK_MAIL).content.decode()
    assert not User.objects.exists()  # nobody is anybody before their mail is read
    assert not Organization.objects.exists()
    assert AuditEvent.objects.get().verb == "user.sign_up"
    assert b"is not activated yet" in sign_in(browser, address(browser)).content

    link = link_in_mail()
    asked = browser.get(link).content.decode()
    assert all(text in asked for text in ("Activate", "Ada Lovelace", "Initech", address(browser)))
    assert not User.objects.exists()  # a mail scanner that opens links activates nothing
    assert browser.post(link)["Location"] == "/accounts/login/"
    assert "_auth_user_id" not in browser.session  # nobody is signed in by a link
    user, organization = User.objects.get(), Organization.objects.get()
    assert (user.email, user.get_full_name()) == (address(browser), "Ada Lovelace")
    assert user.terms_version
    assert user.terms_accepted_at
    assert Membership.objects.get().role == "OWNER"
    verbs = list(AuditEvent.objects.order_by("number").values_list("verb", flat=True))
    assert verbs == ["user.sign_up", "user.sign_in_failed", "user.activate", "organization.create"]
    assert not PendingSignup.objects.exists()

    assert sign_in(browser, f"{address(browser).upper()} ")["Location"] == "/"
    first = browser.get("/", follow=True)
    assert first.redirect_chain == [(f"/o/{organization.pk}/workspaces/", 302)]
    assert b"Initech" in first.content

    assert browser.get("/accounts/logout/").status_code == 200  # asks; a link or a picture signs nobody out
    assert "_auth_user_id" in browser.session
    browser.post("/accounts/logout/")
    assert "_auth_user_id" not in browser.session
    assert browser.get(f"/o/{organization.pk}/workspaces/").status_code == 302


# --- names ----------------------------------------------------------------------------------------------------------


NAMES = ["Ада", "李小龍", "محمد", "नमस्ते", "O'Brien-Smith", "Zoë", "می\u200cخواهم", "👩\u200d💻 & Söhne <Co>"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["first_name", "organization"])
def test_names_in_any_script_are_kept_as_written(browser: Client, name: str, field: str) -> None:
    assert sign_up(browser, **{field: name}).status_code == 302
    activate(browser)
    assert name == (User.objects.get().first_name if field == "first_name" else Organization.objects.get().name)


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
    asked = browser.get(link_in_mail()).content.decode()
    assert "<script>alert" not in asked
    activate(browser)
    sign_in(browser, address(browser))
    for page in ("workspaces", "people", "audit", "configurations", "billing"):
        text = browser.get(f"/o/{Organization.objects.get().pk}/{page}/").content.decode()
        assert "&lt;script&gt;alert" in text
        assert "<script>alert" not in text


def test_doubled_spaces_and_composed_letters_are_one_name(browser: Client) -> None:
    sign_up(browser, organization="  Cafe\u0301   Noir ")
    activate(browser)
    assert Organization.objects.get().name == "Café Noir"


@pytest.mark.parametrize("taken", ["INITECH", " initech ", "Initech"])
def test_an_organization_s_name_is_taken_in_any_case(browser: Client, taken: str) -> None:
    make_organization(name="Initech")
    assert "exists" in error_beside(sign_up(browser, organization=taken), "organization")
    assert not PendingSignup.objects.exists()


def test_names_that_only_upper_case_makes_equal_are_two(browser: Client) -> None:
    make_organization(name="Straße")
    assert sign_up(browser, organization="Strasse").status_code == 302
    activate(browser)
    assert Organization.objects.count() == 2


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


# --- constant answers -----------------------------------------------------------------------------------------------


def test_a_known_address_gets_the_answer_of_a_new_one(browser: Client) -> None:
    user = make_user(f"known-{os.getpid()}")
    new = sign_up(browser, organization="One")
    new_page = browser.get(CHECK_MAIL).content.decode().replace(address(browser), "")
    known = sign_up(browser, organization="Two", email=user.email.upper())
    known_page = browser.get(CHECK_MAIL).content.decode().replace(user.email, "")
    assert (known.status_code, known["Location"]) == (new.status_code, new["Location"])
    assert without_token(known_page) == without_token(new_page)
    assert not Organization.objects.exists()
    assert delivered()[-1].to == [user.email]
    assert delivered()[-1].subject == "You already have an account"


def test_the_name_of_the_organization_does_not_tell_either(browser: Client) -> None:
    """A name that a sign-up took would be free again exactly if the address was known."""
    user = make_user(f"known-{os.getpid()}")
    for email in (user.email, address(browser)):
        assert sign_up(browser, email=email).status_code == 302
        assert sign_up(browser, email=f"second-{email}").status_code == 302


def test_a_known_and_a_new_address_cost_the_same(browser: Client) -> None:
    """As many queries, hashes and mails; what differs is only in the mail."""
    user = make_user(f"known-{os.getpid()}")
    sign_up(browser)
    costs = []
    for email in (address(browser), user.email):
        mails = len(delivered())
        with CaptureQueriesContext(connection) as queries, counted_hashes() as hashes:
            sign_up(browser, email=email)
        costs.append((len(queries), len(hashes), len(delivered()) - mails))
    assert costs[0] == costs[1]
    assert costs[0][1:] == (1, 1)


def without_token(page: str) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", page)


@contextmanager
def counted_hashes() -> Iterator[list[str]]:
    hashed: list[str] = []

    def count(password: str) -> str:
        hashed.append(password)
        return "!"

    with patch("accounts.services_signup.make_password", count):
        yield hashed


# --- nothing half made ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["audit.record", "mail.post"])
def test_a_sign_up_that_crashes_leaves_nothing(browser: Client, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(f"accounts.services_signup.{step}", crash)
    with pytest.raises(RuntimeError, match="power cut"):
        sign_up(browser)
    assert nothing_was_made()
    assert delivered() == []
    monkeypatch.undo()
    assert sign_up(browser).status_code == 302


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
    link = link_in_mail()
    form = browser.get(link, follow=True)
    fields = {"password1": "a better engine", "password2": "a better engine"}
    browser.post(form.redirect_chain[-1][0], fields)
    assert "_auth_user_id" not in browser.session
    assert sign_in(browser, user.email, "a better engine")["Location"] == "/"
    assert elsewhere.get("/organizations/new/").status_code == 302  # other sessions are over
    stranger = Client()
    assert b"does not work" in stranger.get(link, follow=True).content
    assert delivered()[-1].subject == "Your password was changed"
    verbs = list(AuditEvent.objects.order_by("number").values_list("verb", flat=True))
    assert verbs == ["user.reset_password", "user.sign_in"]


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
