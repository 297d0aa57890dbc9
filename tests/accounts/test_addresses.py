"""Addresses that are the same are one, and addresses that only look the same are two."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.addresses import clean_email, normal_email
from accounts.models import User
from tests.accounts.steps import activate, address, sign_in, sign_up
from tests.factories import PASSWORD, make_user
from tests.mailbox import delivered

SAME = {
    "case": "ADA@Example.ORG",
    "space": "  ada@example.org\t",
    "full width": "\uff41\uff44\uff41\uff20\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45\uff0e\uff4f\uff52\uff47",
    "mathematical letters": "\U0001d41a\U0001d41d\U0001d41a@example.org",
    "circled letters": "ad\u24d0@example.org",
}
OTHER = {
    "cyrillic mailbox": "\u0430da@example.org",
    "dotless i": "ad\u0131@example.org",
    "zero width": "ad\u200ba@example.org",
    "turned": "ada\u202e@example.org",
    "combining": "ad\u0301a@example.org",
    "two signs": "ada@evil.org\uff20example.org",
    "no domain": "ada@",
    "a domain that is none": "ada@xn--\u00fc.example",
    "null": "ada\x00@example.org",
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_what_means_the_same_is_the_same(text: str) -> None:
    assert normal_email(text) == clean_email(text) == "ada@example.org"


@pytest.mark.parametrize("text", OTHER.values(), ids=OTHER)
def test_what_only_looks_the_same_is_refused(text: str) -> None:
    assert normal_email(text) != "ada@example.org"
    with pytest.raises(ValidationError):
        clean_email(text)


@pytest.mark.parametrize(
    ("text", "ascii_form"),
    [
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
        ("ada@例え.example", "ada@xn--r8jz45g.example"),
        ("ada@\u0430pple.example", "ada@xn--pple-43d.example"),
    ],
)
def test_an_international_domain_has_one_form_in_which_nothing_passes_for_another(text: str, ascii_form: str) -> None:
    assert clean_email(text) == ascii_form


def test_an_address_that_mail_cannot_carry_is_refused() -> None:
    assert clean_email("x" * 64 + "@" + "a" * 60 + ".org")
    with pytest.raises(ValidationError):
        clean_email("x" * 250 + "@example.org")


@pytest.mark.django_db
@pytest.mark.parametrize("change", [str.upper, lambda text: f" {text} ", lambda text: text.replace("@", "\uff20")])
def test_every_form_takes_every_spelling(browser: Client, change: object) -> None:
    assert callable(change)
    sign_up(browser, email=change(address(browser)))
    activate(browser, address(browser))
    assert User.objects.get().email == address(browser)
    assert sign_in(browser, change(address(browser)))["Location"] == "/"
    assert EmailAddress.objects.get().email == address(browser)  # none was made for another spelling
    browser.post("/accounts/logout/")
    for page in ("/accounts/password/reset/", "/activate/"):
        browser.post(page, {"email": change(address(browser))})
        assert delivered()[-1].to == [address(browser)]


@pytest.mark.django_db
def test_a_look_alike_gets_no_link_for_the_one_it_looks_like(browser: Client) -> None:
    """U+0131 in upper case is an I, U+017F an S: some databases and languages take them for the same."""
    make_user("mike")
    user = User.objects.get()
    for letter, other in (("i", "\u0131"), ("k", "\u03ba"), ("e", "\u0435")):
        response = browser.post("/accounts/password/reset/", {"email": user.email.replace(letter, other, 1)})
        assert response.status_code == 200
        assert "email" in response.context["form"].errors
        assert sign_in(browser, user.email.replace(letter, other, 1), PASSWORD).status_code == 200
    assert delivered() == []
    assert "_auth_user_id" not in browser.session


@pytest.mark.django_db
def test_mail_goes_to_the_address_of_the_account_not_to_the_one_typed(browser: Client) -> None:
    """The Kelvin sign is a K: who could receive mail under such a name must not get Mike's link."""
    user = make_user("mike")
    browser.post("/accounts/password/reset/", {"email": user.email.replace("k", "\u212a", 1)})
    assert delivered()[-1].to == [user.email]
    assert delivered()[-1].to[0].isascii()


@pytest.mark.django_db
def test_a_further_address_is_kept_in_its_one_spelling(browser: Client) -> None:
    user = make_user("mike")
    sign_in(browser, user.email, PASSWORD)
    browser.post("/accounts/email/", {"action_add": "", "email": "Mike@BÜCHER.example"})
    assert EmailAddress.objects.filter(user=user, email="mike@xn--bcher-kva.example").exists()
    browser.post("/accounts/email/", {"action_add": "", "email": "m\u0131ke@example.org"})
    assert EmailAddress.objects.filter(user=user).count() == 2
