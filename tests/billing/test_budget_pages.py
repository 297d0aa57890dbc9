"""The pages of budgets: forms with bad input, who sees what, banners, and what a refused launch says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Organization, User
from accounts.permissions import OrganizationRole, WorkspaceRole
from billing.budgets import month_of
from billing.models import Budget, BudgetNotice, BudgetOverride, Rate, SpendHold
from clusters.models import Cluster
from jobs.models import Run
from tests.billing.money import make_budget
from tests.factories import (
    add_to_organization,
    add_to_workspace,
    make_cluster,
    make_organization,
    make_user,
    make_workspace,
)
from tests.fakes import FakeCloud
from workspaces.models import Workspace

FORM = {"limit": "100", "warn_percent": "80", "reserve_hours": "8", "pauses": "on"}
CLUSTER = {"name": "etl", "instance_type": "local.1x", "instances": "2", "release": "2026.10", "tags": ""}
CLUSTER |= {"auto_pause_minutes": "60", "auto_stop_minutes": "0"}


@pytest.fixture
def alice(db: None) -> User:
    Rate.objects.all().delete()
    return make_user("alice")


@pytest.fixture
def organization(alice: User) -> Organization:
    return make_organization(alice, name="Acme")


@pytest.fixture
def lab(organization: Organization) -> Workspace:
    return make_workspace(organization, name="Lab")


@pytest.fixture
def browser(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def new(organization: Organization) -> str:
    return reverse("billing:budget_new", args=[organization.pk])


def test_a_budget_of_each_kind_is_made_once(
    organization: Organization, lab: Workspace, alice: User, browser: Client
) -> None:
    for scope in ("organization", f"workspace:{lab.pk}", f"user:{alice.pk}"):
        assert browser.post(new(organization), {**FORM, "scope": scope}).status_code == 302
        assert browser.post(new(organization), {**FORM, "scope": scope}).status_code == 422
    found = Budget.objects.values_list("workspace", "user", "limit", "warn_percent", "reserve_hours", "pauses")
    assert set(found) == {
        (None, None, Decimal(100), 80, 8, True),
        (lab.pk, None, Decimal(100), 80, 8, True),
        (None, alice.pk, Decimal(100), 80, 8, True),
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("limit", value) for value in ("", "0", "-1", "0.001", "1e30", "NaN", "Infinity", "ten", "1000000000.01")),
        *(("warn_percent", value) for value in ("", "0", "101", "-5", "NaN", "9" * 40, "x")),
        *(("reserve_hours", value) for value in ("", "0", "745", "-1", "1.5", "NaN", "x")),
        *(
            ("scope", value)
            for value in (
                "",
                "everything",
                "workspace:1",
                "user:999999",
                "user:x",
                "workspace:00000000-0000-4000-8000-000000000000",
            )
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_kept(
    field: str, value: str, organization: Organization, browser: Client
) -> None:
    response = browser.post(new(organization), {**FORM, "scope": "organization", field: value})
    assert response.status_code == 422
    assert not Budget.objects.exists()
    if value and field != "scope":
        assert value in response.content.decode()


def test_what_belongs_to_others_is_no_choice(organization: Organization, browser: Client) -> None:
    stranger = make_user("carol")
    abroad = make_workspace(make_organization(stranger))
    for scope in (f"workspace:{abroad.pk}", f"user:{stranger.pk}"):
        assert browser.post(new(organization), {**FORM, "scope": scope}).status_code == 422
    assert "carol" not in browser.get(new(organization)).content.decode()


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"kind": "extra", "extra": "", "reason": "x"},
        {"kind": "extra", "extra": "-5", "reason": "x"},
        {"kind": "extra", "extra": "0", "reason": "x"},
        {"kind": "extra", "extra": "NaN", "reason": "x"},
        {"kind": "extra", "extra": "5", "reason": ""},
        {"kind": "extra", "extra": "5", "reason": "x" * 501},
        {"kind": "more", "extra": "5", "reason": "x"},
        {"kind": "lifted", "reason": ""},
    ],
)
def test_a_lift_needs_an_amount_and_a_reason(form: dict[str, str], organization: Organization, browser: Client) -> None:
    budget = make_budget(organization)
    assert browser.post(reverse("billing:budget_lift", args=[organization.pk, budget.pk]), form).status_code == 422
    assert not BudgetOverride.objects.exists()


def test_a_lift_is_on_the_page_and_ends_by_hand(organization: Organization, browser: Client) -> None:
    budget = make_budget(organization)
    form = {"kind": "extra", "extra": "50", "reason": "Quarter end"}
    browser.post(reverse("billing:budget_lift", args=[organization.pk, budget.pk]), form)
    page = browser.get(budget.get_absolute_url()).content.decode()
    assert "50.00 USD more until the end of" in page
    assert "Quarter end" in page
    browser.post(reverse("billing:budget_end_lift", args=[organization.pk, budget.pk]))
    page = browser.get(budget.get_absolute_url()).content.decode()
    assert "50.00 USD more until the end of" not in page
    assert "Quarter end" in page


def test_only_an_owner_lifts(organization: Organization) -> None:
    budget = make_budget(organization)
    for role, may in ((OrganizationRole.BILLING, True), (OrganizationRole.ADMIN, False)):
        person = make_user("somebody")
        add_to_organization(organization, person, role)
        client = signed_in(person)
        form = {"kind": "lifted", "reason": "x"}
        lift = reverse("billing:budget_lift", args=[organization.pk, budget.pk])
        assert client.post(lift, form).status_code == 403
        edit = reverse("billing:budget_edit", args=[organization.pk, budget.pk])
        assert client.post(edit, FORM).status_code == (302 if may else 403)


def test_a_refused_launch_says_which_budget_and_why(
    organization: Organization, lab: Workspace, fake_cloud: FakeCloud
) -> None:
    bob = make_user("bob")
    add_to_workspace(lab, bob, WorkspaceRole.DEVELOPER)
    make_budget(organization, 1, workspace=lab)
    client = signed_in(bob)
    where = reverse("clusters:new", args=[lab.pk])
    page = client.get(where).content.decode()
    assert "The budget of the workspace Lab for" in page
    assert "has 1.00 of 1.00 USD left" in page
    response = client.post(where, CLUSTER)
    assert response.status_code == 422
    text = response.content.decode()
    assert "The budget of the workspace Lab for" in text
    assert "2 × local.1x for 8 h would need 1.60" in text
    assert 'value="etl"' in text
    assert not Cluster.objects.exists()
    assert client.post(where, {**CLUSTER, "max_lifetime_minutes": "300"}).status_code == 302
    assert SpendHold.objects.get().minutes == 300


def test_a_resume_and_a_job_that_have_no_room_say_so(
    organization: Organization, lab: Workspace, browser: Client, fake_cloud: FakeCloud
) -> None:
    make_budget(organization, "0.01")
    cluster = make_cluster(lab, status="PAUSED", target="PAUSED")
    where = reverse("clusters:action", args=[lab.pk, cluster.pk, "resume"])
    response = browser.post(where)
    assert response.status_code == 409
    assert "BudgetExceeded" in response.content.decode()
    form = {"name": "nightly", "file": "job.py", "place": "new", "instance_type": "local.1x", "instances": "1"}
    form |= {"release": "2026.10", "mode": "spawn", "timeout_minutes": "60", "action": "run"}
    response = browser.post(reverse("jobs:new", args=[lab.pk]), form)
    assert response.status_code == 422
    assert "has no room for this" in response.content.decode()
    assert not Run.objects.exists()


def notice(budget: Budget, cluster: Cluster | None = None, **fields: Any) -> BudgetNotice:
    hold = None
    if cluster is not None:
        values = {"organization": budget.organization, "workspace": cluster.workspace, "cluster": cluster}
        hold = SpendHold.objects.create(hourly=1, instances=1, minutes=60, **values)
        fields |= {"acts_at": timezone.now(), "step": "PAUSE", "hold": hold}
    month = month_of(timezone.now()).first
    return BudgetNotice.objects.create(**{"budget": budget, "month": month, "step": "WARN", **fields})


def test_banners_are_for_those_whom_they_concern(organization: Organization, lab: Workspace, alice: User) -> None:
    bob, carol = make_user("bob"), make_user("carol")
    annex = make_workspace(organization, name="Annex")
    add_to_workspace(lab, bob, WorkspaceRole.DEVELOPER)
    add_to_workspace(annex, bob, WorkspaceRole.DEVELOPER)
    add_to_workspace(annex, carol, WorkspaceRole.DEVELOPER)
    notice(make_budget(organization, workspace=lab))
    notice(make_budget(organization, user=bob))
    of_lab, of_bob = "of the budget of the workspace Lab for", "of the budget of Bob Example for"

    def shown(user: User, where: str) -> tuple[bool, bool, bool]:
        page = signed_in(user).get(where).content.decode()
        return of_lab in page, of_bob in page, "See the budget" in page

    in_lab, in_annex = reverse("clusters:list", args=[lab.pk]), reverse("clusters:list", args=[annex.pk])
    listing = reverse("workspaces:list", args=[organization.pk])
    assert shown(bob, in_lab) == (True, True, False)
    assert shown(bob, in_annex) == (False, True, False)
    assert shown(carol, in_annex) == (False, False, False)
    assert shown(carol, listing) == (False, False, False)
    assert shown(alice, listing) == (True, False, True)
    BudgetNotice.objects.update(withdrawn_at=timezone.now())
    assert shown(bob, in_lab) == (False, False, False)


def test_a_coming_pause_names_only_clusters_that_the_reader_sees(organization: Organization, lab: Workspace) -> None:
    bob = make_user("bob")
    add_to_workspace(lab, bob, WorkspaceRole.DEVELOPER)
    annex = make_workspace(organization, name="Annex")
    budget = make_budget(organization)
    notice(budget, make_cluster(lab, name="visible"))
    notice(budget, make_cluster(annex, name="out-of-sight"))
    page = signed_in(bob).get(reverse("jobs:list", args=[lab.pk])).content.decode()
    assert "visible and 1 more are paused from" in page
    assert "out-of-sight" not in page


def test_the_list_and_the_page_of_a_budget(organization: Organization, lab: Workspace, browser: Client) -> None:
    listing = reverse("billing:budgets", args=[organization.pk])
    assert "No budgets yet" in browser.get(listing).content.decode()
    budget = make_budget(organization, 250, workspace=lab)
    notice(budget, make_cluster(lab, name="etl"))
    text = browser.get(listing).content.decode()
    assert "250.00" in text
    assert "pauses clusters soon" in text
    page = browser.get(budget.get_absolute_url()).content.decode()
    assert "etl is paused" in page
    assert "60 min from when it runs" in page


def test_a_budget_that_is_gone_is_not_found(organization: Organization, browser: Client) -> None:
    budget = make_budget(organization)
    assert browser.post(reverse("billing:budget_delete", args=[organization.pk, budget.pk])).status_code == 302
    assert browser.get(budget.get_absolute_url()).status_code == 404
