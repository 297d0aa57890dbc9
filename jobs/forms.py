"""Forms of the jobs app."""

from __future__ import annotations

import json
import re
import shlex
from html import escape
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.utils import flatatt
from django.utils.safestring import SafeString

from clusters.models import Cluster
from jobs.models import RunStatus
from portal.clouds.base import LaunchMode
from portal.clouds.environment import refusal_of
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

    def prepare_value(self, value: Any) -> Any:
        """A dict as lines."""
        return "\n".join(f"{key}={text}" for key, text in value.items()) if isinstance(value, dict) else value

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

    def prepare_value(self, value: Any) -> Any:
        """A list as one would type it."""
        return shlex.join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        """Words, quoted where they have spaces."""
        try:
            return shlex.split(super().clean(value) or "")
        except ValueError:
            raise ValidationError("A quotation mark is not closed.", code="quotes") from None


class ParametersField(forms.CharField):
    """Values of a query by name, as lines of ``name=value``; a value is JSON (a number, true, "text"), or else text."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            **{"required": False, "widget": forms.Textarea(attrs={"rows": 3}), "max_length": 32768, **options}
        )

    def prepare_value(self, value: Any) -> Any:
        """A dict as lines; a text that would be read as something else is quoted."""
        if not isinstance(value, dict):
            return value
        return "\n".join(f"{key}={_written(each)}" for key, each in value.items())

    def clean(self, value: Any) -> Any:
        """Lines as a dict."""
        found: dict[str, Any] = {}
        for line in (super().clean(value) or "").splitlines():
            if not line.strip():
                continue
            key, separator, text = line.partition("=")
            if not separator or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", key.strip()):
                raise ValidationError("Write one name=value per line; names are letters, digits and _.", code="format")
            found[key.strip()] = _read(text.strip())
        return found


def _read(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int | float | bool) or value is None else text


def _written(value: Any) -> str:
    return value if isinstance(value, str) and _read(value) == value else json.dumps(value)


class PlainSelect(forms.Select):
    """A choice among many, put together at once: Django's own renders two templates for each option, and looks into
    each twice for options of options."""

    choices: Any = ()

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        """The element."""
        chosen = str(value or "")
        choices = ((str(key), str(label)) for key, label in self.choices)
        options = "".join(
            f'<option value="{escape(key)}"{" selected" if key == chosen else ""}>{escape(label)}</option>'
            for key, label in choices
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
        field.widget.choices = [("", "Any cluster"), *clusters.order_by("name").values_list("pk", "name")[:MAX_CHOICES]]


class TemplateFilter(forms.Form):
    """Which templates a list shows."""

    q = forms.CharField(required=False, max_length=100, label="Name contains")
