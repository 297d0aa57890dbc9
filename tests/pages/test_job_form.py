"""The form of a job: four steps, nothing lost between them, errors where they belong, and secrets that stay unseen."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from bs4 import BeautifulSoup
from django.apps import apps
from django.test import Client

from accounts.models import AuditEvent
from jobs.forms_job import KEPT
from jobs.models import JobTemplate, Run
from portal.crypto import seal
from tests.factories import actor, make_catalog, make_run, make_template
from tests.pages.world import Tenants
from workspaces.models import Catalog
from workspaces.services_catalogs import delete_catalog, update_catalog

NEW = "jobs/templates/new/"


def hidden(response: Any) -> dict[str, Any]:
    """What the form would send: what is hidden and what is shown."""
    form = BeautifulSoup(response.content, "html.parser").select_one("form[action*=jobs]")
    assert form
    values: dict[str, Any] = {}
    for field in form.select("input[name], textarea[name], select[name]"):
        name, kind = str(field["name"]), field.get("type")
        if name == "csrfmiddlewaretoken" or (kind in {"radio", "checkbox"} and not field.has_attr("checked")):
            continue
        if field.name == "select":
            chosen = field.select_one("option[selected]") or field.select_one("option")
            values[name] = str(chosen["value"]) if chosen else ""
        else:
            values[name] = field.get_text()[1:] if field.name == "textarea" else str(field.get("value", ""))
    return values


def visible(response: Any) -> set[str]:
    form = BeautifulSoup(response.content, "html.parser").select_one("form[action*=jobs]")
    assert form
    fields = form.select("input[name]:not([type=hidden]), textarea[name], select[name]")
    return {str(field["name"]) for field in fields}


def errors(response: Any) -> dict[str, str]:
    return {name: str(found[0]) for name, found in response.context["form"].errors.items()}


@pytest.fixture
def developer(tenants: Tenants) -> Client:
    return tenants.client("developer")


def address(tenants: Tenants, rest: str) -> str:
    return f"/w/{tenants.lab.workspace.pk}/{rest}"


def test_step_by_step_to_a_template(tenants: Tenants, developer: Client) -> None:
    path = address(tenants, NEW)
    first = developer.get(path)
    assert visible(first) == {"name", "description", "code_type", "tags"}
    values = {**hidden(first), "name": "Load", "tags": "team=data"}
    second = developer.post(path, {**values, "go": "source"})
    assert visible(second) == {"source_type", "file", "catalog"}
    third = developer.post(path, {**hidden(second), "file": "job.py", "go": "advanced"})
    values = {**hidden(third), "arguments": "--day 'two words'", "environment": "TOKEN=s3cret", "retries": "2"}
    fourth = developer.post(path, {**values, "go": "cluster"})
    assert {"place", "cluster", "auto_resume"} <= visible(fourth)
    done = developer.post(path, {**hidden(fourth), "cluster": str(tenants.lab.cluster.pk), "go": "save"})
    assert done.status_code == 302
    made = JobTemplate.objects.get(name="Load")
    spec = made.spec()
    assert (spec.file, spec.arguments, dict(spec.environment)) == (
        "job.py",
        ["--day", "two words"],
        {"TOKEN": "s3cret"},
    )
    assert (spec.retry.count, dict(spec.tags), made.cluster) == (2, {"team": "data"}, tenants.lab.cluster)


def test_each_step_is_checked_before_the_next(tenants: Tenants, developer: Client) -> None:
    path = address(tenants, NEW)
    response = developer.post(path, {"step": "basic", "go": "source", "name": " "})
    assert (response.status_code, "name" in visible(response)) == (422, True)
    response = developer.post(path, {"step": "source", "go": "advanced", "name": "x", "file": "missing.py"})
    assert (response.status_code, "file" in visible(response)) == (422, True)
    response = developer.post(path, {"step": "source", "go": "basic", "name": "x", "file": "missing.py"})
    assert (response.status_code, errors(response)) == (200, {})  # going back is always allowed


def test_saving_early_shows_the_first_step_with_an_error(tenants: Tenants, developer: Client) -> None:
    response = developer.post(address(tenants, NEW), {"step": "basic", "go": "save", "name": "x"})
    assert response.status_code == 422
    assert "file" in visible(response)


def test_the_fields_follow_what_is_chosen(tenants: Tenants, developer: Client) -> None:
    path = address(tenants, NEW)

    def after(**chosen: str) -> set[str]:
        return visible(developer.post(path, {"step": "source", "go": "refresh", "name": "x", **chosen}))

    assert after(code_type="SQL") == {"source_type", "catalog", "sql", "parameters"}
    assert after(code_type="PYTHON", source_type="GIT") >= {"location", "reference", "username", "token", "file"}
    assert after(code_type="PYTHON", source_type="URL") == {"source_type", "location", "catalog"}
    assert after(code_type="IPYNB", source_type="S3") == {"source_type", "location", "reference", "file", "catalog"}
    Catalog.objects.all().delete()
    assert after(code_type="SQL") == {"source_type", "sql", "parameters"}  # nothing to choose from
    assert "sql" not in after(code_type="PYTHON", source_type="SQL")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"file": "../../etc/passwd.py"}, "file"),
        ({"file": "folder"}, "file"),
        ({"file": "job.txt"}, "file"),
        ({"source_type": "GIT", "location": "git@github.com:team/repo.git"}, "location"),
        ({"source_type": "GIT", "location": "https://ada:token@github.com/team/repo.git"}, "location"),
        ({"source_type": "GIT", "location": "file:///etc"}, "location"),
        ({"source_type": "GIT", "location": ""}, "location"),
        ({"source_type": "URL", "location": "https://example.org/job.txt"}, "location"),
        ({"source_type": "S3", "location": "https://bucket/x.py"}, "location"),
        ({"code_type": "SQL", "sql": ""}, "sql"),
        ({"code_type": "SQL", "sql": "SELECT 1", "parameters": "no equals sign"}, "parameters"),
        ({"code_type": "SQL", "sql": "SELECT @who, '@else'", "parameters": "other=1"}, "parameters"),
        ({"code_type": "IPYNB", "arguments": "top 10"}, "arguments"),
        ({"code_type": "IPYNB", "arguments": "2x=10"}, "arguments"),
        ({"environment": "LD_PRELOAD=x"}, "environment"),
        ({"environment": f"NEW={KEPT}"}, "environment"),
        ({"timeout_minutes": "-1"}, "timeout_minutes"),
        ({"timeout_minutes": "99999999999"}, "timeout_minutes"),
        ({"retries": "100000"}, "retries"),
        ({"cluster": ""}, "cluster"),
        ({"place": "new", "instance_type": "p5.48xlarge"}, "instance_type"),
        ({"place": "new", "instance_type": "local.1x", "release": "2026.10", "instances": "0"}, "instances"),
        ({"place": "open"}, "place"),
        ({"code_type": "COBOL"}, "code_type"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(
    tenants: Tenants,
    developer: Client,
    changes: dict[str, str],
    field: str,
) -> None:
    form = {"name": "x", "file": "job.py", "cluster": str(tenants.lab.cluster.pk), **changes}
    response = developer.post(address(tenants, "jobs/new/"), form)
    assert response.status_code == 422
    assert field in errors(response)
    assert not Run.objects.filter(name="x").exists()


def test_a_query_is_written_here_unless_something_else_is_chosen(tenants: Tenants, developer: Client) -> None:
    first = hidden(developer.get(address(tenants, "jobs/new/")))
    second = developer.post(address(tenants, "jobs/new/"), {**first, "name": "x", "code_type": "SQL", "go": "source"})
    assert hidden(second)["source_type"] == "SQL"
    assert "sql" in visible(second)


def test_a_template_may_leave_values_to_its_runs(tenants: Tenants, developer: Client) -> None:
    form = {"name": "Query", "code_type": "SQL", "sql": "SELECT @who", "cluster": str(tenants.lab.cluster.pk)}
    assert developer.post(address(tenants, NEW), form).status_code == 302
    template = JobTemplate.objects.get(name="Query")
    given = hidden(developer.get(f"{address(tenants, 'jobs/new/')}?template={template.pk}"))
    assert "parameters" in errors(developer.post(address(tenants, "jobs/new/"), given))
    assert developer.post(address(tenants, "jobs/new/"), {**given, "parameters": "who=Ann"}).status_code == 302
    assert Run.objects.get(name="Query").parameters == {"who": "Ann"}


@pytest.mark.parametrize(("file", "code"), [("job.py", "PYTHON"), ("a/query.sql", "SQL"), ("n.ipynb", "IPYNB")])
def test_a_file_says_what_kind_of_code_it_is(tenants: Tenants, developer: Client, file: str, code: str) -> None:
    found = hidden(developer.get(f"{address(tenants, 'jobs/new/')}?file={file}"))
    assert (found["code_type"], found["source_type"], found["file"]) == (code, "WORKSPACE", file)


def test_a_cluster_of_another_workspace_is_no_choice(tenants: Tenants, developer: Client) -> None:
    for place in (tenants.annex, tenants.abroad):
        form = {"name": "x", "file": "job.py", "cluster": str(place.cluster.pk)}
        assert "cluster" in errors(developer.post(address(tenants, "jobs/new/"), form))


def test_a_catalog_of_another_workspace_is_no_choice(tenants: Tenants, developer: Client) -> None:
    for place in (tenants.annex, tenants.abroad):
        form = {"name": "x", "file": "job.py", "cluster": str(tenants.lab.cluster.pk), "catalog": str(place.catalog.pk)}
        assert "catalog" in errors(developer.post(address(tenants, "jobs/new/"), form))


def test_a_catalog_is_chosen_kept_and_changed_for_one_run(tenants: Tenants, developer: Client) -> None:
    lake = make_catalog(tenants.lab.workspace, name="lake")
    form = {"name": "Query", "code_type": "SQL", "sql": "SELECT 1", "cluster": str(tenants.lab.cluster.pk)}
    assert developer.post(address(tenants, NEW), {**form, "catalog": str(lake.pk)}).status_code == 302
    template = JobTemplate.objects.get(name="Query")
    here = template.get_absolute_url()
    update_catalog(actor=actor(), catalog=lake, name="ocean", settings={"directory": ""}, secret=None)
    assert b"ocean" in developer.get(here).content
    edited = hidden(developer.get(f"{here}edit/"))
    assert edited["catalog"] == str(lake.pk)

    developer.post(f"{here}run/")
    path = address(tenants, f"jobs/new/?template={template.pk}")
    changed = {**hidden(developer.get(path)), "catalog": str(tenants.lab.catalog.pk), "go": "save"}
    assert developer.post(path, changed).status_code == 302
    first, second = Run.objects.filter(template=template).order_by("number")
    assert (first.catalog_name, second.catalog_name) == ("ocean", tenants.lab.catalog.name)
    assert JobTemplate.objects.get(pk=template.pk).catalog == lake
    assert tenants.lab.catalog.name in developer.get(second.get_absolute_url()).content.decode()
    assert developer.post(f"{here}edit/", {**edited, "catalog": "", "go": "save"}).status_code == 302
    delete_catalog(actor=actor(), catalog=lake)
    assert "deleted since" in developer.get(first.get_absolute_url()).content.decode()


# --- what is stored and not shown -----------------------------------------------------------------------------------


@pytest.fixture
def git_template(tenants: Tenants, developer: Client) -> JobTemplate:
    form = {
        "name": "Git",
        "source_type": "GIT",
        "location": "https://git.example.org/team/repo.git",
        "username": "ada",
        "token": "canary-token",
        "file": "job.py",
        "environment": "PASSWORD=canary-password",
        "cluster": str(tenants.lab.cluster.pk),
    }
    assert developer.post(address(tenants, NEW), form).status_code == 302
    return JobTemplate.objects.get(name="Git")


def test_secrets_are_kept_and_never_shown(
    tenants: Tenants,
    developer: Client,
    git_template: JobTemplate,
) -> None:
    here = address(tenants, f"jobs/templates/{git_template.pk}/")
    pages = [here, f"{here}edit/", f"{here}edit/?step=source", f"{here}edit/?step=advanced"]
    pages += [
        address(tenants, f"jobs/new/?template={git_template.pk}"),
        address(tenants, f"{NEW}?from={git_template.pk}"),
    ]
    for page in pages:
        response = developer.get(page)
        assert response.status_code == 200
        assert b"canary" not in response.content, page
    edited = hidden(developer.get(f"{here}edit/"))
    assert developer.post(f"{here}edit/", {**edited, "name": "Git 2", "go": "save"}).status_code == 302
    spec = JobTemplate.objects.get(pk=git_template.pk).spec()
    assert (spec.source.token, dict(spec.environment)) == ("canary-token", {"PASSWORD": "canary-password"})


def test_a_stored_token_goes_to_the_server_that_it_was_given_for_only(
    tenants: Tenants,
    developer: Client,
    git_template: JobTemplate,
) -> None:
    here = address(tenants, f"jobs/templates/{git_template.pk}/edit/")
    values = hidden(developer.get(here))
    for change in (
        {"location": "https://evil.example.net/repo.git"},
        {"location": "http://git.example.org/team/repo.git"},
    ):
        developer.post(here, {**values, **change, "go": "save"})
        assert JobTemplate.objects.get(pk=git_template.pk).spec().source.token == ""
        JobTemplate.objects.filter(pk=git_template.pk).update(
            source_token=git_template.source_token, source_location=git_template.source_location
        )
    developer.post(here, {**values, "location": "https://git.example.org/team/other.git", "go": "save"})
    assert JobTemplate.objects.get(pk=git_template.pk).spec().source.token == "canary-token"


def test_the_signature_of_an_address_is_kept_and_never_shown(tenants: Tenants, developer: Client) -> None:
    address_of = "https://files.example.org/job.py"
    form = {"name": "Web", "source_type": "URL", "cluster": str(tenants.lab.cluster.pk)}
    refused = developer.post(address(tenants, NEW), {**form, "location": f"{address_of}?…"})
    assert "whole address" in errors(refused)["location"]
    form["location"] = f"{address_of}?sig=canary&n=1"
    assert developer.post(address(tenants, NEW), form).status_code == 302
    template = JobTemplate.objects.get(name="Web")
    here = template.get_absolute_url()
    developer.post(f"{here}run/")
    run = Run.objects.get(template=template)
    pages = [
        *(here, f"{here}edit/?step=source", run.get_absolute_url(), f"{run.get_absolute_url()}live/"),
        *(address(tenants, "jobs/templates/"), address(tenants, f"jobs/new/?run={run.pk}&step=source")),
    ]
    for page in pages:
        shown = developer.get(page).content.decode()
        assert "canary" not in shown, page
        assert f"{address_of}?…" in shown or page.endswith("templates/")
    edited = hidden(developer.get(f"{here}edit/"))
    assert developer.post(f"{here}edit/", {**edited, "name": "Web 2", "go": "save"}).status_code == 302
    for row in (JobTemplate.objects.get(pk=template.pk), run):
        assert row.spec().source.location == f"{address_of}?sig=canary&n=1"
        assert "canary" not in str(vars(row))
    elsewhere = {**edited, "location": "https://evil.example.net/job.py?…", "go": "save"}
    assert "location" in errors(developer.post(f"{here}edit/", elsewhere))
    assert not AuditEvent.objects.filter(detail__icontains="canary").exists()


def test_addresses_of_before_are_sealed(tenants: Tenants) -> None:
    migration = importlib.import_module("jobs.migrations.0007_seal_queries_of_addresses")
    source = {"source_type": "URL", "source_location": "https://example.org/job.py?sig=canary"}
    rows: list[Run | JobTemplate] = [
        make_template(tenants.lab.workspace, **source, source_token=seal({"token": "t"})),
        make_run(tenants.lab.cluster, **source),
    ]
    for _ in range(2):
        migration.seal_queries(apps, None)
    for row in rows:
        row.refresh_from_db()
        assert row.source_location == "https://example.org/job.py?…"
        assert row.spec().source.location == source["source_location"]
    assert rows[0].spec().source.token == "t"


def test_a_run_with_changes_leaves_its_template_alone(
    tenants: Tenants,
    developer: Client,
    git_template: JobTemplate,
) -> None:
    path = address(tenants, f"jobs/new/?template={git_template.pk}")
    values = {**hidden(developer.get(path)), "reference": "v2", "timeout_minutes": "5", "go": "save"}
    assert developer.post(path, values).status_code == 302
    run = Run.objects.get(template=git_template)
    assert (run.source_reference, run.timeout_minutes, run.template_revision) == ("v2", 5, 1)
    assert run.spec().source.token == "canary-token"
    assert JobTemplate.objects.get(pk=git_template.pk).source_reference == ""


def test_what_a_query_is_asked_with_keeps_its_types(tenants: Tenants, developer: Client) -> None:
    form = {
        "name": "Query",
        "code_type": "SQL",
        "sql": "SELECT *\nFROM sales WHERE day = @day",
        "parameters": 'day=2026-11-24\nlimit=10\nratio=0.5\nname="10"\nflag=true\nnothing=null\nempty=',
        "cluster": str(tenants.lab.cluster.pk),
    }
    assert developer.post(address(tenants, "jobs/new/"), form).status_code == 302
    run = Run.objects.get(name="Query")
    expected = {
        "day": "2026-11-24",
        "limit": 10,
        "ratio": 0.5,
        "name": "10",
        "flag": True,
        "nothing": None,
        "empty": "",
    }
    assert run.parameters == expected
    again = hidden(developer.get(address(tenants, f"jobs/new/?run={run.pk}")))
    developer.post(address(tenants, "jobs/new/"), {**again, "name": "Again", "cluster": form["cluster"], "go": "save"})
    assert Run.objects.get(name="Again").parameters == expected
    assert Run.objects.get(name="Again").sql.replace("\r", "") == form["sql"]
