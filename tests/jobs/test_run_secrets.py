"""Secrets of groups reach the process, follow their changes, and stay out of what people read."""

from __future__ import annotations

from typing import Any

import pytest

from clusters.models import Cluster
from jobs import reading
from jobs.models import RunAttempt
from jobs.services_templates import create_template, delete_template
from jobs.spec import JobSpec, Retry
from portal.clouds.base import LogChunk, LogStream
from portal.errors import UserError
from tests.factories import actor, make_secret
from tests.fakes import FakeCloud, Workers
from tests.jobs.flow import now_is, started, submit
from workspaces.services_secrets import delete_group, update_secret


def test_the_process_gets_them_and_its_own_variables_win(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    first = make_secret(cluster.workspace, {"USER": "first", "HOST": "db", "PORT": "1"})
    second = make_secret(cluster.workspace, {"USER": "second", "PASSWORD": "hunter22"})
    groups = [first.group, second.group]
    run = started(cluster, workers, secret_groups=groups, environment={"PORT": "2"})
    given = fake_cloud.processes[str(run.pk)].process.environment
    assert given == {"USER": "second", "HOST": "db", "PORT": "2", "PASSWORD": "hunter22"}


def test_an_attempt_gets_what_they_are_when_it_starts(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers
) -> None:
    secret = make_secret(cluster.workspace, {"PASSWORD": "old-password"})
    run = started(cluster, workers, secret_groups=[secret.group], retry=Retry(count=1, delay_minutes=0))
    update_secret(actor=actor(), secret=secret, name=secret.name, values={"PASSWORD": "new-password"})
    fake_cloud.finish(run.pk, code=1)
    workers.work(seconds=5)
    assert fake_cloud.processes[f"{run.pk}-2"].process.environment == {"PASSWORD": "new-password"}


def test_a_group_that_is_gone_ends_the_run_with_its_name(cluster: Cluster, workers: Workers) -> None:
    group = make_secret(cluster.workspace).group
    run = submit(cluster, secret_groups=[group])
    delete_group(actor=actor(), group=group)
    workers.work(seconds=60)
    assert now_is(run) == ("FAILED", "It could not be started")
    assert group.name in run.failure_message


def test_a_group_that_a_template_uses_is_not_deleted(cluster: Cluster) -> None:
    group = make_secret(cluster.workspace).group
    spec = JobSpec(file="job.py", secret_groups=[group])
    template = create_template(actor=actor(), workspace=cluster.workspace, name="nightly", spec=spec)
    assert template.spec().secret_groups == [group]
    with pytest.raises(UserError, match="template nightly"):
        delete_group(actor=actor(), group=group)
    delete_template(actor=actor(), template=template)
    delete_group(actor=actor(), group=group)


def test_logs_hide_them_also_after_they_were_changed(
    cluster: Cluster, fake_cloud: FakeCloud, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = make_secret(cluster.workspace, {"PASSWORD": "old-password"})
    run = started(cluster, workers, secret_groups=[secret.group], environment={"TOKEN": "own-token"})
    update_secret(actor=actor(), secret=secret, name=secret.name, values={"PASSWORD": "new-password"})
    text = b"login with old-password and own-token\n"

    def logs(handle: Any, ref: Any, stream: Any, offset: int, limit: int) -> LogChunk:
        begin = max(0, len(text) + offset) if offset < 0 else min(offset, len(text))
        data = text[begin : begin + limit]
        return LogChunk(data, begin, begin + len(data), len(text))

    monkeypatch.setattr(fake_cloud, "logs", logs)
    attempt = RunAttempt.objects.get(run=run)
    for offset in (0, -30):
        shown = reading.Log(cluster.workspace, run, attempt, LogStream.STDOUT).read(offset, 1000).data
        assert b"password" not in shown
        assert b"own-token" not in shown
    assert "old-password" not in attempt.secrets
