"""Settings as they are behind https: what Django's own checks ask for, and cookies that no other host can set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
HTTPS = {"SITE_URL": "https://portal.example.org"}

ASK = """
import django, json
django.setup()
from django.test import Client
site = {"HTTP_HOST": "portal.example.org"}
plain = Client().get("/accounts/login/", **site)
page = Client().get("/accounts/login/", **site, secure=True)
cookies = {name: {key: cookie[key] for key in cookie} for name, cookie in page.cookies.items()}
found = {"plain": plain.status_code, "to": plain["Location"], "headers": dict(page.headers), "cookies": cookies}
print(json.dumps(found))
"""


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_checks_for_deployment_find_nothing() -> None:
    checked = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **HTTPS)
    assert checked.returncode == 0, checked.stderr
    assert "no issues (0 silenced)" in checked.stdout + checked.stderr


def test_the_checks_would_find_something() -> None:
    checked = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", SITE_URL="http://portal.example.org")
    assert checked.returncode != 0
    assert "SESSION_COOKIE_SECURE" in checked.stderr


def test_cookies_and_headers_behind_https() -> None:
    asked = run("-c", ASK, **HTTPS)
    assert asked.returncode == 0, asked.stderr
    answer: dict[str, Any] = json.loads(asked.stdout)
    assert (answer["plain"], answer["to"]) == (301, "https://portal.example.org/accounts/login/")
    assert answer["headers"]["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert set(answer["cookies"]) == {"__Host-csrftoken"}
    cookie = answer["cookies"]["__Host-csrftoken"]
    assert (cookie["path"], cookie["domain"], cookie["samesite"]) == ("/", "", "Lax")
    assert cookie["secure"]
    assert cookie["httponly"]
    named = run("-c", "from portal import settings; print(settings.SESSION_COOKIE_NAME)", **HTTPS)
    assert named.stdout.strip() == "__Host-sessionid"
