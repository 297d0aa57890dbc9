"""API tokens of a workspace: they see it and nothing else, and go with it."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse

from accounts import tokens
from accounts.models import ApiToken, AuditEvent, Membership
from accounts.permissions import OrganizationRole, Perm, WorkspaceRole, workspace_permissions
from portal.errors import PermissionNeededError, UserError
from tests.factories import SECRET, actor, make_token, make_workspace
from tests.pages.world import Tenants
from workspaces import services
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.services_tokens import create_workspace_token


def enter(token: ApiToken, secret: str = SECRET) -> tokens.Identity:
    return tokens.authenticate(client_id=token.client_id, secret=secret, address=None)


def refused(token: ApiToken) -> str:
    with pytest.raises(UserError) as raised:
        enter(token)
    return raised.value.code


def make(tenants: Tenants, by: str, **changes: Any) -> ApiToken:
    values: dict[str, Any] = {
        "workspace": tenants.lab.workspace,
        "role": WorkspaceRole.DEVELOPER,
        "expires_at": datetime.now(UTC) + timedelta(days=1),
        **changes,
    }
    return create_workspace_token(actor=actor(tenants.people[by]), pk=uuid.uuid4(), name="x", **values).token


def lab_token(tenants: Tenants, by: str, role: WorkspaceRole) -> ApiToken:
    return make_token(tenants.people[by], tenants.acme, workspace=tenants.lab.workspace, role=role)


def test_it_sees_its_workspace_and_nothing_else(tenants: Tenants) -> None:
    identity = enter(lab_token(tenants, "owner", WorkspaceRole.DEVELOPER))
    assert (identity.organization, identity.workspace) == (tenants.acme, tenants.lab.workspace)
    assert identity.permissions == workspace_permissions("BodoDeveloper")
    assert Perm.ORG_VIEW not in identity.permissions
    assert identity.permissions_in(tenants.lab.workspace.pk) == identity.permissions
    assert identity.permissions_in(tenants.annex.workspace.pk) == frozenset()
    assert identity.permissions_in(tenants.abroad.workspace.pk) == frozenset()


@pytest.mark.parametrize("role", WorkspaceRole)
@pytest.mark.parametrize(
    ("maker", "held"),
    [
        ("owner", "BodoAdmin"),
        ("admin", "BodoAdmin"),
        ("ws_admin", "BodoAdmin"),
        ("developer", "BodoDeveloper"),
        ("viewer", "BodoViewer"),
    ],
)
def test_it_can_do_what_both_it_and_its_maker_can(tenants: Tenants, role: WorkspaceRole, maker: str, held: str) -> None:
    both = workspace_permissions(role) & workspace_permissions(held)
    assert enter(lab_token(tenants, maker, role)).permissions == both


@pytest.mark.parametrize("maker", ["member", "billing", "outsider", "inactive"])
def test_a_maker_without_access_has_a_token_without(tenants: Tenants, maker: str) -> None:
    assert refused(lab_token(tenants, maker, WorkspaceRole.VIEWER)) in {"TokenWithoutAccess", "UserLocked"}


def test_losing_a_role_in_the_workspace_or_the_organization_is_felt_at_once(tenants: Tenants) -> None:
    token, own = lab_token(tenants, "ws_admin", WorkspaceRole.ADMIN), tenants.people["ws_admin"]
    WorkspaceMembership.objects.filter(user=own).update(role=WorkspaceRole.VIEWER)
    assert enter(token).permissions == {Perm.WS_VIEW}
    WorkspaceMembership.objects.filter(user=own).delete()
    assert refused(token) == "TokenWithoutAccess"
    Membership.objects.filter(user=own).update(role=OrganizationRole.ADMIN)
    assert enter(token).permissions == workspace_permissions("BodoAdmin")
    Membership.objects.filter(user=own).delete()
    assert refused(token) == "TokenWithoutAccess"


def test_deleting_the_workspace_revokes_its_tokens(tenants: Tenants) -> None:
    doomed = make_workspace(tenants.acme, tenants.configuration)
    token = make_token(tenants.people["owner"], tenants.acme, workspace=doomed)
    kept = lab_token(tenants, "owner", WorkspaceRole.VIEWER)
    services.delete_workspace(actor=actor(tenants.people["admin"]), workspace=doomed)
    assert refused(token) == "TokenRevoked"
    enter(kept)
    event = AuditEvent.objects.get(verb="api_token.revoke")
    assert (event.actor_user, event.organization) == (tenants.people["admin"], tenants.acme)
    with pytest.raises(UserError, match="WorkspaceGone"):
        make(tenants, "owner", workspace=doomed)


def test_a_workspace_that_is_gone_has_no_tokens_left_whatever_the_row_says(tenants: Tenants) -> None:
    token = lab_token(tenants, "owner", WorkspaceRole.VIEWER)
    Workspace.objects.filter(pk=tenants.lab.workspace.pk).update(status="TERMINATED")
    assert refused(token) == "TokenWithoutAccess"


@pytest.mark.parametrize("maker", ["owner", "admin", "ws_admin"])
@pytest.mark.parametrize("role", WorkspaceRole)
def test_admins_make_tokens_of_any_role(tenants: Tenants, maker: str, role: WorkspaceRole) -> None:
    assert make(tenants, maker, role=role).role == role


@pytest.mark.parametrize("maker", ["developer", "viewer", "member", "billing", "outsider"])
def test_others_make_none(tenants: Tenants, maker: str) -> None:
    with pytest.raises(PermissionNeededError):
        make(tenants, maker, role=WorkspaceRole.VIEWER)


def test_the_page_makes_shows_and_revokes(tenants: Tenants) -> None:
    browser, workspace = tenants.client("ws_admin"), tenants.lab.workspace
    new, listing = (
        reverse("workspaces:token_new", args=[workspace.pk]),
        reverse("workspaces:tokens", args=[workspace.pk]),
    )
    form = {"id": str(uuid.uuid4()), "name": "etl", "role": "BodoDeveloper", "lifetime": "7", "expires_on": ""}
    response = browser.post(new, form)
    (secret,) = re.findall(r"bodo_secret_[0-9a-f]{64}", response.content.decode())
    assert response["Cache-Control"] == "no-store"
    token = ApiToken.objects.get(name="etl")
    assert enter(token, secret).permissions == workspace_permissions("BodoDeveloper")
    assert browser.post(new, form)["Location"] == listing
    assert ApiToken.objects.filter(name="etl").count() == 1

    page = browser.get(listing).content.decode()
    assert token.client_id in page
    assert tenants.annex.token.client_id not in page
    assert tenants.tokens[tenants.acme.pk].client_id not in page
    browser.post(reverse("workspaces:token_revoke", args=[workspace.pk, token.pk]))
    with pytest.raises(UserError, match="TokenRevoked"):
        enter(token, secret)


def test_a_token_of_the_organization_is_not_found_in_a_workspace(tenants: Tenants) -> None:
    token = tenants.tokens[tenants.acme.pk]
    where = reverse("workspaces:token_revoke", args=[tenants.lab.workspace.pk, token.pk])
    assert tenants.client("owner").post(where).status_code == 404


def test_tokens_can_be_revoked_while_a_workspace_is_not_ready(tenants: Tenants) -> None:
    Workspace.objects.filter(pk=tenants.lab.workspace.pk).update(status="FAILED")
    browser = tenants.client("ws_admin")
    assert browser.get(reverse("workspaces:tokens", args=[tenants.lab.workspace.pk])).status_code == 200
    where = reverse("workspaces:token_revoke", args=[tenants.lab.workspace.pk, tenants.lab.token.pk])
    assert browser.post(where).status_code == 302
    assert refused(tenants.lab.token) == "TokenRevoked"
