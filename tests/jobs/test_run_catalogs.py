"""A catalog reaches the process, follows its changes, stays out of the logs, and is not deleted under a template."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.db import connection, transaction

from clusters.models import Cluster
from jobs import services
from jobs.environment import secret_values
from jobs.models import JobTemplate, RunAttempt
from jobs.services_templates import create_template, delete_template, update_template
from jobs.spec import JobSpec, Retry
from portal.errors import UserError
from tests.factories import actor, make_catalog, make_workspace
from tests.fakes import FakeCloud, Killed, Workers
from tests.jobs.flow import now_is, started, submit, survive
from tests.together import together
from workspaces.models import Catalog
from workspaces.services_catalogs import delete_catalog, update_catalog

KEYS = {"access_key_id": "AKIA-canary", "secret_access_key": 'canary "quoted" key'}
GLUE = {"kind": "GLUE", "settings": {"region": "us-east-1", "warehouse": "s3://lake/tables"}}


@pytest.fixture
def catalog(cluster: Cluster) -> Catalog:
    return make_catalog(cluster.workspace, KEYS, name="lake", **GLUE)


def given_to(fake_cloud: FakeCloud, process_id: str) -> Any:
    return json.loads(fake_cloud.processes[process_id].process.environment["PORTAL_CATALOG"])


def template_with(cluster: Cluster, catalog: Catalog | None, name: str = "nightly") -> JobTemplate:
    spec = JobSpec(file="job.py", catalog=catalog)
    return create_template(actor=actor(), workspace=cluster.workspace, name=name, spec=spec, place=cluster)


def test_the_process_gets_it_and_the_log_hides_its_keys(
    cluster: Cluster, catalog: Catalog, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers, catalog=catalog, environment={"STAGE": "test"})
    assert fake_cloud.processes[str(run.pk)].process.environment["STAGE"] == "test"
    given = given_to(fake_cloud, str(run.pk))
    assert given == {"name": "lake", "kind": "GLUE", "settings": GLUE["settings"], "secret": KEYS}
    attempt = RunAttempt.objects.get(run=run)
    assert {*KEYS.values(), json.dumps(given)} <= set(secret_values(attempt))
    assert "canary" not in json.dumps([run.handle, attempt.handle, attempt.secrets])


def test_without_keys_nothing_of_it_is_hidden(cluster: Cluster, workers: Workers) -> None:
    run = started(cluster, workers, catalog=make_catalog(cluster.workspace))
    assert set(secret_values(RunAttempt.objects.get(run=run))) == {""}


def test_an_attempt_gets_what_it_is_when_it_starts(
    cluster: Cluster, catalog: Catalog, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = started(cluster, workers, catalog=catalog, retry=Retry(count=1, delay_minutes=0))
    other = {**KEYS, "secret_access_key": "another"}
    update_catalog(actor=actor(), catalog=catalog, name="ocean", settings=catalog.settings, secret=other)
    fake_cloud.finish(run.pk, code=1)
    workers.work(seconds=5)
    given = given_to(fake_cloud, f"{run.pk}-2")
    assert (given["name"], given["secret"]) == ("ocean", other)
    assert [KEYS["secret_access_key"] in secret_values(each) for each in RunAttempt.objects.of(run)] == [False, True]
    run.refresh_from_db()
    assert run.catalog_name == "lake"  # as it was called when somebody chose it


def test_what_was_deleted_while_the_run_waited_ends_it_with_its_name(
    cluster: Cluster, catalog: Catalog, fake_cloud: FakeCloud, workers: Workers
) -> None:
    run = submit(cluster, catalog=catalog)
    delete_catalog(actor=actor(), catalog=catalog)
    workers.work(seconds=60)
    assert now_is(run) == ("FAILED", "It could not be started")
    assert (run.failure_code, run.failure_message) == ("CatalogGone", "The catalog lake was deleted.")
    assert fake_cloud.processes == {}
    assert run.spec().catalog is None


def test_a_process_that_a_dead_worker_started_keeps_what_it_was_given(
    cluster: Cluster, catalog: Catalog, fake_cloud: FakeCloud, workers: Workers
) -> None:
    fake_cloud.fault(Killed, "start", after=True)
    run = submit(cluster, catalog=catalog)
    with pytest.raises(Killed):
        workers.work(seconds=1)
    delete_catalog(actor=actor(), catalog=catalog)
    survive(workers, seconds=60)
    assert now_is(run) == ("RUNNING", "")
    assert set(KEYS.values()) <= set(secret_values(RunAttempt.objects.get(run=run)))


def test_what_cannot_be_read_any_more_ends_the_run_with_what_to_do(
    cluster: Cluster, catalog: Catalog, workers: Workers
) -> None:
    run = submit(cluster, catalog=catalog)
    Catalog.objects.update(sealed=Fernet(Fernet.generate_key()).encrypt(b"{}").decode())
    workers.work(seconds=60)
    assert now_is(run) == ("FAILED", "It could not be started")
    assert run.failure_code == "CatalogUnreadable"
    assert "enter it again" in run.failure_hint


def test_one_that_templates_use_is_not_deleted(cluster: Cluster, catalog: Catalog) -> None:
    first, second = template_with(cluster, catalog, "nightly"), template_with(cluster, catalog, "weekly")
    template_with(cluster, make_catalog(cluster.workspace), "other")
    with pytest.raises(UserError, match="lake is used by template nightly, template weekly"):
        delete_catalog(actor=actor(), catalog=catalog)
    delete_template(actor=actor(), template=first)
    spec = second.spec()
    assert spec.catalog == catalog
    update_template(
        actor=actor(), template=second, name="weekly", spec=spec.changed(catalog=None), place=cluster, description=""
    )
    delete_catalog(actor=actor(), catalog=catalog)
    first.refresh_from_db()
    assert first.catalog is None


@pytest.mark.django_db(transaction=True)
def test_nobody_deletes_it_while_a_template_is_being_saved(cluster: Cluster, catalog: Catalog) -> None:
    def delete() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '300ms'")
            delete_catalog(actor=actor(), catalog=catalog)

    with transaction.atomic():
        template_with(cluster, catalog)
        [refused] = together(delete)
    assert "lock timeout" in str(refused)
    assert JobTemplate.objects.get().catalog == catalog


def test_one_of_another_workspace_is_refused(cluster: Cluster) -> None:
    foreign = make_catalog(make_workspace(cluster.workspace.organization))
    with pytest.raises(UserError, match="is gone"):
        template_with(cluster, foreign)
    with pytest.raises(UserError, match="is gone"):
        submit(cluster, catalog=foreign)
    kept = template_with(cluster, None)
    JobTemplate.objects.update(catalog=foreign)  # whatever the row says, a run looks in its own workspace only
    assert services.submit_template(actor=actor(), template=kept).catalog_id is None
