"""What stands in an account without a record: searched, shown, removed and adopted, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.audit import SYSTEM
from accounts.models import AuditEvent
from clusters.models import Cluster
from portal import reconcile
from portal.clouds.base import CloudError, Handle, Orphan, Owned
from portal.errors import UserError
from tests.factories import (
    make_aws_configuration,
    make_cluster,
    make_instance_role,
    make_lost_thing,
    make_organization,
    make_workspace,
)
from tests.pages.world import Tenants
from workspaces import services_orphans
from workspaces.models import CloudConfiguration, LostThing, OrphanSearch, Workspace

pytestmark = pytest.mark.django_db

NAT = Orphan(
    key="us-east-2/nat/nat-1",
    id="nat-1",
    kind="NAT gateway",
    name="bodo lost nat-gateway",
    region="us-east-2",
    deployment="11111111-1111-4111-8111-111111111111",
    step="nat-gateway",
    daily=Decimal("1.08"),
    since=datetime(2026, 1, 2, tzinfo=UTC),
)
KEY = Orphan("us-east-2/key/k", "k", "encryption key", "", "us-east-2", NAT.deployment, "key", None)


@dataclass
class Account:
    """A cloud with these things in it. ``answers`` are what removals answer, or raise, in their order."""

    there: list[Orphan] = field(default_factory=list)
    owned: list[Sequence[Owned]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    removals: list[str] = field(default_factory=list)

    def find_orphans(self, owned: Sequence[Owned]) -> Sequence[Orphan]:
        self.owned.append(owned)
        return self.there

    def remove_orphan(self, orphan: Orphan) -> bool:
        self.removals.append(orphan.id)
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, BaseException):
            raise answer
        return bool(answer)

    def adopt_orphan(self, orphan: Orphan, handle: Handle) -> Handle:
        if self.answers:
            raise self.answers.pop(0)
        entry = {"id": orphan.id, "state": "created", "fingerprint": "", "order": 1}
        return {**handle, "steps": {**handle.get("steps", {}), orphan.step: entry}}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account([NAT, KEY])
    for module in ("reconcile_orphans", "services_orphans"):
        monkeypatch.setattr(f"workspaces.{module}.cloud_of", lambda _: account)
    return account


@pytest.fixture
def configuration() -> CloudConfiguration:
    return make_aws_configuration(make_organization())


def searched(configuration: CloudConfiguration) -> OrphanSearch:
    search = services_orphans.search_orphans(actor=SYSTEM, configuration=configuration)
    reconcile.run("orphan-search", str(search.pk))
    search.refresh_from_db()
    return search


def things(configuration: CloudConfiguration) -> dict[str, str]:
    return dict(LostThing.objects.in_configuration(configuration).values_list("provider_id", "status"))


def remove(configuration: CloudConfiguration, *ids: str) -> list[LostThing]:
    rows = list(LostThing.objects.in_configuration(configuration).filter(provider_id__in=ids))
    services_orphans.remove_orphans(actor=SYSTEM, configuration=configuration, things=[row.pk for row in rows])
    return rows


def test_a_search_keeps_what_it_found_until_the_next(account: Account, configuration: CloudConfiguration) -> None:
    search = searched(configuration)
    assert search.settled
    assert search.searched_at
    assert search.handle == {}
    assert things(configuration) == {"nat-1": "FOUND", "k": "FOUND"}
    row = LostThing.objects.get(provider_id="nat-1")
    assert row.orphan() == NAT
    account.there = [KEY]
    searched(configuration)
    assert things(configuration) == {"k": "FOUND"}


def test_every_deployment_of_the_account_is_told_also_of_other_tenants(
    account: Account, configuration: CloudConfiguration
) -> None:
    mine = make_workspace(configuration.organization, configuration, handle={"steps": {"vpc": {"id": "vpc-1"}}})
    cluster = make_cluster(mine, handle={"steps": {"scaling-group": {"id": "g"}}})
    gone = make_cluster(mine)
    Cluster.objects.filter(pk=gone.pk).update(status="TERMINATED")
    role = make_instance_role(mine)
    neighbour = make_aws_configuration(make_organization())
    theirs = make_workspace(neighbour.organization, neighbour)
    neighbour.deleted_at = timezone.now()
    neighbour.save(update_fields=["deleted_at"])
    elsewhere = make_aws_configuration(
        make_organization(), settings={"role_arn": "arn:aws:iam::333333333333:role/R", "region": "us-east-2"}
    )
    stranger = make_workspace(elsewhere.organization, elsewhere)
    searched(configuration)
    told = {each.id: each for each in account.owned[0]}
    assert set(told) == {str(mine.pk), str(cluster.pk), str(role.pk), str(theirs.pk)}
    assert str(stranger.pk) not in told
    assert told[str(cluster.pk)].handle["steps"]["scaling-group"]["id"] == "g"


def test_a_search_that_is_refused_says_why_and_keeps_what_was_found(
    account: Account, configuration: CloudConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(configuration)

    def refuse(owned: object) -> Sequence[Orphan]:
        raise CloudError("PermissionDenied", "Not authorized.", "Give iam:ListRoles.", permanent=True)

    monkeypatch.setattr(account, "find_orphans", refuse)
    search = searched(configuration)
    assert (search.failure_code, search.failure_hint) == ("PermissionDenied", "Give iam:ListRoles.")
    assert len(things(configuration)) == 2


def test_a_removal_goes_on_until_the_thing_is_absent(account: Account, configuration: CloudConfiguration) -> None:
    searched(configuration)
    account.answers = [False, CloudError("InUse", "It is used.", "It is tried again."), True]
    [row] = remove(configuration, "nat-1")
    for _ in range(3):
        assert things(configuration)["nat-1"] == "REMOVING"
        LostThing.objects.filter(pk=row.pk).update(due_at=timezone.now())
        reconcile.run("lost-thing", str(row.pk))
    assert account.removals == ["nat-1"] * 3
    assert things(configuration) == {"nat-1": "REMOVED", "k": "FOUND"}
    event = AuditEvent.objects.get(verb="orphans.remove")
    assert event.detail["before"]["id"] == "nat-1"
    searched(configuration)
    assert things(configuration)["nat-1"] == "FOUND", "it is there after all"


def test_what_is_used_is_tried_for_as_long_as_it_takes(account: Account, configuration: CloudConfiguration) -> None:
    searched(configuration)
    account.answers = [CloudError("InUse", "It is used.", "It is tried again.") for _ in range(12)]
    [row] = remove(configuration, "nat-1")
    for _ in range(13):
        LostThing.objects.filter(pk=row.pk).update(due_at=timezone.now())
        reconcile.run("lost-thing", str(row.pk))
    assert things(configuration)["nat-1"] == "REMOVED"


def test_a_dead_worker_and_an_emptied_queue_cost_only_time(account: Account, configuration: CloudConfiguration) -> None:
    searched(configuration)
    [row] = remove(configuration, "nat-1")
    account.answers = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        reconcile.run("lost-thing", str(row.pk))
    assert things(configuration)["nat-1"] == "REMOVING"
    past = timezone.now() - timedelta(seconds=1)
    LostThing.objects.filter(pk=row.pk).update(lease_until=past, due_at=past)
    assert reconcile.sweep() >= 1, "the sweep sends it again"
    LostThing.objects.filter(pk=row.pk).update(due_at=timezone.now())
    reconcile.run("lost-thing", str(row.pk))
    assert things(configuration)["nat-1"] == "REMOVED"


def test_a_search_leaves_alone_what_is_being_removed(account: Account, configuration: CloudConfiguration) -> None:
    searched(configuration)
    account.answers = [False]
    [row] = remove(configuration, "nat-1")
    searched(configuration)
    assert things(configuration) == {"nat-1": "REMOVING", "k": "FOUND"}
    assert LostThing.objects.get(provider_id="nat-1").pk == row.pk


@pytest.mark.parametrize("reason", ["tags", "record"])
def test_what_must_not_be_removed_is_let_go(account: Account, configuration: CloudConfiguration, reason: str) -> None:
    searched(configuration)
    [row] = remove(configuration, "nat-1")
    if reason == "tags":
        account.answers = [CloudError("NotOurs", "It does not carry our tags.", "Search again.", permanent=True)]
    else:
        handle = {"steps": {"nat-gateway": {"id": "nat-1"}}}
        make_workspace(configuration.organization, configuration, handle=handle)
    reconcile.run("lost-thing", str(row.pk))
    row.refresh_from_db()
    assert (row.status, row.due_at) == ("FOUND", None)
    assert row.failure_code == {"tags": "NotOurs", "record": "HasRecord"}[reason]
    assert account.removals == {"tags": ["nat-1"], "record": []}[reason]


def test_nothing_is_removed_twice_or_across_configurations(account: Account, configuration: CloudConfiguration) -> None:
    searched(configuration)
    rows = remove(configuration, "nat-1", "k")
    for other in (configuration, make_aws_configuration(configuration.organization)):
        with pytest.raises(UserError, match="NothingChosen"):
            services_orphans.remove_orphans(actor=SYSTEM, configuration=other, things=[row.pk for row in rows])


# --- Adopting ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def lacking(account: Account, configuration: CloudConfiguration) -> tuple[Workspace, LostThing]:
    workspace = make_workspace(configuration.organization, configuration, handle={"steps": {}, "zones": ["a"]})
    thing = make_lost_thing(configuration, deployment=str(workspace.pk), adoptable=True)
    return workspace, thing


def adopt(thing: LostThing) -> Workspace:
    return services_orphans.adopt_orphan(actor=SYSTEM, configuration=thing.search.configuration, thing=thing)


def test_a_workspace_gets_back_what_it_lacks(lacking: tuple[Workspace, LostThing]) -> None:
    workspace, thing = lacking
    adopt(thing)
    workspace.refresh_from_db()
    thing.refresh_from_db()
    assert workspace.handle["steps"]["vpc"]["id"] == thing.provider_id
    assert workspace.handle["zones"] == ["a"]
    assert workspace.due_at, "its reconciler looks whether it is ready"
    assert workspace.lease_token is None
    assert thing.status == "ADOPTED"
    with pytest.raises(UserError, match="NotAdoptable"):
        adopt(thing)


def test_a_workspace_at_work_is_not_interfered_with(lacking: tuple[Workspace, LostThing]) -> None:
    workspace, thing = lacking
    Workspace.objects.filter(pk=workspace.pk).update(lease_until=timezone.now() + timedelta(seconds=20))
    with pytest.raises(UserError, match="WorkspaceBusy"):
        adopt(thing)
    workspace.refresh_from_db()
    assert workspace.handle["steps"] == {}


def test_a_refused_adoption_gives_the_lease_back(account: Account, lacking: tuple[Workspace, LostThing]) -> None:
    workspace, thing = lacking
    account.answers = [CloudError("NotAdoptable", "There is one.", "Remove it.", permanent=True)]
    with pytest.raises(UserError, match="NotAdoptable"):
        adopt(thing)
    workspace.refresh_from_db()
    assert (workspace.lease_token, workspace.handle["steps"]) == (None, {})


def test_who_lost_the_lease_writes_nothing(
    account: Account, lacking: tuple[Workspace, LostThing], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, thing = lacking

    def slow(orphan: Orphan, handle: Handle) -> Handle:
        Workspace.objects.filter(pk=workspace.pk).update(lease_token=None, handle={"steps": {"newer": {}}})
        return {"steps": {"older": {}}}

    monkeypatch.setattr(account, "adopt_orphan", slow)
    with pytest.raises(UserError, match="WorkspaceBusy"):
        adopt(thing)
    workspace.refresh_from_db()
    assert workspace.handle == {"steps": {"newer": {}}}


@pytest.mark.parametrize("fields", [{"adoptable": False}, {"deployment": "no uuid"}, {"status": "REMOVED"}])
def test_what_has_no_place_is_not_adopted(lacking: tuple[Workspace, LostThing], fields: dict[str, Any]) -> None:
    _, thing = lacking
    LostThing.objects.filter(pk=thing.pk).update(**fields)
    thing.refresh_from_db()
    with pytest.raises(UserError, match="NotAdoptable"):
        adopt(thing)


# --- The page and the command -----------------------------------------------------------------------------------------


@pytest.fixture
def page(tenants: Tenants, account: Account) -> tuple[Client, Callable[..., str], CloudConfiguration]:
    row = make_aws_configuration(tenants.acme)

    def address(name: str = "orphans", *more: object) -> str:
        return reverse(f"workspaces:{name}", args=[row.organization_id, row.pk, *more])

    return tenants.client("owner"), address, row


def test_the_page_from_the_search_to_the_removal(page: Any) -> None:
    owner, address, row = page
    assert "Nobody has searched yet" in owner.get(address()).content.decode()
    owner.post(address("orphans_search"))
    text = owner.get(address()).content.decode()
    assert "Searching all regions" in text
    reconcile.run("orphan-search", str(OrphanSearch.objects.get(configuration=row).pk))
    text = owner.get(address()).content.decode()
    assert "NAT gateway" in text
    assert "$1.08 a day" in text
    assert "and 1 of unknown price" in text
    assert "No record of 11111111-1111" in text
    chosen = list(LostThing.objects.in_configuration(row).values_list("pk", flat=True))
    owner.post(address("orphans_remove"), {"thing": [*map(str, chosen), "no uuid"]})
    assert set(things(row).values()) == {"REMOVING"}
    for pk in chosen:
        reconcile.run("lost-thing", str(pk))
    text = owner.get(address()).content.decode()
    assert "$0.00 a day" in text
    assert (
        owner.get(reverse("workspaces:configuration", args=[row.organization_id, row.pk]))
        .content.decode()
        .count(address())
    )


def test_the_page_asks_the_database_as_often_for_many_things_as_for_one(
    page: Any, django_assert_max_num_queries: Any
) -> None:
    owner, address, row = page
    for _ in range(30):
        make_lost_thing(row)
    with django_assert_max_num_queries(14):
        owner.get(address())


def test_the_command_lists_and_removes(
    account: Account, configuration: CloudConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*options: str) -> str:
        out = StringIO()
        call_command("find_orphans", str(configuration.pk), *options, stdout=out)
        return out.getvalue()

    text = run()
    assert "nat-1" in text
    assert "2 things without a record, 1.08 US dollars a day" in text
    assert account.removals == []
    with pytest.raises(CommandError, match="Not among them: x"):
        run("--remove", "nat-1", "--remove", "x")
    monkeypatch.setattr("builtins.input", lambda _: "no")
    with pytest.raises(CommandError, match="Nothing was removed"):
        run("--remove", "nat-1")
    assert account.removals == []
    monkeypatch.setattr("builtins.input", lambda _: "nat-1")
    assert "REMOVED   nat-1" in run("--remove", "nat-1")
    assert account.removals == ["nat-1"]
    assert AuditEvent.objects.filter(verb="orphans.remove", actor_label__contains="find_orphans").exists()
    with pytest.raises(CommandError, match="no cloud configuration"):
        call_command("find_orphans", "x")
