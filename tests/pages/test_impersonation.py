"""Every address, for staff who acts as an owner: the tenant's pages are open, what is the owner's alone is not."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.audit import Actor
from accounts.impersonation import SESSION_KEY, WITHHELD
from accounts.services_impersonation import start_impersonation
from tests.factories import make_user
from tests.pages.routes import ROUTES
from tests.pages.test_access import PATTERNS, ask, methods_of
from tests.pages.world import Tenants

OPEN = {"accounts:impersonation_stop"}
"""Outside of tenants, and harmless; so are public pages, as long as nothing is sent."""

SECRETS = re.compile(
    r"token|secret|sso|single_sign|connection|domain|password|factor|organization_delete|leave|catalog_(new|edit|test)"
)
"""Names of addresses that staff must not reach as somebody else."""


@pytest.fixture
def staff(tenants: Tenants) -> Client:
    root = make_user("root", is_staff=True, is_superuser=True)
    who = Actor("staff", "Staff Root", root)
    row = start_impersonation(actor=who, person=tenants.people["owner"], reason="Ticket 1")
    client = Client()
    client.force_login(root)
    session = client.session
    session[SESSION_KEY] = row.pk
    session.save()
    return client


def is_shut(name: str, method: str) -> bool:
    if name.startswith("notebooks:"):  # nobody's but their owner's
        return True
    if ROUTES[name].public:
        return method != "GET"
    if not ROUTES[name].in_tenant:
        return name not in OPEN
    required = getattr(PATTERNS[name].callback, "required_permission", None)
    return required in WITHHELD or SECRETS.search(name) is not None


@pytest.mark.parametrize("name", ROUTES)
def test_staff_who_acts_as_an_owner(tenants: Tenants, staff: Client, name: str) -> None:
    (tenants.lab.files / "job.py").write_text("print(1)\n")
    for method in methods_of(name):
        response = ask(staff, name, method, tenants.ids())
        shut = response.status_code == 403 and b"NotWhileImpersonating" in response.content
        assert shut == is_shut(name, method), f"{method} answers {response.status_code}"
        if not shut:
            assert response.status_code < 500
