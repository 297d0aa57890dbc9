"""The addresses that libraries bring, as everybody: allauth's sign-in and security pages, and the operator's pages.

``test_access`` walks our own. A new address of allauth or of a model's pages that is missing here fails.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import admin
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from accounts.models import AuditEvent
from tests.factories import make_user
from tests.pages.routes import FOREIGN
from tests.pages.world import EVERYBODY, Tenants

ANYBODY = {
    "account_login",
    "account_logout",  # leads a stranger home
    "account_inactive",
    "account_signup",
    "account_email_verification_sent",
    "account_confirm_email",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key",
    "account_reset_password_from_key_done",
    "account_confirm_login_code",  # the second step of a sign-in, as the next two
    "mfa_authenticate",
    "mfa_login_webauthn",
}
"""Of allauth, for strangers too."""

SIGNED_IN = {
    "account_reauthenticate",
    "account_email",
    "account_change_password",
    "account_set_password",
    "mfa_index",
    "mfa_reauthenticate",
    "mfa_activate_totp",
    "mfa_deactivate_totp",
    "mfa_view_recovery_codes",
    "mfa_generate_recovery_codes",
    "mfa_download_recovery_codes",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "mfa_reauthenticate_webauthn",
    "mfa_remove_webauthn",
    "mfa_edit_webauthn",
    "usersessions_list",
}
"""Of allauth, about whoever asks, and nobody else."""

OPERATORS: set[str | None] = {
    "index",
    "login",
    "logout",
    "password_change",
    "password_change_done",
    "autocomplete",
    "jsi18n",
}
OPERATORS |= {"view_on_site", "app_list", None}
"""Of the operator's site itself; the one without a name leads from an old address, or adds a slash."""

OF_A_MODEL = {"changelist", "add", "history", "delete", "change", "task"}


def below(prefix: str) -> Iterator[tuple[str | None, set[str]]]:
    """The name of each address below a prefix, however deep, and of what is in it."""
    (root,) = [entry for entry in get_resolver().url_patterns if str(entry.pattern) == prefix]
    waiting: list[tuple[URLPattern | URLResolver, set[str]]] = [(root, set())]
    while waiting:
        entry, names = waiting.pop()
        names = names | set(entry.pattern.regex.groupindex)
        if isinstance(entry, URLResolver):
            waiting += [(part, names) for part in entry.url_patterns]
        else:
            yield entry.name, names


ACCOUNTS = {name or "": names for name, names in below("accounts/")}
OPERATOR = {name or "": names for name, names in below("admin/") if name not in OPERATORS - {"index", "jsi18n"}}


def of_models() -> set[str]:
    labels = [f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry]
    return {f"{label}_{view}" for label in labels for view in OF_A_MODEL}


def ask(client: Client, method: str, where: str) -> Any:
    """The answer; what it wrote is undone, and whoever was signed out is signed in again."""
    session = client.cookies[settings.SESSION_COOKIE_NAME].value
    with transaction.atomic():
        response = client.get(where) if method == "GET" else client.post(where, {})
        transaction.set_rollback(True)
    client.cookies[settings.SESSION_COOKIE_NAME] = session
    return response


def test_every_borrowed_address_is_classified() -> None:
    assert set(FOREIGN) == {"accounts/", "admin/"}
    assert set(ACCOUNTS) == ANYBODY | SIGNED_IN
    assert {name for name, _ in below("admin/")} - OPERATORS == of_models()


@pytest.fixture
def key_of_another(tenants: Tenants) -> Authenticator:
    """A passkey of somebody who is nobody in these walks."""
    other = make_user("other")
    return Authenticator.objects.create(user=other, type="webauthn", data={"name": "Their key", "credential": {}})


def confirm(client: Client, tenants: Tenants, role: str) -> None:
    """The browser's password was asked for just now, as dangerous pages want it."""
    session = client.session
    confirmed = {"method": "password", "at": time.time() + 1e6, "reauthenticated": True}
    session["account_authentication_methods"] = [confirmed]
    session["account_authentication_methods_user"] = str(tenants.people[role].pk) if role != "anonymous" else ""
    session.save()


def account_address(name: str, key: Authenticator) -> str:
    given = {"pk": key.pk, "key": "no-such-key", "uidb36": "1"}
    return reverse(name, kwargs={argument: given[argument] for argument in ACCOUNTS[name]})


@pytest.mark.parametrize("role", EVERYBODY)
def test_sign_in_pages_are_for_strangers_and_security_pages_are_about_oneself(
    tenants: Tenants, role: str, key_of_another: Authenticator
) -> None:
    client, wrong = tenants.client(role), []
    confirm(client, tenants, role)
    before = list(Authenticator.objects.values_list("pk", "data"))
    for name in ACCOUNTS:
        for method in ("GET", "POST"):
            response = ask(client, method, account_address(name, key_of_another))
            if name in SIGNED_IN and role in {"anonymous", "inactive"}:
                fine = response.status_code == 302 and response["Location"].startswith("/accounts/login/")
            elif name in {"mfa_remove_webauthn", "mfa_edit_webauthn"}:
                fine = response.status_code == 404
            else:
                fine = response.status_code in {200, 302, 400, 404, 405, 409, 422}
            if not fine or (response.status_code == 200 and b"Their key" in response.content):
                wrong.append(f"{method} {name}: {response.status_code}")
    assert wrong == []
    assert list(Authenticator.objects.values_list("pk", "data")) == before


def operator_address(name: str, tenants: Tenants) -> str:
    """With Acme's id, whatever the model: who may not enter does not learn whether it fits."""
    given = {"object_id": str(tenants.acme.pk), "name": "delete"}
    return reverse(f"admin:{name}", kwargs={argument: given[argument] for argument in OPERATOR[name]})


@pytest.mark.parametrize("role", EVERYBODY)
def test_the_operators_pages_are_closed_to_customers(tenants: Tenants, role: str) -> None:
    """Whatever they are in their organization."""
    client, wrong = tenants.client(role), []
    before = AuditEvent.objects.count()
    for name in OPERATOR:
        for method in ("GET", "POST"):
            response = ask(client, method, operator_address(name, tenants))
            if response.status_code != 302 or not response["Location"].startswith(reverse("admin:login")):
                wrong.append(f"{method} {name}: {response.status_code}")
    assert wrong == []
    assert AuditEvent.objects.count() == before


def test_staff_without_permissions_gets_no_further_than_the_front_page(tenants: Tenants) -> None:
    client, wrong = Client(), []
    client.force_login(make_user("intern", is_staff=True))
    before = AuditEvent.objects.count()
    for name in OPERATOR:
        for method in ("GET", "POST"):
            status = ask(client, method, operator_address(name, tenants)).status_code
            if status not in ({200, 405} if name in {"index", "jsi18n"} else {302, 403, 404}):
                wrong.append(f"{method} {name}: {status}")
    assert wrong == []
    assert AuditEvent.objects.count() == before


def test_the_front_page_of_staff_without_permissions_names_no_model(tenants: Tenants) -> None:
    client = Client()
    client.force_login(make_user("intern", is_staff=True))
    page = client.get(reverse("admin:index")).content.decode()
    assert [model._meta.label for model in admin.site._registry if f"/admin/{model._meta.app_label}/" in page] == []
