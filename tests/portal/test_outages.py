"""The database or the queue goes away below a portal that runs."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import django_rq
import pytest
from redis.exceptions import ConnectionError as NoAnswerError

from clusters.models import Cluster
from clusters.services import create_cluster
from portal import queue
from portal import reconcile as engine
from tests.factories import actor, make_organization, make_workspace

SCRIPT = """
import django, time
from portal import embedded

home = embedded.Home.from_environment()
postgres = embedded.start_postgres(home, durable=False)
try:
    from django.conf import settings
    settings.DATABASES["default"]["OPTIONS"]["pool"]["timeout"] = 3
    django.setup()
    from django.db import connection, connections
    from django.http import HttpResponse
    from django.test import Client
    from django.test.utils import override_settings
    from django.urls import include, path

    def view(request):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            return HttpResponse(str(cursor.fetchone()[0]))

    class Urls:
        urlpatterns = [path("", include("portal.urls")), path("ask/", view)]

    def get():
        try:
            return Client(raise_request_exception=False).get("/ask/", headers={"host": "localhost"})
        finally:
            connections.close_all()  # what the end of a request does: back into the pool

    with override_settings(ROOT_URLCONF=Urls):
        assert get().status_code == 200
        postgres.process.kill()
        postgres.process.wait()
        postgres = embedded.start_postgres(home, durable=False)
        answer = get()
        assert answer.status_code == 200, answer.content
        print("restarted: 200")
        postgres.stop()
        answer = get()
        assert answer.status_code == 503, answer.status_code
        assert b"DatabaseUnavailable" in answer.content
        print("down: 503")
        postgres = embedded.start_postgres(home, durable=False)
        deadline = time.monotonic() + 20
        while get().status_code != 200:
            assert time.monotonic() < deadline
        print("up: 200")
    connection.close_pool()
finally:
    postgres.stop()
"""


def test_a_restart_of_the_database_costs_no_request_and_an_outage_says_so(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PORTAL_HOME": str(tmp_path / "var"),
        "DJANGO_SETTINGS_MODULE": "portal.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={name: value for name, value in environment.items() if name not in {"DATABASE_URL", "REDIS_URL"}},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["restarted: 200", "down: 503", "up: 200"]


def test_without_a_queue_a_request_commits_and_the_sweep_sends_later(
    db: None, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    workspace = make_workspace(make_organization())
    with monkeypatch.context() as patch:
        patch.setattr("portal.queue.rq_queue", _no_answer)
        patch.setattr("portal.queue.connection", _no_answer)
        with django_capture_on_commit_callbacks(execute=True):
            cluster = create_cluster(
                actor=actor(), workspace=workspace, name="c", instance_type="t", instances=1, release="r"
            )
    sent: list[str] = []
    monkeypatch.setattr(queue, "send", lambda name, pk: sent.append(str(pk)))
    assert Cluster.objects.filter(pk=cluster.pk, due_at__isnull=False).exists()
    assert engine.sweep() == 1
    assert sent == [str(cluster.pk)]


def _no_answer(*_: object) -> object:
    raise NoAnswerError("Connection refused")


def test_a_job_in_the_queue_is_a_name_and_an_id(db: None, django_capture_on_commit_callbacks: Any) -> None:
    pk = str(uuid.uuid4())
    with django_capture_on_commit_callbacks(execute=True):
        queue.enqueue("cluster", pk)
    (job,) = [job for job in django_rq.get_queue("default").jobs if pk in job.args]
    assert (job.func_name, list(job.args), job.kwargs) == ("portal.tasks.reconcile", ["cluster", pk], {})
    job.delete()
