"""An organization that lets nobody in with a password alone: who is kept out, where, and how they come back."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from allauth.mfa.models import Authenticator
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import RequestFactory

from accounts import services_security as services
from accounts import sessions
from accounts.access import enter
from accounts.models import AuditEvent, Organization
from accounts.second_factor import SecondFactorNeededError
from portal.errors import PermissionNeededError, UserError
from tests.accounts.test_mfa import code, confirm
from tests.factories import actor, make_authenticator
from tests.pages.routes import ROUTES
from tests.pages.test_access import ask, methods_of
from tests.pages.world import Tenants, make_tenants
from workspaces.access import enter_workspace, may_upload

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenants(db: None, tmp_path: Path) -> Tenants:
    return make_tenants(tmp_path)


@pytest.fixture
def strict(tenants: Tenants) -> Tenants:
    """Acme asks for a second factor; the owner has one, nobody else."""
    make_authenticator(tenants.people["owner"])
    require(tenants)
    return tenants


def require(tenants: Tenants, required: bool = True, by: str = "owner") -> None:
    who = actor(tenants.people[by])
    services.require_second_factor(actor=who, organization=tenants.acme, required=required)


LEAVE = "accounts:leave"
IN_TENANT = [name for name, route in ROUTES.items() if route.in_tenant and name != LEAVE]


@pytest.mark.parametrize("role", ["admin", "member", "developer"])
def test_every_page_of_the_organization_and_its_workspaces_is_shut(strict: Tenants, role: str) -> None:
    client = strict.client(role)
    wrong = []
    for name in IN_TENANT:
        for method in methods_of(name):
            response = ask(client, name, method, strict.ids())
            if role in ROUTES[name].seen_by:
                fine = response.status_code == 403 and "asks for a second factor" in response.content.decode()
            else:
                fine = response.status_code == 404
            if not fine:
                wrong.append(f"{method} {name}: {response.status_code}")
    assert wrong == []
    assert not AuditEvent.objects.filter(actor_user=strict.people[role]).exists()


@pytest.mark.parametrize("type", ["totp", "webauthn"])
def test_who_has_one_goes_on(strict: Tenants, type: str) -> None:
    make_authenticator(strict.people["developer"], type)
    assert strict.client("developer").get(f"/w/{strict.lab.workspace.pk}/clusters/").status_code == 200


def test_recovery_codes_alone_are_none(strict: Tenants) -> None:
    make_authenticator(strict.people["developer"], "recovery_codes")
    assert strict.client("developer").get(f"/w/{strict.lab.workspace.pk}/clusters/").status_code == 403


def test_leaving_needs_none_and_opens_nothing(strict: Tenants) -> None:
    person, acme = strict.people["developer"], strict.acme
    client = strict.client("developer")
    page = client.get(f"/w/{strict.lab.workspace.pk}/clusters/").content.decode()
    where = f"/o/{acme.pk}/leave/"
    assert f'action="{where}"' in page
    assert client.get(where).status_code == 405
    left = client.post(where, follow=True)
    assert f"You have left {acme}." in left.content.decode()
    make_authenticator(person)
    assert "Go on where you were" not in client.get("/accounts/2fa/").content.decode()
    assert not acme.memberships.filter(user=person).exists()
    assert not person.workspace_memberships.exists()
    assert AuditEvent.objects.get(verb="membership.leave").actor_user == person
    assert client.get(f"/o/{acme.pk}/people/").status_code == 404
    assert client.post(where).status_code == 404


def test_the_only_owner_cannot_leave_without_one_either(strict: Tenants) -> None:
    Authenticator.objects.all().delete()
    response = strict.client("owner").post(f"/o/{strict.acme.pk}/leave/")
    assert (response.status_code, "LastOwner" in response.content.decode()) == (409, True)
    assert strict.acme.memberships.filter(user=strict.people["owner"]).exists()


def test_other_organizations_do_not_mind(strict: Tenants) -> None:
    assert strict.client("outsider").get(f"/o/{strict.globex.pk}/people/").status_code == 200
    assert strict.client("outsider").get(f"/o/{strict.acme.pk}/people/").status_code == 404


def test_the_way_leads_there_and_back(strict: Tenants) -> None:
    client = strict.client("developer", SERVER_NAME="localhost")
    where = f"/w/{strict.lab.workspace.pk}/clusters/?q=etl"
    text = client.get(where).content.decode()
    assert "/accounts/2fa/totp/activate/" in text
    assert "/accounts/2fa/webauthn/add/" in text
    assert "Go on where you were" not in client.get("/accounts/2fa/").content.decode()
    secret = confirm(client, "/accounts/2fa/totp/activate/").context["form"].secret
    done = client.post("/accounts/2fa/totp/activate/", {"code": code(secret)}, follow=True).content.decode()
    assert f'href="{where}"' in done
    assert client.get(where).status_code == 200
    assert "Go on where you were" not in client.get("/accounts/2fa/").content.decode()


def test_a_part_of_an_open_page_loads_the_page_anew(strict: Tenants) -> None:
    response = strict.client("developer").get(f"/w/{strict.lab.workspace.pk}/clusters/", headers={"hx-request": "true"})
    assert response["HX-Refresh"] == "true"


def test_open_streams_and_uploads_are_shut_too(tenants: Tenants) -> None:
    client = tenants.client("developer")
    client.get("/organizations/new/")
    request = RequestFactory().get("/")
    request.session, request.user = client.session, tenants.people["developer"]
    workspace = tenants.lab.workspace
    streams = [
        async_to_sync(sessions.still(request, lambda again: enter(again, tenants.acme.pk))),
        async_to_sync(sessions.still(request, lambda again: enter_workspace(again, workspace.pk))),
    ]
    assert all(stream() for stream in streams)
    assert may_upload(request, str(workspace.pk))
    make_authenticator(tenants.people["owner"])
    require(tenants)
    assert not any(stream() for stream in streams)
    with pytest.raises(SecondFactorNeededError):
        may_upload(request, str(workspace.pk))


def test_staff_who_act_as_a_person_are_not_asked(strict: Tenants) -> None:
    request = RequestFactory().get("/")
    request.session, request.user = {"impersonation": 1}, strict.people["developer"]  # type: ignore[assignment]
    assert enter(request, strict.acme.pk)
    request.session = {}  # type: ignore[assignment]
    with pytest.raises(SecondFactorNeededError):
        enter(request, strict.acme.pk)


# --- switching it on and off ----------------------------------------------------------------------------------------


def others(tenants: Tenants) -> int:
    """All but the owner."""
    return tenants.acme.memberships.filter(user__is_active=True).exclude(user=tenants.people["owner"]).count()


def test_only_owners_switch_it_and_only_with_a_factor_of_their_own(tenants: Tenants) -> None:
    with pytest.raises(PermissionNeededError):
        require(tenants, by="admin")
    with pytest.raises(UserError, match="SecondFactorNeeded"):
        require(tenants)
    response = tenants.client("owner").post(f"/o/{tenants.acme.pk}/settings/second-factor/", {"required": "yes"})
    assert response.status_code == 409
    assert "You have no second factor yourself" in response.content.decode()
    make_authenticator(tenants.people["owner"])
    require(tenants)
    require(tenants, False)
    assert not Organization.objects.get(pk=tenants.acme.pk).require_second_factor
    events = AuditEvent.objects.filter(verb="organization.require_second_factor").order_by("number")
    assert [event.detail["after"] for event in events] == [{"required": True}, {"required": False}]
    assert events[0].detail["people_without"] == others(tenants)


def test_the_page_says_whom_it_would_keep_out(tenants: Tenants) -> None:
    make_authenticator(tenants.people["owner"])
    client = tenants.client("owner")
    where = f"/o/{tenants.acme.pk}/settings/"
    text = client.get(where).content.decode()
    count = others(tenants)
    assert f"{count} of {count + 1} people have none: Admin Example, Billing Example" in " ".join(text.split())
    assert f"{count} people cannot go on working here" in text
    client.post(f"{where}second-factor/", {"required": "yes"})
    text = client.get(where).content.decode()
    assert "Nobody enters this organization with a password alone." in text
    assert "Stop requiring it" in text


@pytest.mark.parametrize("page", ["totp/deactivate", "webauthn/keys/{key}/remove"])
def test_taking_away_the_last_one_says_what_follows(strict: Tenants, page: str) -> None:
    owner = strict.people["owner"]
    client = strict.client("owner", SERVER_NAME="localhost")
    if "key" in page:
        Authenticator.objects.filter(user=owner).delete()
        page = page.format(key=make_authenticator(owner, "webauthn").pk)
    text = confirm(client, f"/accounts/2fa/{page}/").content.decode()
    assert "This is your last second factor" in text
    assert str(strict.acme) in text
    make_authenticator(owner, "webauthn")
    assert "This is your last second factor" not in confirm(client, f"/accounts/2fa/{page}/").content.decode()


@pytest.mark.django_db(transaction=True)
def test_two_owners_at_once_leave_one_answer_and_its_events(tmp_path: Path) -> None:
    tenants = make_tenants(tmp_path)
    make_authenticator(tenants.people["owner"])

    def switch(required: bool) -> None:
        require(tenants, required)
        connection.close()

    threads = [threading.Thread(target=switch, args=(True,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert AuditEvent.objects.filter(verb="organization.require_second_factor").count() == 1
