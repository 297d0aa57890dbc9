"""Forms of secrets. No form ever holds a value that was stored, and none shows again what was typed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError

from accounts.forms import NameField
from portal.clouds.environment import refusal_of
from workspaces.secrets import MAX_KEYS, refusal_of_value


class GroupForm(forms.Form):
    """A group of secrets."""

    name = NameField(label="Name", help_text="Unique in the workspace. Jobs name the groups whose secrets they get.")
    description = forms.CharField(required=False, max_length=1000, label="Description")


class WriteOnlyArea(forms.Textarea):
    """Takes a text and never gives it back. A page that is shown again keeps what was typed where scripts run: the
    element itself stays (``hx-preserve``)."""

    def __init__(self, **attributes: Any) -> None:
        fixed = {"autocomplete": "off", "spellcheck": "false", "class": "secret-value", "hx-preserve": "true"}
        super().__init__({"rows": 1, **fixed, **attributes})

    def format_value(self, value: Any) -> str:
        """Nothing, whatever it is."""
        return ""


class KeyForm(forms.Form):
    """One line of a secret: a key and its value. ``stored`` keys keep their value where none is entered."""

    key = forms.CharField(required=False, max_length=128, label="Key")
    value = forms.CharField(required=False, strip=False, label="Value", widget=WriteOnlyArea())

    def __init__(self, *args: Any, stored: Collection[str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.stored = stored
        self.is_stored = self["key"].value() in stored
        self.fields["key"].widget.attrs |= {
            "autocomplete": "off",
            "spellcheck": "false",
            "class": "mono",
            "pattern": "[A-Za-z_][A-Za-z0-9_]*",
            "title": "Letters, digits and _; no digit first",
            **({"readonly": True} if self.is_stored else {}),
        }
        if self.is_stored:
            self.fields["value"].widget.attrs["placeholder"] = "Unchanged"

    def clean_key(self) -> str:
        """A name that a job can be given."""
        key: str = self.cleaned_data["key"]
        if key and (refusal := refusal_of(key)):
            raise ValidationError(refusal, code="name")
        return key

    def clean_value(self) -> str:
        """With the line ends that were meant: browsers send others."""
        value: str = self.cleaned_data["value"].replace("\r\n", "\n")
        if value and (refusal := refusal_of_value(value)):
            raise ValidationError(refusal, code="value")
        return value

    def clean(self) -> dict[str, Any]:
        """Neither without the other, but for keys that are stored."""
        values = super().clean() or self.cleaned_data
        if values.get("key") and not values.get("value", "x") and values["key"] not in self.stored:
            self.add_error("value", "Enter a value.")
        if values.get("value") and not values.get("key", "x"):
            self.add_error("key", "Enter a name.")
        return values


class KeysFormSet(forms.BaseFormSet[KeyForm]):
    """The lines of a secret, each key once."""

    def clean(self) -> None:
        """Each key once."""
        seen: set[str] = set()
        for form in self.lines():
            key = form.cleaned_data.get("key", "")
            if key and key in seen:
                form.add_error("key", f"{key} is here twice.")
            seen.add(key)

    def lines(self) -> list[KeyForm]:
        """Those that are valid and stay."""
        return [form for form in self.forms if form.is_valid() and form not in self.deleted_forms]


class SecretForm(forms.Form):
    """A secret. ``keys`` are its lines; ``entered`` and ``removed`` what they ask for, once the form is valid."""

    name = NameField(label="Name", help_text="Unique in its group.")

    def __init__(self, *args: Any, stored: Collection[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        lines = forms.formset_factory(
            KeyForm,
            formset=KeysFormSet,
            extra=1 if stored else 3,
            can_delete=True,
            can_delete_extra=False,
            max_num=MAX_KEYS,
            absolute_max=MAX_KEYS + 10,
            validate_max=True,
        )
        self.keys = cast(
            KeysFormSet,
            lines(
                self.data if self.is_bound else None,
                prefix="keys",
                initial=[{"key": key} for key in stored],
                form_kwargs={"stored": stored},
            ),
        )

    def is_valid(self) -> bool:
        """Together with its lines."""
        return super().is_valid() and self.keys.is_valid()

    @property
    def entered(self) -> dict[str, str]:
        """What was entered, by key."""
        entered = {line.cleaned_data.get("key"): line.cleaned_data.get("value") for line in self.keys.lines()}
        return {key: value for key, value in entered.items() if key and value}

    @property
    def removed(self) -> list[str]:
        """The keys that are to go."""
        return [str(line["key"].value()) for line in self.keys.deleted_forms]
