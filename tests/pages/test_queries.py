"""List pages ask the database as often for many rows as for few."""

from __future__ import annotations

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts.audit import SYSTEM, record
from accounts.models import SsoConnection
from accounts.permissions import OrganizationRole, WorkspaceRole
from tests.factories import (
    add_to_organization,
    add_to_workspace,
    make_catalog,
    make_configuration,
    make_domain,
    make_instance_role,
    make_invitation,
    make_secret,
    make_token,
    make_user,
    make_workspace,
)
from tests.pages.test_access import address
from tests.pages.world import Tenants

COUNTS = {
    "accounts:people": 7,
    "accounts:invitations": 7,
    "accounts:people_roles": 5,
    "accounts:settings": 7,
    "accounts:sso": 8,
    "accounts:audit": 10,
    "accounts:tokens": 7,
    "workspaces:configurations": 6,
    "workspaces:configuration": 8,
    "workspaces:networks": 7,
    "billing:alarms": 9,
    "billing:alarm": 10,
    "workspaces:list": 7,
    "workspaces:members": 12,
    "workspaces:settings": 8,
    "workspaces:tokens": 9,
    "workspaces:instance_roles": 7,
    "workspaces:files": 6,
    "workspaces:secrets": 8,
    "workspaces:catalogs": 7,
    "workspaces:catalog": 8,
    "clusters:list": 8,
    "clusters:detail": 11,
    "billing:saved": 8,
    "billing:budgets": 12,
    "billing:budget": 15,
}
"""Session, user, membership, organizations to switch to, what is told of budgets; then what the page itself shows."""


@pytest.mark.parametrize("name", COUNTS)
def test_list_pages_ask_a_fixed_number_of_times(
    tenants: Tenants, name: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    connection = SsoConnection.objects.get(organization=tenants.acme)
    for number in range(20):
        user = make_user(f"many{number}")
        add_to_organization(tenants.acme, user, OrganizationRole.ADMIN)
        add_to_workspace(tenants.lab.workspace, user, WorkspaceRole.ADMIN)
        make_workspace(tenants.acme, make_configuration(tenants.acme))
        (tenants.lab.files / f"{number}.py").touch()
        make_token(user, tenants.acme)
        make_token(user, tenants.acme, workspace=tenants.lab.workspace)
        make_secret(tenants.lab.workspace, {f"KEY_{number}": "x"}, tenants.lab.secret.group)
        make_secret(tenants.lab.workspace)
        make_catalog(tenants.lab.workspace)
        make_instance_role(tenants.lab.workspace, created_by=user)
        make_invitation(tenants.acme, f"many{number}@example.com", user)
        record(SYSTEM, "x.y", tenants.acme, organization=tenants.acme)
        make_domain(connection, f"many{number}.example", approved=False)
    client, where = tenants.client("owner"), address(name, tenants.ids())  # the ids ask the database, too
    client.get(where)
    with django_assert_num_queries(COUNTS[name]):
        assert client.get(where).status_code == 200
