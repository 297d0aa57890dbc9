"""Signs in to Snowflake as BodoSQL would, and asks what it got."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import snowflake.connector
from snowflake.connector.errors import Error

from portal.clouds.base import Check
from workspaces.probes.findings import Findings, Question, refusal_of_host

QUESTION = "SELECT CURRENT_VERSION(), CURRENT_ROLE(), CURRENT_WAREHOUSE(), CURRENT_DATABASE(), CURRENT_SCHEMA()"
SERVER_CODES = 390000
"""Error numbers from here on are the service's own answers to a sign-in; lower ones are the connector's."""

REACH = [
    (
        r"\b(404|403)\b",
        "Snowflake has no such account.",
        "Check the account identifier: Admin › Accounts in Snowflake.",
    ),
    (r"timed? ?out|timeout", "Snowflake did not answer in time.", "Try again; check a firewall, if there is one."),
    (r"lookup|resolve", "The account's name has no address.", "Check the account identifier and its region."),
    (
        r"certificate|corrupt message|tls|ssl|handshake",
        "No secure connection came about.",
        "Check the port: 443, unless somebody told you another.",
    ),
    (r"refused|unreachable|reset", "The connection was refused.", "Check the port and a firewall, if there is one."),
]
"""What the connector's words mean, and what to do."""


def probe(question: Question) -> list[Check]:
    """The checks, up to the first that makes the others pointless."""
    found, settings = Findings(), question.settings
    scheme, host, port = address_of(question)
    if refusal := refusal_of_host(host, port, question):
        found.failed("Account", refusal, "Check the account identifier and its region.")
        return found.checks
    limit = max(1, int(question.seconds * 0.6))
    try:
        connection = snowflake.connector.connect(
            account=settings["account"],
            user=settings["user"],
            password=question.secret["password"],
            warehouse=settings["warehouse"],
            database=settings["database"],
            schema=settings.get("schema") or None,
            role=settings.get("role") or None,
            host=host,
            port=port,
            protocol=scheme,
            login_timeout=limit,
            request_timeout=limit,
            query_timeout=limit,
            retry_timeout=limit,
            retry_max_attempts=1,
            client_out_of_band_telemetry_enabled=False,
            session_parameters={"CLIENT_TELEMETRY_ENABLED": False, "QUERY_TAG": "Bodo Cloud Platform: connection test"},
            enable_server_session_keep_alive_auto_detection=False,
            logout_max_attempts=1,
            logout_total_timeout_seconds=1,
        )
    except Error as error:
        _refused(found, error, settings)
        return found.checks
    try:
        row: Any = connection.cursor().execute(QUESTION).fetchone()
    except Error as error:
        found.passed("Sign-in", f"Signed in as {settings['user']}.")
        found.failed("Query", words_of(error), "Try again; the sign-in itself works.")
        return found.checks
    finally:
        connection.close()
    version, role, warehouse, database, schema = row
    found.passed("Account", f"{settings['account']} runs Snowflake {version}.")
    found.passed("Sign-in", f"Signed in as {settings['user']}.")
    _same(found, "Role", settings.get("role", ""), role, "Grant the role to the user, or leave it empty.")
    _same(found, "Warehouse", settings["warehouse"], warehouse, "Check its name; grant USAGE on it to the role.")
    _same(found, "Database", settings["database"], database, "Check its name; grant USAGE on it to the role.")
    if settings.get("schema"):
        _same(found, "Schema", settings["schema"], schema, "Check its name; grant USAGE on it to the role.")
    return found.checks


def address_of(question: Question) -> tuple[str, str, int]:
    """Scheme, host and port. The account can lead to nothing but Snowflake's own names."""
    if question.endpoint:
        replaced = urlsplit(question.endpoint)
        return replaced.scheme, replaced.hostname or "", replaced.port or 443
    account = question.settings["account"].lower().replace("_", "-")
    domain = "snowflakecomputing.cn" if ".cn-" in account else "snowflakecomputing.com"
    return "https", f"{account}.{domain}", int(question.settings.get("port") or 443)


def words_of(error: Error) -> str:
    """What Snowflake or the connector said, without the wrapping."""
    said = str(error.raw_msg or error).removeprefix("Failed to login: ").removeprefix("Login error: ")
    return re.sub(r", code: \d+$", "", said)


def _refused(found: Findings, error: Error, settings: dict[str, str]) -> None:
    said = words_of(error)
    if isinstance(error.errno, int) and error.errno >= SERVER_CODES:
        found.passed("Account", f"{settings['account']} answers.")
        hint = "Check user, password and role. A user with a second factor needs a programmatic access token instead."
        found.failed("Sign-in", said, hint)
        return
    for pattern, meaning, hint in REACH:
        if re.search(pattern, said, re.IGNORECASE):
            found.failed("Account", f"{meaning} {said}", hint)
            return
    found.failed("Account", said, "Check the account identifier.")


def _same(found: Findings, name: str, asked: str, got: str | None, hint: str) -> None:
    """Snowflake signs people in without what it cannot give them, and says nothing."""
    if got and (not asked or got.upper() == asked.strip('"').upper()):
        found.passed(name, got)
    elif not asked:
        found.failed(name, "The user has none by default.", hint)
    else:
        found.failed(name, f"{asked} cannot be used{f'; the session has {got}' if got else ''}.", hint)
