"""What people do to get in, for the tests of each part of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.test import Client

from accounts.models import Organization, PendingSignup, User
from tests.mailbox import link_in_mail

FORM = {
    "organization": "Initech",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "password1": "an engine of brass",
    "accept_terms": "on",
}
CHECK_MAIL = "/accounts/confirm-email/"


def address(browser: Client) -> str:
    """Ada's, in this test; mail to one address is limited."""
    return f"ada-{browser.defaults['REMOTE_ADDR']}@example.org"


def sign_up(browser: Client, where: str = "/accounts/signup/", **changes: Any) -> Any:
    """Fill in the form, as Ada but for ``changes``; None leaves a field out."""
    given = {"email": address(browser), **FORM, **changes}
    return browser.post(where, {key: value for key, value in given.items() if value is not None})


def activate(browser: Client, to: str = "") -> Any:
    """Open the link in the newest mail and press the button."""
    return browser.post(link_in_mail(to))


def sign_in(browser: Client, email: str, password: str = FORM["password1"], query: str = "") -> Any:
    return browser.post(f"/accounts/login/{query}", {"login": email, "password": password})


def nothing_was_made() -> bool:
    return not (User.objects.exists() or Organization.objects.exists() or PendingSignup.objects.exists())


def at_once(*calls: Callable[[], object]) -> list[object]:
    """What each returned or raised, all begun at the same moment."""
    barrier = threading.Barrier(len(calls))
    results: list[object] = [None] * len(calls)

    def run(number: int, call: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            results[number] = call()
        except Exception as error:
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results
