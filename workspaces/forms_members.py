"""Forms of the people of a workspace."""

from __future__ import annotations

from django import forms

from accounts.forms_invitations import AddressesField
from accounts.permissions import WorkspaceRole


class MemberFilter(forms.Form):
    """Which members a list shows."""

    q = forms.CharField(required=False, max_length=100)


class WorkspaceRoleForm(forms.Form):
    """A role in a workspace."""

    role = forms.TypedChoiceField(
        label="Role", coerce=WorkspaceRole, choices=WorkspaceRole.choices, initial=WorkspaceRole.DEVELOPER
    )


class AddMembersForm(WorkspaceRoleForm):
    """Whom to let into a workspace, and as what."""

    emails = AddressesField()

    field_order = ["emails", "role"]
