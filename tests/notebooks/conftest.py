"""Fixtures: a real JupyterLab behind a real portal (see ``stand``). Rows are committed, since another process reads
them, and removed again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from pytest_django import DjangoDbBlocker

from accounts.audit import person
from notebooks import services
from portal import crypto
from portal.clouds.base import Target
from tests.audit_guards import APPEND_ONLY, STATEMENTS_FROZEN, switched_off
from tests.clouds.bodo import KEPT
from tests.clouds.local_world import processes_of, wait_for
from tests.notebooks.stand import Stand, Visitor, make_stand, new_fernet_key, settle
from tests.pages.test_server import _remove_new_rows
from tests.pages.world import Tenants, make_tenants


@pytest.fixture(scope="session")
def notebook_image() -> None:
    """Installed once per machine; whoever comes second waits in ``settle``."""
    settings.PORTAL_MACHINE_ROOT = KEPT
    KEPT.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="module")
def tenants_of_stand(
    tmp_path_factory: pytest.TempPathFactory, django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[Tenants]:
    directory = tmp_path_factory.mktemp("notebooks")
    with django_db_blocker.unblock():
        tables = connection.introspection.table_names()
        stored = [model for model in apps.get_models() if model._meta.db_table in tables]
        before = {model: set(model._default_manager.values_list("pk", flat=True)) for model in stored}
        tenants = make_tenants(directory)
        yield tenants
        with switched_off(APPEND_ONLY, *STATEMENTS_FROZEN):
            _remove_new_rows(before)
        connection.close()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def stand(notebook_image: None, tenants_of_stand: Tenants, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """The developer's server in Lab, running, behind a web process."""
    os.environ["PORTAL_FERNET_KEYS"] = new_fernet_key()
    crypto._fernet.cache_clear()
    lab, developer = tenants_of_stand.lab, tenants_of_stand.people["developer"]
    # The world's files are named by the workspace's name; the cloud names them by its id.
    root = lab.files.parents[1]
    (root / "workspaces").mkdir(exist_ok=True)
    shutil.move(lab.files.parent, root / "workspaces" / str(lab.workspace.pk))
    lab.files = root / "workspaces" / str(lab.workspace.pk) / "bodofs"
    lab.workspace.handle = {"steps": {"filesystem": {"id": f"workspaces/{lab.workspace.pk}"}}}
    lab.workspace.save(update_fields=["handle"])
    server = services.provide(actor=person(developer, None), workspace=lab.workspace)
    server = settle(server)
    assert server.status == "RUNNING", server.failure_message
    stand = make_stand(tmp_path_factory.mktemp("web"), server, lab.files)
    stand.start_web()
    try:
        yield stand
    finally:
        stand.stop_web()
        server.refresh_from_db()
        if server.target != Target.TERMINATED:
            services.end(actor=person(developer, None), server=server, reason="the test is over")
        settle(server)
        assert server.status == "TERMINATED"
        wait_for(lambda: not processes_of(root))
        os.environ.pop("PORTAL_FERNET_KEYS")
        crypto._fernet.cache_clear()


@pytest.fixture(scope="module")
def visitor(stand: Stand, tenants_of_stand: Tenants) -> Visitor:
    """The owner, who has come in. Outside of a test's transaction: the web process must see the sign-in."""
    return stand.enter(tenants_of_stand.people["developer"])
