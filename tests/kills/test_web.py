"""The web process is killed at every statement of a request: what was asked for is there whole or not at all, and
nobody has to ask for it again so that it goes on."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client

from accounts.models import AuditEvent
from accounts.permissions import OrganizationRole
from jobs.models import Run
from tests.clouds.local_world import wait_for
from tests.factories import add_to_organization, make_user
from tests.kills.dying import every_death, killed_at
from tests.kills.ground import Ground, check_end


@pytest.fixture
def browser(ground: Ground) -> Client:
    """Signed in as an owner."""
    user = make_user()
    add_to_organization(ground.workspace.organization, user, OrganizationRole.OWNER)
    client = Client()
    client.force_login(user, settings.AUTHENTICATION_BACKENDS[0])
    return client


def post(browser: Client, path: str, form: dict[str, str]) -> None:
    assert browser.post(path, form).status_code == 302


def test_a_submission(ground: Ground, browser: Client) -> None:
    cluster = ground.new_cluster()
    form = {"cluster": str(cluster.pk), "file": "program.py", "mode": "spawn", "timeout_minutes": "5"}
    made = set()

    def one(n: int) -> str:
        path, values = f"/w/{ground.workspace.pk}/jobs/new/", {**form, "name": f"r{n}"}
        effect = killed_at(n, lambda: post(browser, path, values), inside=True)
        runs = list(Run.objects.filter(name=f"r{n}"))
        made.add(len(runs))
        assert AuditEvent.objects.filter(verb="run.submit", object_label=f"r{n}").count() == len(runs)
        for run in runs:
            check_end(ground, ground.end(run), "SUCCEEDED")
        return effect

    assert "COMMIT" in list(every_death(one))
    assert made == {0, 1}


def test_a_cancellation(ground: Ground, browser: Client) -> None:
    cluster = ground.new_cluster()
    asked = set()

    def one(n: int) -> str:
        run = ground.submit(cluster, "wait")
        ground.work(run)
        wait_for(lambda: ground.executions(run.process_id))
        path = f"/w/{ground.workspace.pk}/jobs/{run.pk}/cancel/"
        effect = killed_at(n, lambda: post(browser, path, {}), inside=True)
        run.refresh_from_db()
        asked.add(run.target)
        assert AuditEvent.objects.filter(verb="run.cancel", object_id=str(run.pk)).count() == (
            run.target == "CANCELLED"
        )
        if run.target != "CANCELLED":
            post(browser, path, {})
        check_end(ground, ground.end(run), "CANCELLED")
        return effect

    assert "COMMIT" in list(every_death(one))
    assert asked == {"FINISHED", "CANCELLED"}
