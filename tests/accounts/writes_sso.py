"""Each write about single sign-on as the audit log must tell it; see ``tests/pages/test_audit.py``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accounts import services_sso as sso
from accounts.models import SsoConnection, SsoDomain
from tests.factories import make_domain
from tests.pages.world import Tenants


def _connection(t: Tenants) -> SsoConnection:
    return SsoConnection.objects.get(organization=t.acme)


def _domain(t: Tenants, *, approved: bool = True) -> SsoDomain:
    return make_domain(_connection(t), "fresh.example", approved=approved)


WRITES: dict[str, tuple[str, Callable[[Tenants, dict[str, Any]], object]]] = {
    "accounts.services_sso.save_provider": (
        "sso_connection.save",
        lambda t, by: sso.save_provider(
            **by, organization=t.acme, issuer="https://idp.example", client_id="portal", client_secret="not-in-any-log"
        ),
    ),
    "accounts.services_sso.set_policy": (
        "sso_connection.set_policy",
        lambda t, by: sso.set_policy(**by, connection=_connection(t), enabled=True, enforced=True, joins=False),
    ),
    "accounts.services_sso.remove_connection": (
        "sso_connection.remove",
        lambda t, by: sso.remove_connection(**by, connection=_connection(t)),
    ),
    "accounts.services_sso.request_domain": (
        "sso_domain.request",
        lambda t, by: sso.request_domain(**by, connection=_connection(t), domain="fresh.example"),
    ),
    "accounts.services_sso.remove_domain": (
        "sso_domain.remove",
        lambda t, by: sso.remove_domain(**by, domain=_domain(t)),
    ),
    "accounts.services_sso.approve_domain": (
        "sso_domain.approve",
        lambda t, by: sso.approve_domain(**by, domain=_domain(t, approved=False)),
    ),
    "accounts.services_sso.withdraw_approval": (
        "sso_domain.withdraw_approval",
        lambda t, by: sso.withdraw_approval(**by, domain=_domain(t)),
    ),
}
MAKES_ITS_OWN = ("remove_domain", "approve_domain", "withdraw_approval")
