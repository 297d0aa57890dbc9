"""What queries and notebooks leave behind: results on the page, and why they failed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bs4 import BeautifulSoup
from django.test import Client
from django.urls import reverse

from accounts.models import Membership
from accounts.permissions import OrganizationRole
from clusters.models import Cluster
from jobs import reading
from jobs.models import Run, RunAttempt
from jobs.spec import CodeType, Source, SourceType
from tests.factories import make_secret, make_user
from tests.fakes import FakeCloud, Workers
from tests.jobs.flow import started

INLINE: dict[str, Any] = {"code_type": CodeType.SQL, "source": Source(SourceType.SQL), "file": "", "arguments": []}


def ended(run: Run, cloud: FakeCloud, workers: Workers, code: int, **left: bytes | str) -> Run:
    """The run, whose process left these files behind."""
    for name, content in left.items():
        path = {"failure": ".failure", "part": "result/part-00000.parquet"}.get(name, f"{name}.json")
        cloud.processes[str(run.pk)].outputs.saved[path] = content if isinstance(content, bytes) else content.encode()
    cloud.finish(run.pk, code=code)
    workers.work(seconds=5)
    run.refresh_from_db()
    return run


def test_what_the_program_said_is_the_reason(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run = started(cluster, workers, code_type=CodeType.IPYNB, file="a.ipynb", arguments=[])
    ended(run, fake_cloud, workers, 1, failure="Cell 3 failed: ValueError: no\0thing")
    assert (run.status, run.get_reason_display()) == ("FAILED", "NonZeroExitCode")
    assert run.detail == "Cell 3 failed: ValueError: nothing"
    attempt = RunAttempt.objects.of(run).get()
    assert attempt.detail == run.detail
    assert reading.outputs(run.workspace, attempt) == [], "what is hidden is nobody's output"


def test_no_secret_is_in_the_reason(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    group = make_secret(cluster.workspace, {"PASSWORD": "hunter22"}).group
    run = started(cluster, workers, **INLINE, sql="select 1", secret_groups=[group])
    ended(run, fake_cloud, workers, 1, failure="No access with hunter22 there.")
    assert run.detail == "No access with ******** there."


@pytest.mark.parametrize(
    ("code_type", "code"), [(CodeType.SQL, 0), (CodeType.PYTHON, 1)], ids=["it succeeded", "a program of theirs"]
)
def test_it_counts_only_for_programs_of_ours_that_failed(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, code_type: CodeType, code: int
) -> None:
    job = INLINE if code_type == CodeType.SQL else {}
    run = ended(started(cluster, workers, **job), fake_cloud, workers, code, failure="Not so.")
    assert "Not so." not in run.detail


def test_the_result_comes_with_the_end_of_the_run(cluster: Cluster, fake_cloud: FakeCloud, workers: Workers) -> None:
    run = started(cluster, workers, **INLINE, sql="select 1")
    client, alice = Client(SERVER_NAME="127.0.0.1"), make_user("alice")
    Membership.objects.create(organization=cluster.workspace.organization, user=alice, role=OrganizationRole.OWNER)
    client.force_login(alice, "allauth.account.auth_backends.AuthenticationBackend")
    live = reverse("jobs:live", args=[cluster.workspace_id, run.pk])
    assert b"result-table" not in client.get(live).content
    schema = [{"name": "n", "type": "BIGINT"}, {"name": "s", "type": "VARCHAR"}]
    ended(
        run,
        fake_cloud,
        workers,
        0,
        result=json.dumps({"rows": 2000, "schema": schema}),
        preview=json.dumps({"columns": ["n", "s"], "rows": [[1, "<b>"], [2, None]]}),
        part=b"PAR1",
    )
    page = BeautifulSoup(client.get(live).content, "html.parser")
    table = page.select_one(".result-table")
    assert table
    assert [cell.get_text() for cell in table.select("td")] == ["1", "<b>", "2", "null"]
    assert "2,000 rows; the first 2 are shown" in page.get_text()
    assert page.select_one("a[href$='path=result/part-00000.parquet']")
