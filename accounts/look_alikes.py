"""Addresses that people type for somebody else, where a letter that only looks right would let in the wrong one.

Refused are invisible characters, letters of several scripts in one word of a domain, and words of another script that
read as Latin ones. What an address then still can be mistaken for, ``addresses.shown`` makes visible.
"""

from __future__ import annotations

import re
import unicodedata

import idna
from django.core.exceptions import ValidationError

from accounts.addresses import clean_email

_SEPARATORS = re.compile(r"[,;\n\r]+")
_QUOTED_NAME = re.compile(r'"[^"]*"\s*(?=<)')
_IN_BRACKETS = re.compile(r".*<([^<>]*)>\s*$", re.DOTALL)

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
"""Scripts that are written in one word."""

_LATIN_LOOKS = dict(zip("асԁеһіјӏорԛѕԝхуүɡαικνορτυχω", "acdehijlopqswxyygaiknoptuxw", strict=True))
"""Letters of other scripts that look like a Latin one in most fonts."""


def split(text: str) -> list[str]:
    """The addresses in a text: separated by commas, semicolons, line breaks or spaces, with or without names before
    them (``Ada Lovelace <ada@example.org>``)."""
    found: list[str] = []
    for part in _SEPARATORS.split(_QUOTED_NAME.sub("", text)):
        named = _IN_BRACKETS.match(part)
        found += [named[1].strip()] if named else part.split()
    return [address for address in found if address]


def clean_typed(text: str) -> str:
    """The one spelling of an address that was typed. Raises ValidationError, which says what is wrong with it."""
    text = text.strip()
    if any(unicodedata.category(character) in _INVISIBLE for character in text):
        shown = "".join(character if character.isprintable() else "�" for character in text)
        raise ValidationError(f"{shown} holds an invisible character. Type the address by hand.", code="invisible")
    mailbox = unicodedata.normalize("NFKC", text.rpartition("@")[0])
    for character in mailbox:
        if not character.isascii():
            name = unicodedata.name(character, "an unknown letter").lower()
            raise ValidationError(
                f"{text} has {character} ({name}) before the @. Only the letters a to z can stand there; others may "
                "look like them. Type the address by hand.",
                code="letters",
            )
    try:
        email = clean_email(text)
        domain = idna.decode(email.rpartition("@")[2])
    except (ValidationError, UnicodeError):
        raise ValidationError(f"{text[:254]} is not an e-mail address.", code="invalid") from None
    _refuse_look_alikes(text, domain)
    return email


def _refuse_look_alikes(text: str, domain: str) -> None:
    labels = domain.split(".")
    for label in labels:
        scripts = {_script(character) for character in label if unicodedata.category(character)[0] == "L"}
        if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
            names = " and ".join(sorted(script.title() for script in scripts))
            raise ValidationError(
                f"{text} mixes {names} letters in “{label}”, as addresses do that pretend to be another one. Type the "
                "address by hand.",
                code="mixed_scripts",
            )
        looks = "".join(_LATIN_LOOKS.get(character, character) for character in label)
        if scripts - {"LATIN"} and looks.isascii() and labels[-1].isascii():
            raise ValidationError(
                f"{text} reads like “{looks}”, but is written in {scripts.pop().title()} letters. Type the address by "
                "hand.",
                code="look_alike",
            )


def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").split()[0]
