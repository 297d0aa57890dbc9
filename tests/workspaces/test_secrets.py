"""Secrets: what is kept, what is shown, what jobs get, and that no value is anywhere but sealed."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from portal import queue
from portal.crypto import unseal
from portal.errors import UserError
from tests.factories import actor, make_organization, make_secret, make_workspace
from tests.mailbox import delivered
from tests.pages.world import Tenants
from workspaces import hooks, services
from workspaces import services_secrets as secrets
from workspaces.models import Secret, SecretGroup, Workspace
from workspaces.secrets import environment_of, variables_of

CANARY = "canary-Zy9!x-7f3a"


@pytest.fixture
def workspace(tenants: Tenants) -> Workspace:
    return tenants.lab.workspace


@pytest.fixture
def group(workspace: Workspace) -> SecretGroup:
    return secrets.create_group(actor=actor(), workspace=workspace, name="production")


@pytest.fixture
def admin(tenants: Tenants) -> Client:
    return tenants.client("ws_admin")


def lines(*rows: tuple[str, str], stored: int = 0, removed: tuple[int, ...] = (), name: str = "db") -> dict[str, str]:
    """The form as a browser sends it: the stored keys first, then the new ones."""
    form = {"name": name, "keys-TOTAL_FORMS": str(len(rows)), "keys-INITIAL_FORMS": str(stored)}
    for number, (key, value) in enumerate(rows):
        form |= {f"keys-{number}-key": key, f"keys-{number}-value": value}
    return form | {f"keys-{number}-DELETE": "on" for number in removed}


def add(client: Client, group: SecretGroup, form: dict[str, str]) -> Any:
    return client.post(reverse("workspaces:secret_new", args=[group.workspace_id, group.pk]), form)


def edit(client: Client, secret: Secret, form: dict[str, str]) -> Any:
    return client.post(reverse("workspaces:secret_edit", args=[secret.group.workspace_id, secret.pk]), form)


def values_of(secret: Secret) -> dict[str, str]:
    secret.refresh_from_db()
    values = unseal(secret.sealed)
    assert secret.keys == sorted(values)
    return values


# --- the form --------------------------------------------------------------------------------------------------------


def test_a_secret_is_made_and_its_values_are_not_shown_again(admin: Client, group: SecretGroup) -> None:
    assert add(admin, group, lines(("USER", "reader"), ("PASSWORD", CANARY), ("", ""))).status_code == 302
    secret = Secret.objects.get(name="db")
    assert values_of(secret) == {"USER": "reader", "PASSWORD": CANARY}
    for name, arguments in (("secrets", []), ("secret_edit", [secret.pk])):
        text = admin.get(reverse(f"workspaces:{name}", args=[group.workspace_id, *arguments])).content.decode()
        assert "PASSWORD" in text
        assert CANARY not in text
        assert "reader" not in text


def test_what_was_typed_is_not_sent_back_either(admin: Client, group: SecretGroup) -> None:
    response = add(admin, group, lines(("1BAD", CANARY), ("GOOD", CANARY)))
    assert response.status_code == 422
    text = response.content.decode()
    assert CANARY not in text
    assert 'value="GOOD"' in text
    assert 'hx-preserve="true"' in text  # where scripts run, the element itself stays, with what was typed


def test_editing_replaces_keeps_adds_and_removes(admin: Client, workspace: Workspace) -> None:
    secret = make_secret(workspace, {"A": "1", "B": "2", "C": "3"})
    before = secret.name
    form = lines(("A", ""), ("B", "new"), ("C", ""), ("D", "4"), stored=3, removed=(2,), name="renamed")
    assert edit(admin, secret, form).status_code == 302
    assert values_of(secret) == {"A": "1", "B": "new", "D": "4"}
    event = AuditEvent.objects.get(verb="secret.update")
    assert event.detail["before"] == {"name": before, "keys": ["A", "B", "C"]}
    assert event.detail["after"] == {"name": "renamed", "keys": ["A", "B", "D"]}
    assert event.detail["values_replaced"] == ["B"]


def test_a_key_that_somebody_added_meanwhile_stays(admin: Client, workspace: Workspace) -> None:
    """Two people have the form open: neither undoes what the other did."""
    secret = make_secret(workspace, {"A": "1", "B": "2"})
    form = lines(("A", "one"), ("B", ""), stored=2, name=secret.name)
    secrets.update_secret(actor=actor(), secret=secret, name=secret.name, values={"C": "3"}, removed=["B"])
    assert edit(admin, secret, form).status_code == 422  # B has no value to keep any more
    assert edit(admin, secret, lines(("A", "one"), stored=1, name=secret.name)).status_code == 302
    assert values_of(secret) == {"A": "one", "C": "3"}


def test_a_key_can_be_removed_and_given_anew_at_once(admin: Client, workspace: Workspace) -> None:
    secret = make_secret(workspace, {"A": "1"})
    form = lines(("A", ""), ("A", "2"), stored=1, removed=(0,), name=secret.name)
    assert edit(admin, secret, form).status_code == 302
    assert values_of(secret) == {"A": "2"}


@pytest.mark.parametrize(
    ("key", "value", "field", "said"),
    [
        ("1A", "x", "key", "not a variable"),
        ("A-B", "x", "key", "not a variable"),
        ("A B", "x", "key", "not a variable"),
        ("É", "x", "key", "not a variable"),
        ("K" * 129, "x", "key", "at most 128"),
        ("PORTAL_CATALOG", "x", "key", "reserved"),
        ("LD_PRELOAD", "x", "key", "reserved"),
        ("BODO_NUM_WORKERS", "x", "key", "reserved"),
        ("HOME", "x", "key", "reserved"),
        ("A", "", "value", "Enter a value"),
        ("", "x", "key", "Enter a name"),
        ("A", "x" * 32769, "value", "32 KB"),
        ("A", "é" * 16385, "value", "32 KB"),
        ("A", "x\0y", "value", "Null characters"),
    ],
)
def test_the_error_stands_beside_its_line(
    admin: Client, group: SecretGroup, key: str, value: str, field: str, said: str
) -> None:
    response = add(admin, group, lines(("FINE", "x"), (key, value)))
    assert response.status_code == 422
    assert list(response.context["form"].keys.errors[1]) == [field]
    assert said in str(response.context["form"].keys.errors[1][field])
    assert f'id="id_keys-1-{field}_error"' in response.content.decode()
    assert not Secret.objects.filter(group=group).exists()


def test_a_value_of_the_largest_size_with_several_lines_is_kept_as_it_is(admin: Client, group: SecretGroup) -> None:
    """Browsers send line ends as CRLF."""
    value = "-----BEGIN KEY-----\r\n" + "x" * (32 * 1024 - 21) + "\r\n"
    assert add(admin, group, lines(("KEY", value))).status_code == 302
    assert values_of(Secret.objects.get(name="db")) == {"KEY": value.replace("\r\n", "\n")}


@pytest.mark.parametrize(
    "form",
    [
        lines(("A", "1"), ("A", "2")),
        lines(),
        lines(("", "")),
        lines(*((f"K{number}", "x") for number in range(51))),
        lines(*((f"K{number}", "x" * 30000) for number in range(3))),
        {**lines(("A", "1")), "keys-TOTAL_FORMS": "x"},
        {**lines(("A", "1")), "keys-TOTAL_FORMS": "9999999"},
        {"name": "db"},
    ],
)
def test_a_secret_that_cannot_be_is_refused(admin: Client, group: SecretGroup, form: dict[str, str]) -> None:
    response = add(admin, group, form)
    assert response.status_code == 422
    assert 'class="errorlist' in response.content.decode() or "data-error-message" in response.content.decode()
    assert not Secret.objects.filter(group=group).exists()


def test_a_key_is_in_one_secret_of_a_group_and_in_as_many_groups_as_people_like(
    admin: Client, group: SecretGroup, workspace: Workspace
) -> None:
    make_secret(workspace, {"TOKEN": "1"}, group)
    response = add(admin, group, lines(("TOKEN", "2")))
    assert response.status_code == 422
    assert "TOKEN is in the secret" in response.content.decode()
    other = secrets.create_group(actor=actor(), workspace=workspace, name="staging")
    assert add(admin, other, lines(("TOKEN", "2"))).status_code == 302


def test_names_are_taken_in_any_case_and_only_here(admin: Client, group: SecretGroup, tenants: Tenants) -> None:
    new = reverse("workspaces:secret_group_new", args=[group.workspace_id])
    response = admin.post(new, {"name": "PRODUCTION"})
    assert "exists" in str(response.context["form"].errors["name"])
    assert secrets.create_group(actor=actor(), workspace=tenants.annex.workspace, name="production").pk
    add(admin, group, lines(("A", "1"), name="db"))
    response = add(admin, group, lines(("B", "1"), name="DB"))
    assert "has a secret named DB" in str(response.context["form"].errors["name"])
    other = secrets.create_group(actor=actor(), workspace=group.workspace, name="staging")
    assert add(admin, other, lines(("B", "1"), name="db")).status_code == 302
    where = reverse("workspaces:secret_group_edit", args=[group.workspace_id, group.pk])
    assert admin.post(where, {"name": "Staging"}).status_code == 422
    assert admin.post(where, {"name": "Production", "description": "of the warehouse"}).status_code == 302


def test_viewers_see_names_and_nothing_to_press(tenants: Tenants, group: SecretGroup) -> None:
    make_secret(group.workspace, {"TOKEN": CANARY}, group)
    for role in ("viewer", "developer"):
        text = tenants.client(role).get(reverse("workspaces:secrets", args=[group.workspace_id])).content.decode()
        assert "TOKEN" in text
        assert "production" in text
        assert 'method="post" id="delete' not in text
        assert "Add secret" not in text


def test_what_was_deleted_meanwhile_is_said(group: SecretGroup) -> None:
    secret = make_secret(group.workspace, {"A": "1"}, group)
    secrets.delete_secret(actor=actor(), secret=secret)
    with pytest.raises(UserError, match="Gone"):
        secrets.update_secret(actor=actor(), secret=secret, name="x", values={"A": "2"})
    with pytest.raises(UserError, match="Gone"):
        secrets.delete_secret(actor=actor(), secret=secret)
    secrets.delete_group(actor=actor(), group=group)
    with pytest.raises(UserError, match="Gone"):
        secrets.create_secret(actor=actor(), group=group, name="x", values={"A": "2"})


# --- deletion --------------------------------------------------------------------------------------------------------


def test_what_templates_use_stays_and_they_are_named(
    admin: Client, group: SecretGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = make_secret(group.workspace, {"A": "1"}, group)
    monkeypatch.setattr(hooks, "uses", [lambda subject: [f"template {n}" for n in range(12)], lambda subject: []])
    for name, pk in (("secret_group_delete", group.pk), ("secret_delete", secret.pk)):
        response = admin.post(reverse(f"workspaces:{name}", args=[group.workspace_id, pk]))
        assert response.status_code == 409
        text = response.content.decode()
        assert "InUse" in text
        assert "template 0, template 1" in text
        assert "and 2 more" in text
    monkeypatch.setattr(hooks, "uses", [lambda subject: []])
    where = reverse("workspaces:secret_group_delete", args=[group.workspace_id, group.pk])
    assert admin.post(where).status_code == 302
    assert not Secret.objects.filter(pk=secret.pk).exists()


def test_deleting_the_workspace_forgets_the_values(tenants: Tenants) -> None:
    place = make_workspace(tenants.acme, tenants.configuration)
    secret = make_secret(place, {"A": CANARY})
    services.delete_workspace(actor=actor(), workspace=place)
    secret.refresh_from_db()
    assert secret.sealed == ""


# --- what jobs get ---------------------------------------------------------------------------------------------------


def test_the_group_that_is_named_later_wins(workspace: Workspace) -> None:
    low = make_secret(workspace, {"A": "low", "B": "low"})
    high = make_secret(workspace, {"B": "high", "C": "high"}, None)
    make_secret(workspace, {"D": "of the same group"}, high.group)
    assert environment_of(workspace, [low.group, high.group]) == {
        "A": "low",
        "B": "high",
        "C": "high",
        "D": "of the same group",
    }
    assert environment_of(workspace, [high.group, low.group])["B"] == "low"
    assert environment_of(workspace, []) == {}
    (shadowed,) = [line for line in variables_of(workspace, [low.group, high.group]) if line.hidden]
    assert (shadowed.key, shadowed.secret, shadowed.hidden) == ("B", high, (low,))


def test_a_group_of_another_workspace_is_not_given(tenants: Tenants, workspace: Workspace) -> None:
    foreign = make_secret(make_workspace(make_organization())).group
    for other in (foreign, tenants.annex.secret.group):
        with pytest.raises(UserError, match="SecretGroupGone"):
            environment_of(workspace, [other])


def test_a_group_that_is_gone_is_said_and_not_left_out(workspace: Workspace) -> None:
    group = make_secret(workspace).group
    secrets.delete_group(actor=actor(), group=SecretGroup.objects.get(pk=group.pk))
    with pytest.raises(UserError, match=group.name):
        environment_of(workspace, [group])


def test_more_than_a_process_can_be_given_is_refused(workspace: Workspace) -> None:
    groups = [make_secret(workspace, {f"A{n}": "x" * 32000, f"B{n}": "x" * 32000}).group for n in range(9)]
    assert len(environment_of(workspace, groups[:8])) == 16
    with pytest.raises(UserError, match="EnvironmentTooLarge"):
        environment_of(workspace, groups)


def test_the_service_refuses_what_the_form_refuses(group: SecretGroup) -> None:
    wrong: list[dict[str, str]] = [{}, {"LD_X": "x"}, {"A": ""}, {"A": "x\0"}, {"A": "\ud800"}, {"A": "x" * 32769}]
    for values in wrong:
        with pytest.raises(UserError):
            secrets.create_secret(actor=actor(), group=group, name="x", values=values)
    assert not group.secrets.exists()


# --- no value anywhere -----------------------------------------------------------------------------------------------


def test_no_value_is_anywhere_but_sealed(admin: Client, workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    """A value is put in, replaced, refused, used and deleted; then all that the portal wrote is searched for it."""
    caplog.set_level(logging.DEBUG)
    admin.post(reverse("workspaces:secret_group_new", args=[workspace.pk]), {"name": "canaries"})
    group = SecretGroup.objects.get(name="canaries")
    add(admin, group, lines(("A", f"{CANARY}-1"), ("B", f"{CANARY}-2")))
    add(admin, group, lines(("A", f"{CANARY}-3"), name="second"))  # refused: A is taken
    secret = Secret.objects.get(name="db")
    edit(admin, secret, lines(("A", f"{CANARY}-4"), ("B", ""), stored=2))
    edit(admin, secret, lines(("A", f"{CANARY}-5"), ("1BAD", f"{CANARY}-6"), stored=1))
    assert environment_of(workspace, [group]) == {"A": f"{CANARY}-4", "B": f"{CANARY}-2"}
    delivered()
    for found in (rows(), caplog.text, redis_content(), "".join(str(mail.message()) for mail in delivered())):
        assert CANARY not in found
    assert "canaries" in rows()  # the search itself finds what is there
    assert AuditEvent.objects.filter(verb__startswith="secret").count() == 3


def rows() -> str:
    """Everything in the database, as text."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            found += [str(row[0]) for row in cursor.fetchall()]
    return "\n".join(found)


def redis_content() -> str:
    redis = queue.connection()
    return "".join(f"{key!r}{redis.dump(key)!r}" for key in redis.scan_iter())


@pytest.mark.django_db(transaction=True)
def test_of_two_who_take_a_key_at_once_one_gets_it() -> None:
    group = SecretGroup.objects.create(workspace=make_workspace(make_organization()), name="production")
    barrier, answers = threading.Barrier(2), []

    def take(name: str) -> None:
        barrier.wait()
        try:
            secrets.create_secret(actor=actor(), group=group, name=name, values={"TOKEN": name})
            answers.append("made")
        except UserError as error:
            answers.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=take, args=[name]) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["KeyTaken", "made"]
    assert group.secrets.count() == 1
