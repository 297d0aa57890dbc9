"""Pages of the people of a workspace."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from accounts import services_invitations
from accounts.audit import actor_of
from accounts.impersonation import not_while_impersonating
from accounts.models import Invitation, Membership
from accounts.permissions import WORKSPACE_ADMINS_BY_ROLE, Perm
from accounts.views_invitations import tell_sent
from portal.errors import UserError
from portal.forms import done, form_response, posted
from portal.paging import numbered_page
from workspaces import services_members
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.forms_members import AddMembersForm, MemberFilter, WorkspaceRoleForm
from workspaces.models import Workspace, WorkspaceMembership

SHOWN_ADMINS = 20
"""Owners and admins of the organization that the page names; there may be many."""


def find(workspace: Workspace, membership: int) -> WorkspaceMembership:
    """A member of this workspace; 404 for any other."""
    return get_object_or_404(WorkspaceMembership.objects.in_workspace(workspace), pk=membership)


@workspace_view(Perm.WS_VIEW, ready=False)
def members(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Who is in the workspace, by name, who manages it through the organization, and who is invited."""
    form = MemberFilter(request.GET)
    rows = WorkspaceMembership.objects.in_workspace(workspace)
    if form.is_valid():
        rows = rows.search(form.cleaned_data["q"])
    shown = numbered_page(request, rows)
    admins = Membership.objects.in_organization(workspace.organization).filter(role__in=WORKSPACE_ADMINS_BY_ROLE)
    named = list(admins[: SHOWN_ADMINS + 1])
    context = {
        "nav": "members",
        "page": shown,
        "members": shown.rows,
        "filter_form": form,
        "admins": named[:SHOWN_ADMINS],
        "more_admins": len(named) > SHOWN_ADMINS,
        "admin_ids": set(admins.filter(user__in=[row.user_id for row in shown.rows]).values_list("user_id", flat=True)),
        "own": WorkspaceMembership.objects.in_workspace(workspace).filter(user=request.user).first(),
        "invitations": _invitations(workspace) if Perm.WS_MANAGE in request.permissions else [],
        "now": timezone.now(),
    }
    return render(request, "workspaces/members.html", context)


def _invitations(workspace: Workspace) -> list[Invitation]:
    rows = Invitation.objects.in_organization(workspace.organization).open()
    return list(rows.filter(workspace=workspace)[:200])


@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"), ready=False)
def member_add(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Let people into the workspace."""
    form = AddMembersForm(posted(request))
    if request.method == "POST" and form.is_valid():
        try:
            welcomed = services_members.add_members(actor=actor_of(request), workspace=workspace, **form.cleaned_data)
        except UserError as error:
            form.add_error("emails", f"{error.message} {error.hint}")
        else:
            if welcomed.added:
                names = ", ".join(str(row.user) for row in welcomed.added[:5])
                more = " and others" if len(welcomed.added) > 5 else ""
                messages.success(request, f"{names}{more} can enter {workspace} now.")
            if welcomed.invited:
                tell_sent(request, welcomed.invited)
            return done(request, "workspaces:members", workspace.pk)
    return form_response(request, "workspaces/member_add.html", form, nav="members")


@workspace_view(Perm.WS_MANAGE, ("GET", "HEAD", "POST"), ready=False)
def member(request: WorkspaceRequest, workspace: Workspace, workspace_membership: int) -> HttpResponse:
    """One member, and another role for them."""
    row = find(workspace, workspace_membership)
    form = WorkspaceRoleForm(posted(request), initial={"role": row.role})
    if request.method == "POST" and form.is_valid():
        role = form.cleaned_data["role"]
        services_members.change_workspace_role(actor=actor_of(request), workspace=workspace, user=row.user, role=role)
        messages.success(request, f"{row.user} now has the role {role.label}.")
        return done(request, "workspaces:members", workspace.pk)
    admins = Membership.objects.in_organization(workspace.organization).filter(role__in=WORKSPACE_ADMINS_BY_ROLE)
    context = {"nav": "members", "member": row, "through": admins.filter(user=row.user).first()}
    return form_response(request, "workspaces/member.html", form, **context)


@workspace_view(Perm.WS_MANAGE, ("POST",), ready=False)
def member_remove(request: WorkspaceRequest, workspace: Workspace, workspace_membership: int) -> HttpResponse:
    """Take somebody out of the workspace."""
    row = find(workspace, workspace_membership)
    services_members.remove_workspace_member(actor=actor_of(request), workspace=workspace, user=row.user)
    messages.success(request, f"{row.user} is no longer a member of {workspace}.")
    return done(request, "workspaces:members", workspace.pk)


@not_while_impersonating
@workspace_view(Perm.WS_VIEW, ("POST",), ready=False)
def leave(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Leave the workspace."""
    services_members.leave_workspace(actor=actor_of(request), workspace=workspace)
    messages.success(request, f"You have left {workspace}.")
    return done(request, "workspaces:list", workspace.organization_id)


@workspace_view(Perm.WS_MANAGE, ("POST",), ready=False)
def invitation_resend(request: WorkspaceRequest, workspace: Workspace, invitation: UUID) -> HttpResponse:
    """Send an invitation again."""
    row = _invitation(workspace, invitation)
    services_invitations.resend_invitation(actor=actor_of(request), invitation=row)
    messages.success(request, f"A new link is on its way to {row.email}. The one before no longer works.")
    return done(request, "workspaces:members", workspace.pk)


@workspace_view(Perm.WS_MANAGE, ("POST",), ready=False)
def invitation_revoke(request: WorkspaceRequest, workspace: Workspace, invitation: UUID) -> HttpResponse:
    """Make an invitation worthless."""
    row = _invitation(workspace, invitation)
    services_invitations.revoke_invitation(actor=actor_of(request), invitation=row)
    messages.success(request, f"The invitation of {row.email} no longer works.")
    return done(request, "workspaces:members", workspace.pk)


def _invitation(workspace: Workspace, invitation: UUID) -> Invitation:
    rows = Invitation.objects.in_organization(workspace.organization).filter(workspace=workspace)
    return get_object_or_404(rows, pk=invitation)
