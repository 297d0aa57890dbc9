"""A browser, and a portal for it.

Each pytest process has a stage of its own (starting one takes some seconds, sharing one between processes would take
locks). Playwright's event loop runs in the main thread, where Django then refuses its database, so it lives only as
long as tests of this package follow each other.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.stage import Stage, Tenant
from tests.browser.stage import stage as running_stage

TENANTS = 45
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",  # nothing but the stage
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]
TELL_VIOLATIONS = (
    "document.addEventListener('securitypolicyviolation', (event) => "
    "console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`))"
)

expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def program() -> str:
    """The browser on this machine."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        reason = f"no browser: none of {', '.join(PROGRAMS)} is installed (Debian: apt install chromium)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def stage(program: str) -> Iterator[Stage]:
    """A whole portal, furnished."""
    with running_stage(TENANTS) as stage:
        yield stage


@pytest.fixture(scope="package")
def browser(program: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """Opens pages and keeps what the browser complains about."""

    browser: Browser
    stage: Stage
    expected: list[str] = field(default_factory=list)
    """Parts of complaints that a test provokes."""
    complaints: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def page(self, session: str = "", **options: Any) -> Page:
        """A page in a new browser profile, signed in with a session."""
        usual = {"base_url": self.stage.address, "viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"}
        options = {**usual, **options}
        context = self.browser.new_context(locale="en-US", **options)
        self.contexts.append(context)
        if session:
            for address in (self.stage.address, self.stage.named):
                context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
        if options.get("java_script_enabled", True):
            context.add_init_script(TELL_VIOLATIONS)
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.complaints.append(f"error: {error.error}"))
        context.on("request", lambda request: self._asked(request.url))
        context.on("response", lambda response: self._answered(response.status, response.url))
        context.set_default_timeout(15_000)
        return context.new_page()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._note(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _asked(self, address: str) -> None:
        ours = (f"{self.stage.address}/", f"{self.stage.named}/")
        if not address.startswith((*ours, "data:", "about:", "blob:")):
            self._note(f"foreign address: {address}")

    def _answered(self, status: int, address: str) -> None:
        if status >= 500:
            self._note(f"{status} from {address}")

    def _note(self, complaint: str) -> None:
        if "status of 422" not in complaint:  # how a form says that it was filled in wrongly
            self.complaints.append(complaint)

    def unexpected(self) -> list[str]:
        return [complaint for complaint in self.complaints if not any(part in complaint for part in self.expected)]


@pytest.fixture
def watched(browser: Browser, stage: Stage) -> Iterator[Watched]:
    """Any complaint of the browser (script error, policy violation, foreign address, 5xx) fails the test."""
    watched = Watched(browser, stage)
    yield watched
    for context in watched.contexts:
        context.close()
    assert watched.unexpected() == []


@pytest.fixture
def tenant(stage: Stage) -> Tenant:
    """A tenant that no other test uses."""
    assert stage.tenants, "more tests than tenants: raise TENANTS"
    return stage.tenants.pop()


@pytest.fixture
def page(watched: Watched, tenant: Tenant) -> Page:
    """The tenant's owner, signed in."""
    return watched.page(tenant.session)


@pytest.fixture
def make_cluster(stage: Stage, tenant: Tenant) -> Iterator[Callable[..., str]]:
    """Asks for a cluster by the form, without a browser, and returns the path of its page; afterwards it is deleted."""
    made = []

    def make(name: str = "engine", instances: int = 1) -> str:
        form = {
            "name": name,
            "instance_type": "local.1x",
            "instances": str(instances),
            "release": "2026.10",
            "auto_pause_minutes": "60",
            "auto_stop_minutes": "0",
        }
        made.append(stage.post(tenant, f"/w/{tenant.workspace}/clusters/new/", form))
        return made[-1]

    yield make
    for path in made:
        stage.post(tenant, f"{path}delete/", {}, allow=(302, 409))
