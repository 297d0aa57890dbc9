"""Every test run has its own PostgreSQL and Valkey, started here, whatever is installed or set on the machine.

Settings read PORTAL_HOME when they load, so it is set while this file is imported. DJANGO_SETTINGS_MODULE is therefore
not in pyproject.toml: pytest-django would load the settings before any conftest.

`pytest -p no:django tests/clouds` starts neither Django nor servers.
"""

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_django import DjangoDbBlocker

    from tests.fakes import Clock, FakeCloud, Workers

_RUNNING = pytest.StashKey[ExitStack]()
_IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ  # its controller has set everything

# A developer's own configuration must not change what is tested.
_FOREIGN = (
    *("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "SITE_URL", "ALLOWED_HOSTS", "CSRF_", "SECURE_", "BEHIND_TLS_PROXY"),
    *("FORWARDED_ALLOW_IPS", "LOG_LEVEL", "PORTAL_", "EMAIL_", "PG", "AWS_", "AZURE_", "DJANGO_SETTINGS_MODULE"),
)

if not _IS_WORKER:
    for name in list(os.environ):
        if name.startswith(_FOREIGN):
            del os.environ[name]
    os.environ["PORTAL_HOME"] = tempfile.mkdtemp(prefix="portal-tests-")
    atexit.register(shutil.rmtree, os.environ["PORTAL_HOME"], ignore_errors=True)
    if "no:django" not in sys.argv:
        os.environ["DJANGO_SETTINGS_MODULE"] = "portal.settings"

if "DJANGO_SETTINGS_MODULE" in os.environ:
    import django

    django.setup()  # now, because a conftest below this one may import models

    from django.conf import settings

    # The real one takes a second on a busy machine, on purpose; users are made by the hundred here.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

    # Tests that commit leave empty tables to those after them, also that of the rates, and nothing unpriced starts.
    settings.PORTAL_DEFAULT_HOURLY = Decimal("0.1")

    # Entering a workspace would have JupyterLab installed; the tests of that switch it on.
    settings.PORTAL_NOTEBOOK_AT_ENTRY = False

    # Each test process counts tries in a database of its own: another one clears its cache in the middle of a test.
    _number = 1 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 15
    settings.CACHES["default"]["LOCATION"] = settings.REDIS_URL.replace("?db=0", f"?db={_number}")


def pytest_configure(config: pytest.Config) -> None:
    if _IS_WORKER:
        return
    home = Path(os.environ["PORTAL_HOME"])
    with ExitStack() as running:
        looks_only = config.option.collectonly or config.option.help
        if "DJANGO_SETTINGS_MODULE" in os.environ and not looks_only:
            from portal import embedded

            running.enter_context(embedded.services(embedded.Home(home), durable=False))
        config.stash[_RUNNING] = running.pop_all()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _RUNNING in config.stash:
        config.stash[_RUNNING].close()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: "DjangoDbBlocker") -> None:
    """Tests that commit leave rows, and pytest-django empties all tables after them. So in the database of the tests,
    and in no other, the audit log and statements may be emptied; ``accounts/test_audit_append_only`` and
    ``billing/test_statements`` test those triggers."""
    from tests.audit_guards import NOT_EMPTIED, STATEMENTS_NOT_EMPTIED, switch

    with django_db_blocker.unblock():
        switch(NOT_EMPTIED, on=False)
        switch(STATEMENTS_NOT_EMPTIED, on=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    """``timezone.now`` stands still, a minute ahead of what defaults of fields see."""
    from tests.fakes import Clock

    clock = Clock()
    clock.move(minutes=1)
    monkeypatch.setattr("django.utils.timezone.now", clock)
    return clock


@pytest.fixture
def fake_cloud(monkeypatch: pytest.MonkeyPatch) -> "FakeCloud":
    """One cloud in memory behind every configuration."""
    from tests.fakes import FakeCloud

    cloud = FakeCloud()
    monkeypatch.setattr("workspaces.clouds._local", lambda *_: cloud)
    return cloud


@pytest.fixture
def workers(
    db: None, clock: "Clock", monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> "Workers":
    """The scheduler and the workers, when the test says so."""
    from tests.fakes import Workers

    workers = Workers(clock, django_capture_on_commit_callbacks)
    monkeypatch.setattr("portal.queue.send", workers.send)
    return workers
