"""Every address × every role × own and foreign ids: 404 to strangers, 403 to the weak, sign-in to the unknown."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from tests.pages.routes import ROUTES, arguments, filled, our_patterns
from tests.pages.world import EVERYBODY, Tenants

PATTERNS = dict(our_patterns())


def address(name: str, ids: dict[str, Any]) -> str:
    query = f"?{urlencode(ROUTES[name].query)}" if ROUTES[name].query else ""
    return reverse(name, kwargs={key: ids[key] for key in arguments(PATTERNS[name])}) + query


def ask(client: Client, name: str, method: str, ids: dict[str, Any]) -> Any:
    """The answer; what it wrote is undone."""
    with transaction.atomic():
        if method == "GET":
            response = client.get(address(name, ids))
        else:
            response = client.post(address(name, ids), filled(ROUTES[name].form or {}, ids))
        transaction.set_rollback(True)
    return response


def methods_of(name: str) -> list[str]:
    return (["GET"] if ROUTES[name].get else []) + (["POST"] if ROUTES[name].form is not None else [])


def test_every_address_is_classified() -> None:
    assert set(PATTERNS) == set(ROUTES)


@pytest.mark.parametrize("role", EVERYBODY)
def test_everybody_gets_what_their_role_allows(tenants: Tenants, role: str) -> None:
    client = tenants.client(role)
    (tenants.lab.files / "job.py").write_text("print(1)\n")
    wrong = []
    for name, route in ROUTES.items():
        for method in methods_of(name):
            (tenants.lab.files / "job.py").write_text("print(1)\n")
            (tenants.lab.files / "other.py").unlink(missing_ok=True)
            response = ask(client, name, method, tenants.ids())
            if route.public:
                fine = response.status_code in {200, 302, 303} | route.refusals
            elif role in {"anonymous", "inactive"}:
                fine = response.status_code == 302 and response["Location"].startswith("/accounts/login/")
            elif not route.in_tenant or role in route.allowed:
                fine = response.status_code in {200, 302, 409, 422}
            elif role in route.seen_by:
                fine = response.status_code == 403 and says_who_can_help(tenants, name, response)
            else:
                fine = response.status_code == 404
            if not fine:
                wrong.append(f"{method} {name}: {response.status_code}")
    assert wrong == []


def says_who_can_help(tenants: Tenants, name: str, response: HttpResponse) -> bool:
    """The page names a role that would do, and people who can give it, by address."""
    in_workspace = "workspace" in arguments(PATTERNS[name])
    helpers = ["owner", "admin", *(["ws_admin"] if in_workspace else [])]
    text = response.content.decode()
    return all(tenants.people[helper].email in text for helper in helpers) and "This needs the role " in text


def test_allowed_pages_are_shown_and_allowed_writes_are_made(tenants: Tenants) -> None:
    """The walk above accepts a refusal for a reason of state; here the owner gets through."""
    client = tenants.client("owner")
    wrong = []
    for name in ROUTES:
        for method in methods_of(name):
            response = ask(client, name, method, tenants.ids())
            (tenants.lab.files / "job.py").write_text("print(1)\n")
            expected = {"POST workspaces:configuration_delete": 409, "POST workspaces:delete": 409}
            expected |= {"POST accounts:unlock": 409}  # they are not locked
            expected |= {"POST workspaces:configuration_new_aws": 422}  # not offered here
            expected |= {"POST workspaces:configuration": 409}  # there is nothing to set up
            expected |= {"POST workspaces:network_new": 422}  # no cloud has any here
            expected |= {"POST accounts:token_new": 200, "POST workspaces:token_new": 200}  # the secret, shown once
            expected |= {"POST workspaces:files_upload": 422, "POST workspaces:files_edit": 422}
            expected |= {f"POST accounts:invitation_{verb}": 403 for verb in ("accept", "decline")}  # of another
            expected |= {
                "POST accounts:leave": 409,
                "POST workspaces:leave": 409,
                "POST accounts:organization_delete": 422,
                "POST jobs:template_delete": 409,
            }
            expected |= {"POST workspaces:instance_role_new": 422}  # LOCAL has none
            expected |= {"POST workspaces:instance_role_retry": 409}  # it did not fail
            expected |= {"POST workspaces:orphan_adopt": 409}  # the walk has asked for its removal by then
            expected |= {"POST accounts:marketplace_register": 303}
            expected |= {"POST accounts:marketplace_sandbox_send": 409}  # there is no subscription
            expected |= {"POST accounts:audit_export": 200, "POST billing:export": 200}
            expected |= {"POST billing:statement_file": 200}
            expected |= {"POST notebooks:open": 200}  # the page that hands over
            expected |= {"POST billing:budget_end_lift": 409}  # it is not lifted
            expected |= {
                "POST accounts:sso_start": 422,
                "GET accounts:sso_callback": 400,
                "POST accounts:sso_test": 200,
            }
            redirects = {"GET home", "GET workspaces:enter", "GET accounts:marketplace_claim"}
            default = 302 if method == "POST" or f"{method} {name}" in redirects else 200
            if response.status_code != expected.get(f"{method} {name}", default):
                wrong.append(f"{method} {name}: {response.status_code}")
    assert wrong == []


def test_forms_do_not_take_foreign_ids(tenants: Tenants) -> None:
    """A cluster or configuration of another place, in a field of a form, is no choice."""
    ids = tenants.ids()
    client = tenants.client("owner")
    for other in (tenants.annex, tenants.abroad):
        form = filled(ROUTES["jobs:new"].form or {}, {**ids, "cluster": other.cluster.pk})
        response = client.post(address("jobs:new", ids), form)
        assert response.status_code == 422
        assert "Select a valid choice" in response.content.decode()
    abroad = tenants.client("outsider")
    form = {"name": "Stolen", "cloud_configuration": str(tenants.configuration.pk), "region": "local"}
    assert abroad.post(reverse("workspaces:new", args=[tenants.globex.pk]), form).status_code == 422
    listing = reverse("jobs:list", args=[tenants.lab.workspace.pk])
    page = client.get(f"{listing}?cluster={tenants.abroad.cluster.pk}").content.decode()
    assert tenants.abroad.run.name not in page


def test_writes_are_post_only(tenants: Tenants) -> None:
    client, ids = tenants.client("owner"), tenants.ids()
    before = AuditEvent.objects.count()
    for name in [name for name, route in ROUTES.items() if not route.get]:
        for method in ("get", "head", "put", "patch", "delete"):
            response = getattr(client, method)(address(name, ids))
            assert (response.status_code, response["Allow"]) == (405, "POST"), f"{method} {name}"
    assert AuditEvent.objects.count() == before
    assert (tenants.lab.files / "job.py").exists()


def test_pages_answer_head_and_refuse_unknown_methods(tenants: Tenants) -> None:
    client, ids = tenants.client("owner"), tenants.ids()
    for name in [name for name, route in ROUTES.items() if route.get]:
        where = address(name, ids)
        if ROUTES[name].stream:
            assert client.head(where).status_code == 405, name  # an answer without a body that would never end
        else:
            head = client.head(where)
            assert head.status_code == client.get(where).status_code, name
            assert b"".join(head) == b"", name
        assert client.delete(where).status_code == client.put(where).status_code == 405, name
        if ROUTES[name].form is None:
            assert client.post(where).status_code == 405, name


def test_a_workspace_that_is_gone_is_not_found_and_one_that_is_not_ready_says_so(tenants: Tenants) -> None:
    client, workspace = tenants.client("owner"), tenants.lab.workspace
    not_ready_pages = {"workspaces:row", "workspaces:events", "workspaces:settings", "workspaces:delete"}
    not_ready_pages |= {"workspaces:members", "workspaces:member_add", "workspaces:member", "workspaces:member_remove"}
    not_ready_pages |= {"workspaces:leave", "workspaces:invitation_resend", "workspaces:invitation_revoke"}
    not_ready_pages |= {"workspaces:tokens", "workspaces:token_new", "workspaces:token_revoke"}
    lab_routes = [name for name in ROUTES if "workspace" in arguments(PATTERNS[name])]
    for status in ("NEW", "INPROGRESS", "FAILED", "TERMINATING"):
        type(workspace).objects.filter(pk=workspace.pk).update(status=status)
        for name in lab_routes:
            if name not in not_ready_pages:
                response = ask(client, name, methods_of(name)[0], tenants.ids())
                assert response.status_code == 409, name
                assert f"is {status}" in response.content.decode()
        assert ask(client, "workspaces:settings", "GET", tenants.ids()).status_code == 200
        assert ask(client, "workspaces:row", "GET", tenants.ids()).status_code == 200
    type(workspace).objects.filter(pk=workspace.pk).update(status="TERMINATED")
    for name in lab_routes:
        assert ask(client, name, methods_of(name)[0], tenants.ids()).status_code == 404, name


def test_losing_a_membership_closes_the_door_at_once(tenants: Tenants) -> None:
    client = tenants.client("developer")
    where = address("clusters:list", tenants.ids())
    assert client.get(where).status_code == 200
    tenants.people["developer"].workspace_memberships.all().delete()
    assert client.get(where).status_code == 404
    developer = tenants.people["owner"]
    owner = tenants.client("owner")
    developer.memberships.all().delete()
    assert owner.get(where).status_code == 404


def test_somebody_out_of_the_organization_is_out_of_its_workspaces(tenants: Tenants) -> None:
    """A workspace membership alone, left over, opens nothing."""
    client = tenants.client("ws_admin")
    tenants.people["ws_admin"].memberships.all().delete()
    assert client.get(address("workspaces:files", tenants.ids())).status_code == 404


def test_pages_work_for_htmx(tenants: Tenants) -> None:
    """Drawers and rows are asked for with HX-Request: a template without that part would fail only there."""
    client, ids = tenants.client("owner"), tenants.ids()
    for name in [name for name, route in ROUTES.items() if route.get and not route.stream]:
        response = client.get(address(name, ids), headers={"hx-request": "true"})
        assert response.status_code in {200, 302} | ROUTES[name].refusals, name
