"""Which marketplace there is: the sandbox only where nobody else comes, and nothing half configured."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from django.core.checks import run_checks
from pytest_django import Settings

SHARED = {"DATABASE_URL": "postgresql://nowhere/portal", "SECRET_KEY": "k", "PORTAL_FERNET_KEYS": "k"}
HTTPS = {"SITE_URL": "https://portal.example.org"}


def with_environment(**environment: str) -> subprocess.CompletedProcess[str]:
    program = "from django.conf import settings; print(settings.PORTAL_MARKETPLACE)"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "sandbox"),
        (SHARED, "off"),
        (HTTPS, "off"),
        ({**SHARED, "PORTAL_MARKETPLACE": "sandbox"}, "sandbox"),
        ({"PORTAL_MARKETPLACE": "aws", "PORTAL_MARKETPLACE_PRODUCT_CODES": "a, b"}, "aws"),
    ],
    ids=["embedded", "shared database", "https", "as the operator says", "aws"],
)
def test_the_default_depends_on_who_can_come(environment: dict[str, str], mode: str) -> None:
    assert with_environment(**environment).stdout.strip() == mode


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"PORTAL_MARKETPLACE": "on"}, "it can be off, aws or sandbox"),
        ({"PORTAL_MARKETPLACE": "aws"}, "set PORTAL_MARKETPLACE_PRODUCT_CODES"),
    ],
)
def test_what_cannot_work_is_refused_at_once(environment: dict[str, str], sentence: str) -> None:
    run = with_environment(**environment)
    assert run.returncode != 0
    assert sentence in run.stderr


@pytest.mark.parametrize(("mode", "warned"), [("sandbox", True), ("aws", False), ("off", False)])
def test_the_check_before_deployment_warns_of_the_sandbox(settings: Settings, mode: str, warned: bool) -> None:
    settings.PORTAL_MARKETPLACE = mode
    found = [message.id for message in run_checks(tags=["security"], include_deployment_checks=True)]
    assert ("accounts.W001" in found) == warned
