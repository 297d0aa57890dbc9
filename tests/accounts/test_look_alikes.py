"""Addresses that people type for others: one spelling for each, and none that looks like another one."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from accounts.addresses import masked, normal_email, shown
from accounts.look_alikes import clean_typed, split


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("ada@example.org", "ada@example.org"),
        ("  Ada.Lovelace+Engine@EXAMPLE.Org \n", "ada.lovelace+engine@example.org"),
        ("ada@BÜCHER.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),  # ü from two characters
        ("ada@ｅｘａｍｐｌｅ.org", "ada@example.org"),  # full width
        ("ada@example。org", "ada@example.org"),  # the full stop of Japanese
        ("\u212aelvin@example.org", "kelvin@example.org"),  # the sign of a unit
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
        ("ada@例え.jp", "ada@xn--r8jz45g.jp"),
        ("ada@ソニーsony.jp", "ada@xn--sony-fo4c6cxq.jp"),  # scripts that are written together
        ("ada@яндекс.рф", "ada@xn--d1acpjx3f.xn--p1ai"),
        ("ada@ελλάδα.gr", "ada@xn--hxakic4aa.gr"),
    ],
)
def test_an_address_has_one_spelling(typed: str, wanted: str) -> None:
    assert clean_typed(typed) == clean_typed(wanted) == normal_email(typed) == wanted


REFUSED = {
    "invalid": [
        *("", "@", "ada", "ada@", "@example.org", "ada@@example.org", "a b@example.org", "ada@example"),
        *("ada@example.org.", "ada@-example.org", "ada@exa_mple.org", "ada@[127.0.0.1]", '"a b"@example.org'),
        *(".ada@example.org", "ada@xn--zz.org", "x" * 64 + "@" + ("y" * 60 + ".") * 4 + "org"),
        "x" * 30 + "@" + ("ü" * 40 + ".") * 5 + "org",  # too long in ASCII
    ],
    "invisible": [
        *("a\u200bda@example.org", "ada@ex\u202eample.org", "ada@example.org\x00", "ada\r\nBcc:x@example.org"),
        *("ada@exam\u00adple.org", "ada@x\ue000.org"),
    ],
    "letters": ["аda@example.org", "zoë@example.org", "adα@example.org"],
    "mixed_scripts": [
        *("ada@exаmple.org", "ada@goοgle.com", "ada@micrоsoft.com", "ada@пaypal.рф", "ada@xn--exmple-4nf.org"),
    ],
    "look_alike": ["ada@аррӏе.com", "ada@сосо.org", "ada@ооо.example.com"],
}
"""By the code of the refusal."""


@pytest.mark.parametrize(
    ("typed", "code"), [(text, code) for code, texts in REFUSED.items() for text in texts], ids=ascii
)
def test_addresses_that_are_none_or_deceive_are_refused(typed: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        clean_typed(typed)
    assert refused.value.code == code
    assert refused.value.message.isprintable()


def test_the_refusal_names_the_letter_that_deceives() -> None:
    with pytest.raises(ValidationError, match="cyrillic small letter a"):
        clean_typed("аda@example.org")
    with pytest.raises(ValidationError, match="reads like “apple”, but is written in Cyrillic letters"):
        clean_typed("ada@аррӏе.com")


def test_people_paste_addresses_in_any_way() -> None:
    text = 'Ada Lovelace <ada@example.org>, bob@example.org;\n"Curie, Marie" <marie@example.org>\r\n'
    text += " dora@x.org erin@x.org,,"
    assert split(text) == ["ada@example.org", "bob@example.org", "marie@example.org", "dora@x.org", "erin@x.org"]
    assert split(" ,;\n <> ") == []


def test_addresses_for_people_who_decide_and_for_those_who_should_not_know() -> None:
    assert shown("ada@example.org") == "ada@example.org"
    assert shown("ada@xn--bcher-kva.example") == "ada@bücher.example (xn--bcher-kva.example)"
    assert shown("ada@xn--zz.example") == "ada@xn--zz.example"
    assert masked("ada@example.org") == "a•••@e•••.org"
    assert masked("ada@mail.example.co.uk") == "a•••@m•••.uk"
    assert masked("a@localhost") == "a•••@l•••"
