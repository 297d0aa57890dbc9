"""From a configuration to its cloud."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import call_command
from pytest_django import Settings

from portal.clouds.aws.template import template
from workspaces.clouds import local_cloud


def test_jobs_see_neither_the_portal_nor_other_configurations(settings: Settings, tmp_path: Path) -> None:
    """The roots of LOCAL configurations may stand below a directory that jobs can read, such as /opt."""
    settings.PORTAL_LOCAL_ROOTS = [Path("/opt/clouds")]
    hidden = local_cloud(str(tmp_path)).hidden
    assert {"/opt/clouds", str(settings.PORTAL_HOME), str(settings.BASE_DIR), str(tmp_path)} <= set(hidden)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("PORTAL_AWS_ACCOUNT", "12345"),
        ("PORTAL_AWS_ACCOUNT", "12345678901x"),
        ("PORTAL_AWS_ENDPOINT", "localhost:5000"),
        ("PORTAL_AWS_ENDPOINT", "http://key:secret@localhost"),
        ("PORTAL_AWS_TEMPLATE_URL", "https://portal.example.org/template.json"),
        ("PORTAL_AWS_TEMPLATE_URL", "http://bucket.s3.amazonaws.com/template.json"),
    ],
)
def test_a_wrong_setting_is_refused_at_once(name: str, wrong: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import portal.settings"],
        env={**os.environ, name: wrong},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert name in run.stderr


def test_aws_is_offered_where_something_stands_for_it() -> None:
    program = "from portal import settings as s; print(s.PORTAL_AWS, s.PORTAL_AWS_ENDPOINT)"

    def read(**environment: str) -> str:
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout.strip()

    assert read() == "False"
    assert read(PORTAL_AWS="on") == "True"
    assert read(PORTAL_AWS_ENDPOINT="http://127.0.0.1:5000/") == "True http://127.0.0.1:5000"
    assert read(PORTAL_AWS_ENDPOINT="http://127.0.0.1:5000", PORTAL_AWS="off").startswith("False")


def test_the_template_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("aws_template")
    assert capsys.readouterr().out == template()
