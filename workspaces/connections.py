"""Tests of catalogs: named checks, within seconds, whatever the other side does."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict

from django.conf import settings as portal
from django.db import connection

from portal.clouds.base import Check, CloudError
from portal.errors import UserError
from portal.masking import Masker
from workspaces.clouds import cloud_of
from workspaces.models import CatalogKind, Workspace
from workspaces.probes.findings import Question
from workspaces.tables import tables_below

logger = logging.getLogger(__name__)

SECONDS = 15.0
AT_ONCE = 4
"""How many tests a web process makes at a time; each holds one of its threads."""

SHOWN_TABLES = 20
COMMAND = [sys.executable, "-m", "workspaces.probes"]

_places = threading.BoundedSemaphore(AT_ONCE)


def checks_of(workspace: Workspace, kind: str, settings: Mapping[str, str], secret: Mapping[str, str]) -> list[Check]:
    """Try a catalog, saved or not. Raises UserError(TooManyTests). Outside of transactions: it can take 15 seconds."""
    if kind == CatalogKind.FILESYSTEM:
        return _look_into(workspace, settings.get("directory", ""))
    if not _places.acquire(blocking=False):
        raise UserError("TooManyTests", f"{AT_ONCE} connections are being tested.", "Try again in a few seconds.")
    try:
        if not connection.in_atomic_block:
            connection.close()  # or this thread would keep one of the few that there are all the while
        return _ask(
            Question(kind, dict(settings), dict(secret), SECONDS, portal.PORTAL_PRIVATE_ADDRESSES, _endpoint(kind))
        )
    finally:
        _places.release()


def _endpoint(kind: str) -> str:
    return portal.CATALOG_ENDPOINTS.get(kind, "")


def _ask(question: Question) -> list[Check]:
    try:
        ended = subprocess.run(
            COMMAND,
            input=json.dumps(asdict(question)).encode(),
            capture_output=True,
            timeout=question.seconds,
            cwd=portal.BASE_DIR,
            env=_environment(),
            check=True,
        )
        return [Check(**check) for check in json.loads(ended.stdout)]
    except subprocess.TimeoutExpired:
        detail = f"There was no answer within {question.seconds:.0f} seconds."
        return [
            Check("Connection", False, detail, "Check the settings and a firewall, if there is one; then try again.")
        ]
    except (subprocess.CalledProcessError, ValueError) as error:
        said = getattr(error, "stderr", b"") or b""
        shown = Masker(question.secret.values()).mask(said)[-2000:].decode(errors="replace")
        logger.error("The test of a %s catalog failed: %s %s", question.kind, type(error).__name__, shown)
        return [Check("Connection", False, "The test itself failed; the portal's log says why.", "Tell your operator.")]


def _environment() -> dict[str, str]:
    """Nothing of the portal's own, but what operators say about the way to the internet and whom to trust there."""
    names = ("HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
    way = {name: os.environ[name] for name in names if name in os.environ}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true", **way}


def _look_into(workspace: Workspace, directory: str) -> list[Check]:
    try:
        files = cloud_of(workspace.cloud_configuration).files(workspace.handle)
        if directory and files.stat(directory).kind != "folder":
            return [Check("Directory", False, f"{directory} is not a folder.", "Enter the path of a folder.")]
        found = tables_below(files, directory)
    except CloudError as error:
        return [Check("Directory", False, error.message, error.hint or "Enter the path of a folder, or create it.")]
    there = Check("Directory", True, f"{directory or 'The whole of the files'} is there.")
    if not found.tables:
        hint = "Put Parquet files there: each file, and each folder of them, is a table."
        return [there, Check("Tables", False, "There are no Parquet files in it.", hint)]
    names = ", ".join(table.name for table in found.tables[:SHOWN_TABLES])
    more = f" and {len(found.tables) - SHOWN_TABLES} more" if len(found.tables) > SHOWN_TABLES else ""
    count = f"{'More than ' if found.cut else ''}{len(found.tables)}"
    return [there, Check("Tables", True, f"{count} found: {names}{more}.")]
