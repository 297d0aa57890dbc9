"""Forms of the people of an organization."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.permissions import OrganizationRole, Perm


def grantable(permissions: frozenset[Perm]) -> list[OrganizationRole]:
    """The roles that somebody with these permissions may give, widest first."""
    if Perm.ORG_MANAGE in permissions:
        return list(OrganizationRole)
    return [role for role in OrganizationRole if role != OrganizationRole.OWNER]


class PeopleFilter(forms.Form):
    """Which members a list shows."""

    q = forms.CharField(required=False, max_length=100, label="Name or e-mail contains")
    role = forms.ChoiceField(required=False, label="Role", choices=[("", "Any role"), *OrganizationRole.choices])
    state = forms.ChoiceField(
        required=False,
        label="State",
        choices=[
            ("", "Any state"),
            ("locked", "Locked out"),
            ("one_factor", "Without two-factor sign-in"),
            ("two_factor", "With two-factor sign-in"),
            ("never", "Never signed in"),
        ],
    )


class RoleForm(forms.Form):
    """Another role for a member."""

    role = forms.TypedChoiceField(label="Role", coerce=OrganizationRole)

    def __init__(self, *args: Any, permissions: frozenset[Perm], **options: Any) -> None:
        super().__init__(*args, **options)
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [(role.value, role.label) for role in grantable(permissions)]
