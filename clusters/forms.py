"""Forms of the clusters app."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorDict

from accounts.forms import NameField
from clusters.forms_machine import (
    MACHINE_FIELDS,
    instance_type_field,
    offer_machines,
    role_field,
    spot_field,
    zone_field,
)
from clusters.models import ClusterStatus
from workspaces.models import Workspace

MAX_INSTANCES = 1000
MAX_MINUTES = 60 * 24 * 7
MAX_LIFETIME = 60 * 24 * 31


class TagsField(forms.CharField):
    """Tags as lines of ``key=value``; the value is a dict."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{"required": False, "widget": forms.Textarea(attrs={"rows": 2}), "max_length": 4000, **options}
        )

    def prepare_value(self, value: Any) -> Any:
        """A dict as lines."""
        return "\n".join(f"{key}={text}" for key, text in value.items()) if isinstance(value, dict) else value

    def clean(self, value: Any) -> Any:
        """Lines as a dict; at most 40, keys of 128 and values of 256 characters, which is what the clouds allow."""
        tags: dict[str, str] = {}
        for line in (super().clean(value) or "").splitlines():
            if not line.strip():
                continue
            key, separator, text = line.partition("=")
            key, text = key.strip(), text.strip()
            if not separator or not key:
                raise ValidationError("Write one key=value per line.", code="format")
            if len(key) > 128 or len(text) > 256:
                raise ValidationError("Keys have at most 128 characters, values 256.", code="length")
            if key.lower().startswith(("portal:", "aws:")):
                raise ValidationError(f"{key}: this prefix is the platform's own.", code="reserved")
            tags[key] = text
        if len(tags) > 40:
            raise ValidationError("At most 40 tags.", code="many")
        return tags


def minutes_field(label: str, help_text: str, initial: int) -> forms.IntegerField:
    """A number of idle minutes; 0 is never."""
    return forms.IntegerField(min_value=0, max_value=MAX_MINUTES, initial=initial, label=label, help_text=help_text)


class LifetimeField(forms.IntegerField):
    """Minutes that a cluster may run at a time; 0, or nothing, is without end."""

    def __init__(self, **options: Any) -> None:
        usual = {
            "min_value": 0,
            "max_value": MAX_LIFETIME,
            "initial": 0,
            "required": False,
            "label": "Maximum lifetime",
            "help_text": "Minutes from when it runs until it is stopped, whatever it does then; 0 is none.",
        }
        super().__init__(**{**usual, **options})

    def clean(self, value: Any) -> int:
        """Nothing is 0."""
        return super().clean(value) or 0


class ClusterForm(forms.Form):
    """A new cluster."""

    name = NameField(label="Cluster name")
    instance_type = instance_type_field()
    instances = forms.IntegerField(min_value=1, max_value=MAX_INSTANCES, initial=1, label="Number of instances")
    release = forms.ChoiceField(label="Bodo version")
    spot = spot_field()
    auto_pause_minutes = minutes_field(
        "Auto-pause", "Minutes without a job until the cluster is paused; 0 is never.", 60
    )
    auto_stop_minutes = minutes_field("Auto-stop", "Minutes without a job until the cluster is stopped; 0 is never.", 0)
    max_lifetime_minutes = LifetimeField()
    zone = zone_field()
    instance_role = role_field()
    description = forms.CharField(max_length=1000, required=False, label="Description")
    tags = TagsField(label="Tags", help_text="One key=value per line.")

    def __init__(self, *args: Any, workspace: Workspace, **options: Any) -> None:
        super().__init__(*args, **options)
        self.offered = offer_machines(self, workspace)

    def hide_errors(self) -> None:
        """Nobody who only looks at the list again is told what is still missing."""
        self._errors = ErrorDict()

    @property
    def more_is_open(self) -> bool:
        """Whether there is something to see among what most people leave as it is."""
        names = [name for name in ("zone", "instance_role", "description", "tags") if name in self.fields]
        return any(self[name].errors or self[name].value() for name in names)

    def clean(self) -> dict[str, Any]:
        """Spot clusters cannot pause."""
        return _refuse_pause_of_spot(self, super().clean() or self.cleaned_data)


class ClusterEditForm(forms.Form):
    """What of a cluster can be changed: everything when it is stopped, else what needs no new machines. ``initial`` is
    the cluster as it is."""

    name = NameField(label="Cluster name")
    instance_type = instance_type_field()
    release = forms.ChoiceField(label="Bodo version")
    spot = spot_field()
    auto_pause_minutes = minutes_field(
        "Auto-pause", "Minutes without a job until the cluster is paused; 0 is never.", 60
    )
    auto_stop_minutes = minutes_field("Auto-stop", "Minutes without a job until the cluster is stopped; 0 is never.", 0)
    max_lifetime_minutes = LifetimeField()
    zone = zone_field()
    instance_role = role_field()
    description = forms.CharField(max_length=1000, required=False, label="Description")
    tags = TagsField(label="Tags", help_text="One key=value per line.")

    def __init__(self, *args: Any, workspace: Workspace, stopped: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        if stopped:
            offer_machines(self, workspace, self.initial)
            return
        for name in (*MACHINE_FIELDS, "tags"):
            del self.fields[name]
        if self.initial["spot"] and not self.initial["auto_pause_minutes"]:
            del self.fields["auto_pause_minutes"]

    def clean(self) -> dict[str, Any]:
        """Spot clusters cannot pause."""
        return _refuse_pause_of_spot(self, super().clean() or self.cleaned_data)


def _refuse_pause_of_spot(form: forms.Form, values: dict[str, Any]) -> dict[str, Any]:
    spot = values["spot"] if "spot" in values else form.initial.get("spot")
    if spot and values.get("auto_pause_minutes"):
        form.add_error("auto_pause_minutes", "A spot cluster cannot pause. Set this to 0, and use auto-stop.")
    return values


class ScaleForm(forms.Form):
    """Another number of instances."""

    instances = forms.IntegerField(min_value=1, max_value=MAX_INSTANCES, label="Number of instances")


SNOOZES = [(30, "30 minutes"), (60, "1 hour"), (240, "4 hours"), (480, "8 hours"), (1440, "24 hours")]


class SnoozeForm(forms.Form):
    """For how long an idle cluster runs on."""

    minutes = forms.TypedChoiceField(choices=SNOOZES, coerce=int, initial=60, label="For")


class SnoozeLinkForm(forms.Form):
    """The same by the link in a mail, which may do less."""

    minutes = forms.TypedChoiceField(
        choices=SNOOZES[:3], coerce=int, initial=60, label="Let it run on for", widget=forms.RadioSelect
    )


class ClusterFilter(forms.Form):
    """Which clusters a list shows."""

    q = forms.CharField(required=False, max_length=100, label="Name contains")
    status = forms.ChoiceField(
        required=False,
        label="Status",
        choices=[("", "Any status"), *((s, s) for s in ClusterStatus.values if s != ClusterStatus.TERMINATED)],
    )
