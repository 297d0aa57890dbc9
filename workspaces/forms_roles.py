"""The form of an instance role."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.forms import NameField
from portal.clouds.base import Features


class InstanceRoleForm(forms.Form):
    """A role of the customer's own; what it is called is the cloud's word."""

    name = NameField(label="Name", help_text="Unique in the workspace.")
    role = forms.CharField(max_length=500, help_text="The platform attaches to it what machines of a cluster need.")
    description = forms.CharField(required=False, max_length=1000, label="Description")

    def __init__(self, *args: Any, features: Features, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["role"].label = features.role
        self.fields["role"].widget.attrs |= {"class": "mono", "autocomplete": "off", "spellcheck": "false"}
