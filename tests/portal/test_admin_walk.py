"""All the operator's pages: every model has one, none asks the database more for more rows, none shows a secret."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.admin_base import SECRET
from accounts.audit import SYSTEM, record
from accounts.models import (
    ApiToken,
    AuditEvent,
    AuditSeal,
    FormerMember,
    Impersonation,
    Invitation,
    MarketplaceEntitlement,
    MarketplaceNotification,
    MarketplaceRegistration,
    MarketplaceSubscription,
    Membership,
    Organization,
    PendingSignup,
    SsoConnection,
    SsoDomain,
    SsoIdentity,
    User,
)
from accounts.permissions import OrganizationRole, WorkspaceRole
from billing.models import (
    Alarm,
    AlarmChange,
    AlarmEndpoint,
    Budget,
    BudgetNotice,
    BudgetOverride,
    MeteredCluster,
    MeterPeriod,
    MeterRecord,
    Rate,
    Saving,
    SpendHold,
    Statement,
    StatementLine,
    UsageDay,
    UsageInterval,
    UsageSample,
)
from clusters.models import Cluster, Transition
from jobs.models import JobSchedule, JobTemplate, Run, RunAttempt, ScheduleFire
from notebooks.models import NotebookServer, NotebookTicket, NotebookVisit
from portal import mail
from portal.admin import LookOnlyAdmin
from portal.models import DeploymentEvent, OutgoingMail
from tests.accounts.writes_staff import make_pending
from tests.billing.alarms_world import make_alarm, make_endpoint
from tests.factories import (
    add_to_organization,
    add_to_workspace,
    make_cluster,
    make_configuration,
    make_connection,
    make_instance_role,
    make_invitation,
    make_lost_thing,
    make_network,
    make_organization,
    make_period,
    make_record,
    make_run,
    make_statement,
    make_template,
    make_token,
    make_user,
    make_workspace,
)
from tests.notebooks.making import make_server
from tests.test_architecture import INLINE, LAYERS
from workspaces.models import (
    Catalog,
    CloudConfiguration,
    InstanceRole,
    LostThing,
    NetworkConfiguration,
    Offers,
    OrphanSearch,
    Secret,
    SecretGroup,
    Workspace,
    WorkspaceMembership,
)

pytestmark = pytest.mark.django_db
_numbers = itertools.count(1)
NOT_SHOWN = "sesame-sesame"
"""Put into everything that is secret."""


def workspace() -> Workspace:
    return make_workspace(make_organization(make_user("owner")))


def interval_in(place: Workspace) -> UsageInterval:
    cluster = make_cluster(place)
    return UsageInterval.objects.create(
        organization=cluster.workspace.organization,
        workspace=cluster.workspace,
        cluster=cluster,
        started_at=timezone.now() - timedelta(hours=1),
        instance_type="local.1x",
        instances=1,
        hourly=1,
    )


def usage_day() -> UsageDay:
    cluster = make_cluster(workspace())
    return UsageDay.objects.create(
        organization=cluster.workspace.organization,
        workspace=cluster.workspace,
        cluster=cluster,
        day=timezone.now().date(),
        instance_type="local.1x",
        hourly=1,
        minutes=5,
    )


def budget() -> Budget:
    place = workspace()
    return Budget.objects.create(organization=place.organization, workspace=place, limit=100)


def hold() -> SpendHold:
    cluster = make_cluster(workspace())
    values = {"organization": cluster.workspace.organization, "workspace": cluster.workspace, "cluster": cluster}
    return SpendHold.objects.create(hourly=1, instances=2, minutes=480, **values)


def saving() -> Saving:
    cluster = make_cluster(workspace())
    return Saving.objects.create(
        organization=cluster.workspace.organization,
        workspace=cluster.workspace,
        cluster=cluster,
        paused_at=timezone.now(),
        instance_type="local.1x",
        instances=2,
        hourly=1,
    )


def user_with_everything() -> User:
    user = make_user("alice")
    add_to_organization(make_organization(), user, OrganizationRole.MEMBER)
    authenticator(user)
    session(user)
    return user


def session(user: User | None = None) -> UserSession:
    user = user or make_user()
    key = f"{NOT_SHOWN}{next(_numbers)}"
    return UserSession.objects.create(user=user, ip="127.0.0.1", session_key=key, user_agent="Firefox")


def authenticator(user: User | None = None) -> Authenticator:
    return Authenticator.objects.create(user=user or make_user(), type="totp", data={"secret": NOT_SHOWN})


def impersonation() -> Impersonation:
    until = timezone.now() + timedelta(hours=1)
    return Impersonation.objects.create(staff=make_user(), person=make_user(), reason="x", expires_at=until)


def schedule() -> JobSchedule:
    template = make_template(workspace())
    return JobSchedule.objects.create(workspace=template.workspace, template=template, name="x", cron="0 3 * * *")


def seal() -> AuditSeal:
    event = record(SYSTEM, "x.y", make_user(), organization=None)
    connection.cursor().execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")  # as at the commit
    return AuditSeal.objects.get(event=event)


def registration() -> MarketplaceRegistration:
    row = MarketplaceSubscription.objects.create(product_code="p", customer=f"c{next(_numbers)}")
    hashes = {"token_hash": f"{NOT_SHOWN}{row.customer}", "claim_hash": f"{NOT_SHOWN}{row.customer}"}
    return MarketplaceRegistration.objects.create(subscription=row, expires_at=timezone.now(), **hashes)


def entitlement() -> MarketplaceEntitlement:
    return registration().subscription.entitlements.create(dimension="seats", value="5")


def notification() -> MarketplaceNotification:
    return MarketplaceNotification.objects.create(
        key=f"k{next(_numbers)}",
        outcome="APPLIED",
        sent_at=timezone.now(),
        subscription=registration().subscription,
        body="{}",
    )


def secret() -> Secret:
    group = SecretGroup.objects.create(workspace=workspace(), name="Group")
    return Secret.objects.create(group=group, name="Name", sealed=NOT_SHOWN)


def invitation() -> Invitation:
    number = next(_numbers)
    return make_invitation(make_organization(), f"{number}@example.org", make_user(), f"{NOT_SHOWN}{number}")


def membership() -> Membership:
    return add_to_organization(make_organization(), make_user(), OrganizationRole.MEMBER)


MAKERS: dict[type[Model], Callable[[], Model]] = {
    User: user_with_everything,
    Organization: lambda: workspace().organization,
    Membership: membership,
    Impersonation: impersonation,
    AuditEvent: lambda: record(SYSTEM, "x.y", make_user(), organization=make_organization()),
    AuditSeal: seal,
    Invitation: invitation,
    ApiToken: lambda: make_token(make_user(), make_organization(), secret_end=NOT_SHOWN[:4], secret_hash=NOT_SHOWN),
    PendingSignup: make_pending,
    SsoConnection: lambda: make_connection(make_organization()),
    SsoDomain: lambda: make_connection(make_organization()).domains.get(),
    SsoIdentity: lambda: make_connection(make_organization()).identities.create(subject="7", user=make_user()),
    FormerMember: lambda: FormerMember.objects.create(organization=make_organization(), user=make_user()),
    MarketplaceSubscription: lambda: MarketplaceSubscription.objects.create(
        product_code="p", customer=f"c{next(_numbers)}"
    ),
    MarketplaceRegistration: registration,
    MarketplaceNotification: notification,
    MarketplaceEntitlement: entitlement,
    EmailAddress: lambda: EmailAddress.objects.get(user=make_user()),
    Authenticator: authenticator,
    UserSession: session,
    OutgoingMail: lambda: mail.post(to=f"a{next(_numbers)}@example.org", subject="x", text=NOT_SHOWN),
    DeploymentEvent: lambda: DeploymentEvent.objects.create(subject=workspace().pk, message="x", level="info"),
    CloudConfiguration: lambda: make_configuration(make_organization()),
    NetworkConfiguration: lambda: make_network(make_configuration(make_organization(make_user()))),
    OrphanSearch: lambda: make_lost_thing(make_configuration(make_organization())).search,
    LostThing: lambda: make_lost_thing(make_configuration(make_organization())),
    Workspace: workspace,
    WorkspaceMembership: lambda: add_to_workspace(workspace(), make_user(), WorkspaceRole.VIEWER),
    SecretGroup: lambda: SecretGroup.objects.create(workspace=workspace(), name="Group"),
    Secret: secret,
    Catalog: lambda: Catalog.objects.create(
        workspace=workspace(), name="c", kind="FILESYSTEM", settings={"directory": "x"}, sealed=NOT_SHOWN
    ),
    Offers: lambda: Offers.objects.create(cloud_configuration=make_configuration(make_organization()), region="r"),
    InstanceRole: lambda: make_instance_role(workspace()),
    Cluster: lambda: make_cluster(workspace()),
    Transition: lambda: Transition.objects.create(
        cluster=make_cluster(workspace()), seq=1, kind="STATUS", status="RUNNING", instances=1
    ),
    Run: lambda: make_run(make_cluster(workspace()), environment=NOT_SHOWN),
    RunAttempt: lambda: RunAttempt.objects.create(
        run=make_run(make_cluster(workspace())), number=1, started_at=timezone.now()
    ),
    JobTemplate: lambda: make_template(workspace(), source_token=NOT_SHOWN, environment=NOT_SHOWN, sql=NOT_SHOWN),
    JobSchedule: schedule,
    ScheduleFire: lambda: ScheduleFire.objects.create(
        schedule=schedule(), fire_at=timezone.now(), outcome="STARTED", run=make_run(make_cluster(workspace()))
    ),
    NotebookServer: lambda: make_server(workspace(), make_user()),
    NotebookTicket: lambda: NotebookTicket.objects.create(
        server=make_server(workspace(), make_user()), key_hash=f"{NOT_SHOWN}{next(_numbers)}", session_key=NOT_SHOWN
    ),
    NotebookVisit: lambda: NotebookVisit.objects.create(
        server=make_server(workspace(), make_user()), key_hash=f"{NOT_SHOWN}{next(_numbers)}", session_key=NOT_SHOWN
    ),
    Rate: lambda: Rate.objects.create(
        provider="LOCAL", instance_type=f"x{next(_numbers)}", hourly=1, valid_from=timezone.now() + timedelta(days=1)
    ),
    UsageInterval: lambda: interval_in(workspace()),
    UsageDay: usage_day,
    Saving: saving,
    Statement: lambda: make_statement(make_cluster(workspace()), date(2026, 10, 1)),
    StatementLine: lambda: make_statement(make_cluster(workspace()), date(2026, 10, 1)).lines.get(),
    Alarm: make_alarm,
    AlarmEndpoint: lambda: make_endpoint(make_alarm()),
    AlarmChange: lambda: AlarmChange.objects.create(alarm=make_alarm(), number=1, at=timezone.now(), state="OK"),
    UsageSample: lambda: UsageSample.objects.create(
        configuration=make_configuration(make_organization()), minute=timezone.now(), vcpus=1
    ),
    MeterPeriod: lambda: make_period(),
    MeterRecord: lambda: make_record(make_period()),
    MeteredCluster: lambda: MeteredCluster.objects.create(cluster=make_cluster(workspace()), ledger_length=1),
    Budget: budget,
    BudgetOverride: lambda: BudgetOverride.objects.create(
        budget=budget(), month=timezone.now().date().replace(day=1), reason="Quarter end", given_by="Alice"
    ),
    SpendHold: hold,
    BudgetNotice: lambda: BudgetNotice.objects.create(
        budget=budget(), month=timezone.now().date(), step="PAUSE", hold=hold(), acts_at=timezone.now()
    ),
}
"""How to make a row of each, with all that its pages show."""

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
"""All that have pages."""


def name(model: type[Model]) -> str:
    return model._meta.label


def address(model: type[Model], view: str, *arguments: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{view}", args=arguments)


@pytest.fixture
def root() -> User:
    return make_user("root", is_staff=True, is_superuser=True)


@pytest.fixture
def browser(root: User) -> Client:
    client = Client()
    client.force_login(root)
    return client


def queries(browser: Client, where: str) -> int:
    """How many an answer takes, beyond what the first one keeps for the next."""
    browser.get(where)
    with CaptureQueriesContext(
        connection,
    ) as captured:
        response = browser.get(where)
    assert response.status_code == 200, (where, response)
    return len(captured)


def test_every_model_of_ours_has_pages() -> None:
    ours = {model for app in ("portal", *LAYERS) for model in apps.get_app_config(app).get_models()}
    assert {name(model) for model in ours - set(MODELS)} == set()


def test_this_walk_knows_how_to_make_each() -> None:
    assert {name(model) for model in MODELS} == {name(model) for model in MAKERS}


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_lists_ask_as_often_for_many_as_for_one(browser: Client, model: type[Model]) -> None:
    where = address(model, "changelist")
    MAKERS[model]()
    one = queries(browser, where)
    for _ in range(20):
        MAKERS[model]()
    assert queries(browser, where) == one


def test_the_page_of_a_person_asks_as_often_for_many_memberships_as_for_one(browser: Client) -> None:
    user = user_with_everything()
    where = address(User, "change", user.pk)
    one = queries(browser, where)
    for _ in range(20):
        add_to_organization(make_organization(), user, OrganizationRole.MEMBER)
        session(user)
        Authenticator.objects.create(user=user, type="webauthn", data={"name": "Key"})
    assert queries(browser, where) == one


def test_the_page_of_an_organization_asks_as_often_for_many_people_as_for_one(browser: Client) -> None:
    organization = workspace().organization
    where = address(Organization, "change", organization.pk)
    interval_in(make_workspace(organization))
    one = queries(browser, where)
    for _ in range(20):
        add_to_organization(organization, make_user(), OrganizationRole.ADMIN)
        interval_in(make_workspace(organization))
    assert queries(browser, where) == one


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_lists_can_be_searched_and_filtered(browser: Client, model: type[Model]) -> None:
    """Search is what an operator comes for."""
    page = admin.site._registry[model]
    MAKERS[model]()
    assert page.search_fields, "there is no search"
    where = address(model, "changelist")
    response = browser.get(where)
    assert response.context["cl"].result_count >= 1
    assert browser.get(where, {"q": "example something"}).status_code == 200
    links = re.findall(r'<a href="(\?[^"]+)"', response.content.decode())
    for link in links:
        assert browser.get(where + link.replace("&amp;", "&")).status_code == 200, link


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_pages_of_a_row_show_no_secret_and_nothing_inline(browser: Client, model: type[Model]) -> None:
    row = MAKERS[model]()
    for where in (address(model, "change", row.pk), address(model, "changelist"), address(model, "history", row.pk)):
        page = browser.get(where).content.decode()
        assert NOT_SHOWN not in page
        assert INLINE.findall(page) == []


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_no_field_of_a_page_is_a_secret(rf: RequestFactory, root: User, model: type[Model]) -> None:
    page = admin.site._registry[model]
    request = rf.get("/")
    request.user = root
    row = MAKERS[model]()
    fieldsets = page.get_fieldsets(request, row)
    shown = [*page.get_readonly_fields(request, row), *page.list_display]
    shown += [field for _, options in fieldsets for field in options["fields"]]
    assert [field for field in shown if isinstance(field, str) and SECRET.search(field)] == []


CHANGES: dict[type[Model], dict[str, Any]] = {
    User: {"first_name": "Alicia"},
    Organization: {"name": "Another name"},
    Membership: {"role": "ADMIN"},
    Rate: {"hourly": "2.500000"},
}
"""A change of each that can be changed."""

HANDS_OFF = [model for model in MODELS if model not in CHANGES]
"""What only services and reconcilers write: everything else."""


@pytest.mark.parametrize("model", MODELS, ids=name)
def test_what_the_portal_writes_is_only_looked_at(browser: Client, model: type[Model]) -> None:
    assert issubclass(type(admin.site._registry[model]), LookOnlyAdmin) == (model in HANDS_OFF)
    if model in HANDS_OFF:
        row = MAKERS[model]()
        assert browser.get(address(model, "add")).status_code == 403
        assert browser.post(address(model, "change", row.pk), {}).status_code == 403
        assert browser.post(address(model, "delete", row.pk), {"post": "yes"}).status_code == 403
        form = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
        browser.post(address(model, "changelist"), form)
        assert model._default_manager.filter(pk=row.pk).exists()


def form_of(browser: Client, where: str) -> dict[str, Any]:
    """What the page's form would send as it stands."""
    form = browser.get(where).context["adminform"].form
    values = {}
    for bound in form:
        value = bound.value()
        if hasattr(bound.field.widget, "decompress"):
            for index, part in enumerate(bound.field.widget.decompress(value)):
                values[f"{bound.html_name}_{index}"] = "" if part is None else str(part)
        elif value not in (None, False):
            values[bound.html_name] = value
    return values


@pytest.mark.parametrize("model", CHANGES, ids=name)
def test_each_change_by_hand_is_audited(browser: Client, root: User, model: type[Model]) -> None:
    row = MAKERS[model]()
    row = model._default_manager.get(pk=row.pk)
    where = address(model, "change", row.pk)
    form = form_of(browser, where)
    earlier = set(AuditEvent.objects.values_list("pk", flat=True))
    assert browser.post(where, form).status_code == 302
    assert AuditEvent.objects.count() == len(earlier), "nothing was changed"
    ((field, value),) = CHANGES[model].items()
    before = str(getattr(row, field))
    response = browser.post(where, {**form, field: value})
    assert response.status_code == 302, response.context["adminform"].form.errors
    row.refresh_from_db()
    assert str(getattr(row, field)) == value
    event = AuditEvent.objects.exclude(pk__in=earlier).get()
    assert (event.actor_kind, event.actor_user, event.object_id) == ("staff", root, str(row.pk))
    assert event.actor_label == f"Staff Root Example <{root.email}>"
    assert event.address == "127.0.0.1"
    assert event.detail["after"] in ({field: value}, value)  # the latter by a service that changes only this
    assert event.detail["before"] in ({field: before}, before)
