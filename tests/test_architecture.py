"""The shape of the code: which way imports point, how views and services look, what a template may hold."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from accounts.permissions import Perm
from tests.pages.routes import ROUTES, our_patterns

ROOT = Path(__file__).parent.parent
LAYERS = ("accounts", "workspaces", "clusters", "jobs", "notebooks", "billing")
"""Lowest first: each may import those before it, portal.clouds, and the rest of portal."""

ENTRY_POINTS = {"portal/urls.py"}
"""The parts of portal that put the apps together."""

LAUNCHERS = ("portal/demo/", "portal/management/")


def modules_of(package: str) -> Iterator[Path]:
    for path in sorted((ROOT / package).rglob("*.py")):
        if "migrations" not in path.parts and "__pycache__" not in path.parts:
            yield path


def imports_of(path: Path) -> Iterator[str]:
    """All modules that a file imports, also inside functions."""
    package = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("app", LAYERS)
def test_apps_import_downward_only(app: str) -> None:
    above = LAYERS[LAYERS.index(app) + 1 :]
    upward = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_of(app)
        for name in imports_of(path)
        if name.split(".")[0] in above
    }
    assert upward == set()


def test_portal_imports_no_app() -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_of("portal")
        for name in imports_of(path)
        if name.split(".")[0] in LAYERS
        and str(path.relative_to(ROOT)) not in ENTRY_POINTS
        and not str(path.relative_to(ROOT)).startswith(LAUNCHERS)
    }
    assert found == set()


def test_clouds_know_neither_django_nor_the_portal() -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules_of("portal/clouds")
        for name in imports_of(path)
        if name.split(".")[0] in {"django", "rq", "redis", *LAYERS}
        or (name.startswith("portal.") and not name.startswith("portal.clouds"))
    }
    assert found == set()


def test_the_check_sees_an_upward_import(tmp_path: Path) -> None:
    """``imports_of`` itself: in functions, of names and of modules."""
    path = ROOT / "accounts" / "imagined.py"
    source = "def f():\n    from jobs import models\n    import billing.usage\n    from . import forms\n"
    tree = tmp_path / "x.py"
    tree.write_text(source)

    class Imagined(type(path)):  # type: ignore[misc]
        def read_text(self, *_: object, **__: object) -> str:
            return source

    assert set(imports_of(Imagined(path))) == {"jobs", "jobs.models", "billing.usage", "accounts", "accounts.forms"}


@pytest.mark.parametrize("name", ROUTES)
def test_each_view_says_who_may_see_it(name: str) -> None:
    view = dict(our_patterns())[name].callback
    required = getattr(view, "required_permission", None)
    assert isinstance(required, Perm) or required in {"public", "signed_in"}, f"{name} has no required_permission"


# --- services -------------------------------------------------------------------------------------------------------

NO_ACTOR = {
    "accounts.services_signup.sign_up": "whoever signs up is the actor",
    "accounts.services_signup.send_again": "only sends mail",
    "accounts.services_signup.activate": "whoever opens the link is the actor",
    "accounts.services_signup.sweep": "acts as the system",
    "accounts.services_marketplace.linked_already": "words",
    "accounts.services_marketplace.used": "reads",
    "accounts.services_marketplace.sweep": "forgets tokens that are of no use",
    "accounts.services_subscriptions.sweep": "acts as the system, through the others",
    "accounts.services_subscriptions.settle_organization": "follows from the subscription, whose write is audited",
    "accounts.services_impersonation.why_not": "reads",
    "accounts.services_impersonation.closed": "reads",
    "accounts.services_impersonation.end_expired": "acts as the system, through end_impersonation()",
    "accounts.services_lockout.sweep": "acts as the system, through lock_user() and warn_user()",
    "accounts.services_invitations.member_at": "reads",
    "accounts.services_invitations.may_send": "reads",
    "accounts.services_joining.standing_invitation": "reads",
    "accounts.services_joining.sign_up_invited": "the person who signs up is the actor",
    "accounts.services_joining.for_another": "reads",
    "accounts.services_joining.account_exists": "reads",
    "accounts.services_joining.sso_demanded": "reads",
    "accounts.services_organizations.in_the_way": "reads",
    "accounts.services_sso.admit": "whoever comes in is the actor",
    "workspaces.services_configurations.local_directory": "reads",
    "workspaces.services_configurations.validate_local": "reads",
    "workspaces.services_networks.validate_network": "reads",
    "workspaces.services.clusters_in": "reads",
    "workspaces.services.nudge": "wakes; the caller wrote",
    "workspaces.services_roles.nudge": "wakes; the caller wrote",
    "clusters.services.refusal_of": "reads",
    "clusters.services.can_scale": "reads",
    "clusters.services.claim": "the engine's own: the run that claims was audited",
    "clusters.services.release": "the engine's own",
    "clusters.services.used": "the run that is submitted was audited",
    "clusters.services_idle.pause_idle": "acts as the system, through act()",
    "clusters.services_idle.warn_idle": "acts as the system",
    "clusters.services_idle.refuse_snooze": "reads",
    "clusters.services.nudge": "wakes; the caller wrote",
    "jobs.services.wake_queue": "wakes",
    "jobs.services.wake_next": "wakes",
    "jobs.services.nudge": "wakes; the caller wrote",
    "notebooks.services.nudge": "wakes; the caller wrote",
    "notebooks.services_entry.hash_of": "computes",
    "notebooks.services_entry.redeem": "follows from the ticket, whose making was audited",
}


def services() -> Iterator[tuple[str, ModuleType, str]]:
    for app in LAYERS:
        for path in sorted((ROOT / app).glob("services*.py")):
            module = importlib.import_module(f"{app}.{path.stem}")
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    yield f"{app}.{path.stem}.{node.name}", module, node.name


def test_services_take_keywords_only_and_an_actor() -> None:
    wrong = []
    for name, module, function in services():
        parameters = inspect.signature(getattr(module, function)).parameters
        keyword = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
        only_keywords = all(parameter.kind in keyword for parameter in parameters.values())
        if name not in NO_ACTOR and not (only_keywords and "actor" in parameters):
            wrong.append(name)
    assert wrong == []


def test_services_that_take_an_actor_have_a_test_of_their_audit_event() -> None:
    from tests.pages.test_audit import WRITES

    assert {name for name, *_ in services() if name not in NO_ACTOR} == set(WRITES)


# --- templates ------------------------------------------------------------------------------------------------------

INLINE = re.compile(
    r"""<script(?![^>]*(?:\ssrc=|\stype="application/json"))|<style|\sstyle\s*=|\son[a-z]+\s*=|javascript:|<iframe|<object|hx-on[:-]""",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", sorted((ROOT / "templates").rglob("*.html")), ids=lambda path: path.name)
def test_templates_hold_no_inline_script_or_style(path: Path) -> None:
    assert INLINE.findall(path.read_text()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "templates").rglob("*.html")), ids=lambda path: path.name)
def test_templates_trust_nothing_that_people_wrote(path: Path) -> None:
    """``safe`` is for help texts, which are ours."""
    trusted = set(re.findall(r"{{\s*([^}|]+)[^}]*\|\s*(?:safe|safeseq)\b", path.read_text()))
    assert trusted <= {"field.help_text"}
    assert "autoescape off" not in path.read_text()


@pytest.mark.parametrize(
    "text",
    ['<p style="x">', "<script>", '<script type="module">', '<a onclick="x">', '<a href="javascript:x">', "<style>"],
)
def test_the_pattern_finds_what_it_should(text: str) -> None:
    assert INLINE.search(text)
    assert not INLINE.search('<script src="/static/x.js" defer></script><p class="styled" data-on="x">')
    assert not INLINE.search('<script id="data" type="application/json">{"no": "browser runs this"}</script>')


def test_a_misconfigured_shared_database_is_refused_at_once() -> None:
    """Keys made on this machine alone would seal what no other machine can read."""
    environment = {**os.environ, "DATABASE_URL": "postgresql://nowhere/portal"}
    program = "import django; django.setup()"
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "set SECRET_KEY and PORTAL_FERNET_KEYS" in run.stderr
