"""Forms of the jobs app."""

from __future__ import annotations

import shlex
from html import escape
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import flatatt
from django.utils.safestring import SafeString

from accounts.forms import NameField
from clusters.models import Cluster
from jobs.models import RunStatus
from jobs.spec import JobSpec
from portal.clouds.base import CloudError, LaunchMode
from portal.clouds.environment import refusal_of
from workspaces.clouds import cloud_of
from workspaces.models import Workspace

MODES = {
    LaunchMode.SPAWN: "Spawn — one Python process that sends its work to all workers (bodo.pandas, SQL, bodo.jit)",
    LaunchMode.SPMD: "SPMD — the file runs on every worker under mpiexec (bodo.jit and mpi4py only)",
}
MAX_CHOICES = 200


class EnvironmentField(forms.CharField):
    """Environment variables as lines of ``KEY=value``; the value is a dict."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{"required": False, "widget": forms.Textarea(attrs={"rows": 3}), "max_length": 32768, **options}
        )

    def clean(self, value: Any) -> Any:
        """Lines as a dict."""
        environment: dict[str, str] = {}
        for line in (super().clean(value) or "").splitlines():
            if not line.strip():
                continue
            key, separator, text = line.partition("=")
            key = key.strip()
            if not separator:
                raise ValidationError("Write one KEY=value per line.", code="format")
            if refusal := refusal_of(key):
                raise ValidationError(refusal, code="name")
            environment[key] = text
        return environment


class ArgumentsField(forms.CharField):
    """Arguments as a shell would read them; the value is a list. No shell ever sees them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "max_length": 8192, **options})

    def clean(self, value: Any) -> Any:
        """Words, quoted where they have spaces."""
        try:
            return shlex.split(super().clean(value) or "")
        except ValueError:
            raise ValidationError("A quotation mark is not closed.", code="quotes") from None


class RunForm(forms.Form):
    """A run of a Python file."""

    name = NameField(label="Run name")
    cluster = forms.ModelChoiceField(Cluster.objects.none(), label="Cluster", empty_label=None)
    file = forms.CharField(
        max_length=1000, label="File", help_text="A Python file of the workspace, such as jobs/load.py."
    )
    arguments = ArgumentsField(label="Arguments", help_text="Separated by spaces; quote what has spaces.")
    environment = EnvironmentField(
        label="Environment variables", help_text="One KEY=value per line. Stored encrypted; only the keys are shown."
    )
    mode = forms.ChoiceField(
        label="Launch mode",
        choices=[(mode.value, label) for mode, label in MODES.items()],
        widget=forms.RadioSelect,
        initial=LaunchMode.SPAWN.value,
    )
    timeout_minutes = forms.IntegerField(min_value=1, max_value=10080, initial=60, label="Timeout in minutes")
    auto_resume = forms.BooleanField(required=False, initial=True, label="Resume the cluster if it is paused")

    def __init__(self, *args: Any, workspace: Workspace, **options: Any) -> None:
        super().__init__(*args, **options)
        self.workspace = workspace
        field = self.fields["cluster"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Cluster.objects.in_workspace(workspace).usable().order_by("name")

    def clean_file(self) -> str:
        """The file must be there, and be Python."""
        path: str = self.cleaned_data["file"].strip().strip("/")
        if not path.endswith(".py"):
            raise ValidationError("The file must end in .py.", code="kind")
        try:
            entry = cloud_of(self.workspace.cloud_configuration).files(self.workspace.handle).stat(path)
        except CloudError as error:
            raise ValidationError(f"{error.message} {error.hint}".strip(), code=error.code) from None
        if entry.kind != "file":
            raise ValidationError(f"{path} is a {entry.kind}.", code="kind")
        return path

    def clean_mode(self) -> LaunchMode:
        """As the cloud interface has it."""
        return LaunchMode(self.cleaned_data["mode"])

    def spec(self) -> JobSpec:
        """What was asked for."""
        names = ("file", "arguments", "environment", "mode", "timeout_minutes", "auto_resume")
        return JobSpec(**{name: self.cleaned_data[name] for name in names})


class PlainSelect(forms.Select):
    """A choice among many, put together at once: Django's own renders two templates for each option."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """The element."""
        chosen = str(value or "")
        marked = ((str(key), " selected" if str(key) == chosen else "", str(label)) for key, label in self.choices)
        options = "".join(
            f'<option value="{escape(key)}"{mark}>{escape(label)}</option>' for key, mark, label in marked
        )
        attributes = flatatt(self.build_attrs(self.attrs, {"name": name, **(attrs or {})}))
        return SafeString(f"<select{attributes}>{options}</select>")


class RunFilter(forms.Form):
    """Which runs a list shows."""

    q = forms.CharField(required=False, max_length=100, label="Name contains")
    status = forms.ChoiceField(
        required=False, label="Status", choices=[("", "Any status"), *((s, s) for s in RunStatus.values)]
    )
    cluster = forms.ModelChoiceField(
        Cluster.objects.none(),
        required=False,
        label="Cluster",
        empty_label="Any cluster",
        blank=True,
        widget=PlainSelect,
    )

    def __init__(self, *args: Any, workspace: Workspace, **options: Any) -> None:
        super().__init__(*args, **{"auto_id": "filter_%s", **options})  # the drawer on the same page has ids of its own
        field = self.fields["cluster"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = clusters = Cluster.objects.in_workspace(workspace)
        # A list of thousands helps nobody: the first ones are offered, any other can still be named in the address.
        field.choices = [("", "Any cluster"), *clusters.order_by("name").values_list("pk", "name")[:MAX_CHOICES]]
