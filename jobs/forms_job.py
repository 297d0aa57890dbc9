"""The form of a job, in four steps: what it is, where its code is, how it runs, and where.

All steps are one form. The page shows one of them and carries the others along hidden, so nothing is stored before the
end, nothing is lost on the way, and it works without scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BoundField
from django.forms.utils import ErrorDict
from django.http import QueryDict

from accounts.forms import NameField
from clusters import choices
from clusters.forms import MAX_INSTANCES, LifetimeField, TagsField
from clusters.forms_machine import instance_type_field, offer_machines, role_field, spot_field, zone_field
from clusters.models import Cluster
from jobs.fetching.web import name_of
from jobs.forms import MODES, ArgumentsField, EnvironmentField, ParametersField, PlainSelect
from jobs.programs import sql_text
from jobs.spec import QUERY, CodeType, JobSpec, NewCluster, Place, Retry, Source, SourceType
from portal.clouds.base import CloudError, LaunchMode
from workspaces.clouds import cloud_of
from workspaces.models import Catalog, SecretGroup, Workspace

KEPT = "********"
"""Stands for a stored value that nobody is shown; left as it is, it stays."""

CODE = {
    CodeType.PYTHON: "Python — a .py file on all cores of the cluster",
    CodeType.SQL: "SQL — a query, run by BodoSQL; its result is kept as Parquet",
    CodeType.IPYNB: "Notebook — a .ipynb file, executed from top to bottom and kept with its output",
}
ENDINGS = {CodeType.PYTHON: ".py", CodeType.SQL: ".sql", CodeType.IPYNB: ".ipynb"}
SOURCES = {
    SourceType.SQL: "A query written here",  # the first of those on offer is what an empty choice means
    SourceType.WORKSPACE: "A file of this workspace",
    SourceType.GIT: "A git repository",
    SourceType.URL: "An address on the web",
    SourceType.S3: "An S3 bucket",
}
PLACES = {
    "existing": "A cluster of this workspace",
    "new": "A new cluster for each run, removed at its end",
    "open": "Whoever runs it chooses",
}
MAX_SQL = 100_000
MAX_MINUTES = 10080


@dataclass(frozen=True)
class FormStep:
    """One step: its name in the form, what people read, and the fields it may show."""

    name: str
    label: str
    fields: tuple[str, ...]


STEPS = (
    FormStep("basic", "Basics", ("name", "description", "code_type", "tags")),
    FormStep(
        "source",
        "Source",
        ("source_type", "location", "reference", "username", "token", "file", "catalog", "sql", "parameters"),
    ),
    FormStep(
        "advanced",
        "Options",
        (
            *("arguments", "environment", "secret_groups", "mode", "timeout_minutes"),
            *("retries", "retry_delay_minutes", "retry_on_timeout"),
        ),
    ),
    FormStep(
        "cluster",
        "Cluster",
        (
            *("place", "cluster", "instance_type", "instances", "release", "spot", "zone", "instance_role"),
            *("max_lifetime_minutes", "auto_resume", "pause_on_finish"),
        ),
    ),
)


class JobForm(forms.Form):
    """A job and where it runs. ``kept`` is the job as it is stored, whose secrets may be kept. ``for_template`` asks
    for what only a template has, and lets the cluster be left open."""

    name = NameField(label="Name")
    description = forms.CharField(max_length=1000, required=False, label="Description")
    code_type = forms.ChoiceField(
        label="Code", choices=[(kind.value, text) for kind, text in CODE.items()], widget=forms.RadioSelect
    )
    tags = TagsField(label="Tags", help_text="One key=value per line.")

    source_type = forms.ChoiceField(label="Where the code is", required=False)
    location = forms.CharField(max_length=2000, required=False)
    reference = forms.CharField(max_length=250, required=False)
    username = forms.CharField(max_length=250, required=False, label="User")
    token = forms.CharField(
        max_length=4000, required=False, label="Token", widget=forms.PasswordInput(attrs={"autocomplete": "off"})
    )
    file = forms.CharField(max_length=1000, required=False, label="File")
    catalog = forms.ModelChoiceField(Catalog.objects.none(), required=False, label="Catalog")
    sql = forms.CharField(
        max_length=MAX_SQL,
        required=False,
        strip=False,
        label="Query",
        widget=forms.Textarea(attrs={"rows": 8, "spellcheck": "false"}),
        help_text="Among files, sales/orders.parquet is the table sales.orders, and so is a folder of Parquet files.",
    )
    parameters = ParametersField(
        label="Parameters",
        help_text="One name=value per line, for @name in the query. They are bound, never pasted into its text.",
    )

    arguments = ArgumentsField(label="Arguments", help_text="Separated by spaces; quote what has spaces.")
    environment = EnvironmentField(
        label="Environment variables", help_text="One KEY=value per line. Stored encrypted; only the keys are shown."
    )
    secret_groups = forms.ModelMultipleChoiceField(
        SecretGroup.objects.none(),
        required=False,
        label="Secrets",
        widget=forms.CheckboxSelectMultiple,
        help_text="The job gets their keys as environment variables. Where two groups have a key, the later one wins.",
    )
    mode = forms.ChoiceField(
        label="Launch mode",
        required=False,
        choices=[(mode.value, label) for mode, label in MODES.items()],
        widget=forms.RadioSelect,
    )
    timeout_minutes = forms.IntegerField(
        min_value=1, max_value=MAX_MINUTES, label="Timeout in minutes", help_text="For each attempt."
    )
    retries = forms.IntegerField(min_value=0, max_value=20, label="Further attempts after a failure")
    retry_delay_minutes = forms.IntegerField(min_value=0, max_value=1440, label="Minutes between attempts")
    retry_on_timeout = forms.BooleanField(required=False, label="Try again after a timeout, too")

    place = forms.ChoiceField(label="Where it runs", widget=forms.RadioSelect)
    cluster = forms.ModelChoiceField(Cluster.objects.none(), required=False, label="Cluster", widget=PlainSelect)
    instance_type = instance_type_field(required=False)
    instances = forms.IntegerField(min_value=1, max_value=MAX_INSTANCES, required=False, label="Number of instances")
    release = forms.ChoiceField(required=False, label="Bodo version")
    spot = spot_field()
    zone = zone_field()
    instance_role = role_field()
    max_lifetime_minutes = LifetimeField()
    auto_resume = forms.BooleanField(required=False, label="Resume the cluster if it is paused")
    pause_on_finish = forms.BooleanField(
        required=False, label="Pause the cluster at the end", help_text="Unless other runs wait for it."
    )

    def __init__(
        self, *args: Any, workspace: Workspace, for_template: bool = False, kept: JobSpec | None = None, **options: Any
    ) -> None:
        options["initial"] = {**_FIRST, **(options.get("initial") or {})}
        super().__init__(*args, **options)
        if self.is_bound:  # what is sent by hand may leave out what has a default; only a box without a tick is silent
            defaults = {name: str(value) for name, value in _FIRST.items() if value is not True}
            given = cast(QueryDict, self.data).copy()
            given.update({name: value for name, value in defaults.items() if name not in given})
            self.data = given
        self.workspace, self.for_template, self.kept = workspace, for_template, kept
        if not for_template:
            self.fields["name"].label = "Run name"
            del self.fields["description"]
        self._offer()

    def _offer(self) -> None:
        """The choices that depend on the workspace and on the kind of code."""
        code = self.code
        kinds = [kind for kind in SOURCES if kind is not SourceType.SQL or code is CodeType.SQL]
        self._choices("source_type", [(kind.value, SOURCES[kind]) for kind in kinds])
        self._choices("place", [(key, label) for key, label in PLACES.items() if key != "open" or self.for_template])
        field = self.fields["cluster"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Cluster.objects.in_workspace(self.workspace).usable().order_by("name")
        field.empty_label = "Choose a cluster"
        if not self.for_template and not self.initial.get("cluster"):
            self.initial["cluster"] = field.queryset.values_list("pk", flat=True).first()
        groups = self.fields["secret_groups"]
        assert isinstance(groups, forms.ModelMultipleChoiceField)
        groups.queryset = SecretGroup.objects.in_workspace(self.workspace)
        self.has_groups = groups.queryset.exists()
        self._offer_catalogs(code)
        self.offered = offer_machines(self, self.workspace, self.initial)
        relevant = self.relevant()
        needed = {"location", "file", "sql", "mode", "cluster", "instance_type", "instances", "release"} & relevant
        for name in needed if self.source is not SourceType.S3 else needed - {"file"}:
            self.fields[name].required = True  # what else is asked for is not, and says nothing of what was left out
        self._explain(code)

    def _explain(self, code: CodeType) -> None:
        """Labels and help for what is chosen."""
        labels = {
            SourceType.GIT: ("Repository", "https://github.com/team/jobs.git", "Branch, tag or commit"),
            SourceType.URL: ("Address", f"https://example.org/job{ENDINGS[code]}", ""),
            SourceType.S3: ("Path", "s3://bucket/folder/", "Region of the bucket"),
        }.get(self.source, ("", "", ""))
        self.fields["location"].label, self.fields["reference"].label = labels[0], labels[2]
        self.fields["location"].widget.attrs["placeholder"] = labels[1]
        if self.source is SourceType.WORKSPACE:
            self.fields["file"].help_text = f"A file of the workspace that ends in {ENDINGS[code]}."
        elif self.source is SourceType.S3:
            self.fields["file"].help_text = "Below the path; empty where the path is the file itself."
            self.fields[
                "location"
            ].help_text = (
                "Read with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the run's environment, or without any."
            )
        else:
            self.fields["file"].help_text = f"Its path in the repository; it ends in {ENDINGS[code]}."
        if self.kept and self.kept.source.query:
            self.fields["location"].help_text = "What follows the question mark is stored and not shown; ?… keeps it."
        if self.kept and self.kept.source.token:
            self.fields["token"].help_text = "Leave it empty to keep the one that is stored."
        if code is CodeType.IPYNB:
            self.fields["arguments"].label = "Values"
            self.fields[
                "arguments"
            ].help_text = "name=value, separated by spaces; set in a cell behind the one that is tagged parameters."

    def _offer_catalogs(self, code: CodeType) -> None:
        field = self.fields["catalog"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Catalog.objects.in_workspace(self.workspace).defer("sealed")
        self.has_catalogs = field.queryset.exists()
        if code is CodeType.SQL:
            field.empty_label = "All files of this workspace"
            field.help_text = "Where the query finds its tables."
        else:
            field.empty_label = "None"
            field.help_text = "The program is given it as JSON in PORTAL_CATALOG, with its credentials."

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    # --- what is asked for ---

    @property
    def code(self) -> CodeType:
        """The kind of code that is chosen, right or wrong."""
        chosen = CodeType._value2member_map_.get(self._raw("code_type"))
        return chosen or CodeType.PYTHON  # type: ignore[return-value]

    @property
    def source(self) -> SourceType:
        """The kind of source that is chosen; a query is written here unless something else is chosen."""
        chosen = SourceType._value2member_map_.get(self._raw("source_type"))
        if chosen is SourceType.SQL and self.code is not CodeType.SQL:
            chosen = None
        default = SourceType.SQL if self.code is CodeType.SQL else SourceType.WORKSPACE
        return chosen or default  # type: ignore[return-value]

    def _raw(self, name: str) -> Any:
        return self.data.get(name) if self.is_bound else self.initial.get(name)

    def relevant(self) -> set[str]:
        """The fields that matter for what is chosen."""
        names = {name for step in STEPS for name in step.fields} & set(self.fields)
        source, code, place = self.source, self.code, self._raw("place") or "existing"
        if source is not SourceType.GIT:
            names -= {"username", "token"}
        if source not in {SourceType.GIT, SourceType.S3}:
            names -= {"reference"}
        if source in {SourceType.WORKSPACE, SourceType.SQL}:
            names -= {"location"}
        if source in {SourceType.SQL, SourceType.URL}:
            names -= {"file"}
        if source is not SourceType.SQL:
            names -= {"sql"}
        if not self.has_groups:
            names -= {"secret_groups"}
        if not self.has_catalogs:
            names -= {"catalog"}
        if code is not CodeType.SQL:
            names -= {"parameters"}
        else:
            names -= {"arguments"}
        if code is not CodeType.PYTHON:
            names -= {"mode"}
        if place != "existing":
            names -= {"cluster", "auto_resume", "pause_on_finish"}
        if place != "new":
            names -= {"instance_type", "instances", "release", "spot", "zone", "instance_role", "max_lifetime_minutes"}
        return names

    def shown(self, step: FormStep) -> Iterator[BoundField]:
        """The fields of a step, as the page shows them."""
        relevant = self.relevant()
        return (self[name] for name in step.fields if name in relevant)

    def carried(self, step: FormStep) -> Iterator[BoundField]:
        """All other fields, to be carried along hidden."""
        shown = {field.name for field in self.shown(step)}
        return (self[name] for name in self.fields if name not in shown)

    def wrong_step(self, last: FormStep | None = None) -> FormStep | None:
        """The first step with an error, of those up to ``last``."""
        for step in STEPS:
            if any(name in self.errors for name in step.fields):
                return step
            if step == last:
                return None
        return None

    def hide_errors(self) -> None:
        """Nobody is told what is wrong with a step that they have not come to."""
        self._errors = ErrorDict()

    # --- what was given ---

    def clean(self) -> dict[str, Any]:
        """Only what is relevant has to be right."""
        values = super().clean() or self.cleaned_data
        relevant = self.relevant()
        for name in [name for name in self.errors if name not in relevant and name != "__all__"]:
            del self._errors[name]
        if "location" in relevant and "location" not in self.errors:
            self._check_location(values["location"].strip())
        if "file" in relevant and "file" not in self.errors:
            self._check_file(values.get("file", "").strip().strip("/"))
        self._check_values(values)
        if "cluster" in relevant and values.get("cluster") and values["cluster"].spot and values.get("pause_on_finish"):
            self.add_error("pause_on_finish", choices.SPOT_CANNOT_PAUSE)
        if "environment" in values:
            self._keep_environment(values["environment"])
        return values

    def _check_location(self, location: str) -> None:
        if location.endswith(QUERY):
            kept = self.kept.source if self.kept else Source()
            if (kept.type, kept.shown) == (self.source, location):
                location = kept.location
            else:
                self.add_error("location", "Enter the whole address, with what follows its question mark.")
        address = urlsplit(location)
        if self.source is SourceType.S3:
            if address.scheme != "s3" or not address.netloc:
                self.add_error("location", "Write it as s3://bucket/path.")
        elif address.scheme not in {"https", "http"} or not address.hostname:
            self.add_error("location", "Write a whole address that begins with https://.")
        elif address.username or address.password:
            self.add_error("location", "Leave user and token out of the address; they have fields of their own.")
        elif self.source is SourceType.URL and not name_of(location).endswith(ENDINGS[self.code]):
            self.add_error("location", f"The address must lead to a file that ends in {ENDINGS[self.code]}.")
        self.cleaned_data["location"] = location

    def _check_file(self, path: str) -> None:
        self.cleaned_data["file"] = path
        ending = ENDINGS[self.code]
        optional = self.source is SourceType.S3 and str(self.cleaned_data.get("location", "")).endswith(ending)
        if not path and optional:
            return
        if not path.endswith(ending):
            self.add_error("file", ValidationError(f"The file must end in {ending}.", code="kind"))
        elif ".." in path.split("/"):
            self.add_error("file", "The path may not lead out.")
        elif self.source is SourceType.WORKSPACE:
            try:
                entry = cloud_of(self.workspace.cloud_configuration).files(self.workspace.handle).stat(path)
            except CloudError as error:
                self.add_error("file", ValidationError(f"{error.message} {error.hint}".strip(), code=error.code))
            else:
                if entry.kind != "file":
                    self.add_error("file", ValidationError(f"{path} is a {entry.kind}.", code="kind"))

    def _check_values(self, values: dict[str, Any]) -> None:
        """What can be known before the run: a notebook is given values by name, and a query all that it names. The
        values that a template leaves out can be given for each run."""
        if self.code is CodeType.IPYNB:
            given = [each.partition("=") for each in values.get("arguments", [])]
            if not all(sign and name.isidentifier() for name, sign, _ in given):
                self.add_error("arguments", "Write each as name=value.")
        elif self.source is SourceType.SQL and not self.for_template and "parameters" in values:
            missing = [name for name in sql_text.parameters(values.get("sql", "")) if name not in values["parameters"]]
            if missing:
                self.add_error("parameters", f"The query uses @{missing[0]}: give it a value.")

    def _keep_environment(self, environment: dict[str, str]) -> None:
        for key, value in environment.items():
            if value == KEPT:
                if self.kept is None or key not in self.kept.environment:
                    self.add_error("environment", f"Enter a value for {key}.")
                    return
                environment[key] = self.kept.environment[key]

    def spec(self) -> JobSpec:
        """The job that was described. Only for a valid form."""
        values, relevant = self.cleaned_data, self.relevant()

        def given(name: str, otherwise: Any) -> Any:
            return values[name] if name in relevant else otherwise

        source = Source(
            self.source,
            given("location", ""),
            given("reference", "").strip(),
            given("username", "").strip(),
            given("token", ""),
        )
        return JobSpec(
            code_type=self.code,
            source=replace(source, token=source.token or self._kept_token(source)),
            file=given("file", ""),
            sql=given("sql", ""),
            parameters=given("parameters", {}),
            arguments=given("arguments", []),
            environment=values["environment"],
            secret_groups=list(values["secret_groups"]),
            catalog=given("catalog", None),
            mode=LaunchMode(given("mode", "") or LaunchMode.SPAWN),
            retry=Retry(values["retries"], values["retry_delay_minutes"], values["retry_on_timeout"]),
            timeout_minutes=values["timeout_minutes"],
            auto_resume=given("auto_resume", True),
            pause_on_finish=given("pause_on_finish", False),
            tags=values["tags"],
        )

    def _kept_token(self, source: Source) -> str:
        """The stored token, for the server that it was given for: another one must not get it."""
        if self.kept is None or source.type is not SourceType.GIT:
            return ""
        here, there = urlsplit(source.location), urlsplit(self.kept.source.location)
        same = (here.scheme, here.netloc) == (
            there.scheme,
            there.netloc,
        ) and source.username == self.kept.source.username
        return self.kept.source.token if same else ""

    def place_given(self) -> Place | None:
        """Where it runs; None where that is left open."""
        values = self.cleaned_data
        match values["place"]:
            case "existing":
                found: Cluster = values["cluster"]
                return found
            case "new":
                role = values.get("instance_role")
                return NewCluster(
                    values["instance_type"],
                    values["instances"],
                    values["release"],
                    values["max_lifetime_minutes"] or 0,
                    spot=values.get("spot", False),
                    zone=values.get("zone", ""),
                    instance_role=str(role.pk) if role else "",
                )
            case _:
                return None


_FIRST: dict[str, Any] = {
    "code_type": CodeType.PYTHON.value,
    "mode": LaunchMode.SPAWN.value,
    "timeout_minutes": 60,
    "retries": 0,
    "retry_delay_minutes": 1,
    "place": "existing",
    "instances": 1,
    "max_lifetime_minutes": 0,
    "auto_resume": True,
}


def initial_of(spec: JobSpec, place: Place | None) -> dict[str, Any]:
    """What the form shows of a job that is stored; secrets are not among it."""
    values: dict[str, Any] = {
        "code_type": spec.code_type.value,
        "tags": dict(spec.tags),
        "source_type": spec.source.type.value,
        "location": spec.source.shown,
        "reference": spec.source.reference,
        "username": spec.source.username,
        "file": spec.file,
        "sql": spec.sql,
        "parameters": dict(spec.parameters),
        "arguments": list(spec.arguments),
        "environment": dict.fromkeys(spec.environment, KEPT),
        "secret_groups": list(spec.secret_groups),
        "catalog": spec.catalog,
        "mode": spec.mode.value,
        "timeout_minutes": spec.timeout_minutes,
        "retries": spec.retry.count,
        "retry_delay_minutes": spec.retry.delay_minutes,
        "retry_on_timeout": spec.retry.on_timeout,
        "auto_resume": spec.auto_resume,
        "pause_on_finish": spec.pause_on_finish,
    }
    if isinstance(place, NewCluster):
        return {**values, "place": "new", **vars(place)}
    return {**values, "place": "existing" if place else "open", "cluster": place}
