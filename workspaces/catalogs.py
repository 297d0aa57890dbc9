"""What jobs are given of a catalog, and which catalogs there can be."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.fernet import InvalidToken

from portal.clouds.environment import CATALOG
from portal.crypto import unseal
from portal.errors import UserError
from workspaces.models import Catalog, CatalogKind, Workspace

ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+){0,4}")
"""Of Snowflake: ``organization-name``, or a locator with region and cloud such as ``xy12345.eu-central-1``. Nothing in
it can lead to another host than one of Snowflake's."""

REGION = re.compile(r"[a-z]{2}(-[a-z]{2,20}){1,3}-[1-9]")
WAREHOUSE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\x00-\x1f]*)?|[0-9]{12}(:[A-Za-z0-9_/.-]{1,200})?")
"""Of Glue: where its tables lie in S3, or the id of another account's catalog."""

MAX_SETTING = 1000
MAX_SECRET = 4096


@dataclass(frozen=True)
class Shape:
    """The settings of a kind (needed, possible), and its secrets."""

    needed: frozenset[str]
    possible: frozenset[str]
    secrets: frozenset[str]
    secret_needed: bool = False
    sends_secret_to: frozenset[str] = frozenset()
    """The settings that say who gets to see the secret: where one of them changes, it has to be entered again."""


SHAPES: dict[str, Shape] = {
    CatalogKind.FILESYSTEM: Shape(frozenset(), frozenset({"directory"}), frozenset()),
    CatalogKind.SNOWFLAKE: Shape(
        frozenset({"account", "user", "warehouse", "database"}),
        frozenset({"schema", "role", "port"}),
        frozenset({"password"}),
        secret_needed=True,
        sends_secret_to=frozenset({"account", "user", "port"}),
    ),
    CatalogKind.GLUE: Shape(
        frozenset({"region", "warehouse"}), frozenset(), frozenset({"access_key_id", "secret_access_key"})
    ),
}


def environment_of(catalog: Catalog) -> dict[str, str]:
    """The variable through which a job learns of its catalog. It holds the secrets: never write it down.

    Raises UserError(CatalogUnreadable).
    """
    try:
        secret = unseal(catalog.sealed)
    except InvalidToken:
        raise UserError(
            "CatalogUnreadable",
            f"The password or key of the catalog {catalog} cannot be read: it was encrypted with a key that is gone.",
            "An admin of the workspace has to enter it again.",
        ) from None
    described = {
        "name": catalog.name,
        "kind": catalog.kind,
        "settings": catalog.settings,
        "secret": secret,
    }
    return {CATALOG: json.dumps(described)}


def refuse_gone(workspace: Workspace, catalog: Catalog, *, hold: bool = False) -> None:
    """Raises UserError(CatalogGone) for one that is not, or no more, in the workspace. With ``hold``, nobody can delete
    it before the transaction ends."""
    rows = Catalog.objects.in_workspace(workspace).filter(pk=catalog.pk)
    if not (rows.select_for_update(no_key=True).first() if hold else rows.exists()):
        raise UserError("CatalogGone", f"The catalog {catalog} is gone.", "Choose another one.", status=422)


def secret_values_of(environment: Mapping[str, str]) -> list[str]:
    """What must be masked in the logs of a job with this environment: passwords and keys of its catalog, and the
    variable as a whole, in which they may be written otherwise."""
    described = environment.get(CATALOG, "{}")
    values = list(json.loads(described).get("secret", {}).values())
    return [*values, described] if values else []


def refuse_wrong(kind: str, settings: Mapping[str, str], secret: Mapping[str, str]) -> None:
    """Raises UserError(KindUnknown, SettingNotAllowed, SecretNotAllowed) for what cannot be a catalog."""
    shape = SHAPES.get(kind)
    if shape is None:
        kinds = ", ".join(SHAPES)
        raise UserError(
            "KindUnknown", f"There is no kind {kind[:40]!r} of catalogs.", f"Choose one of {kinds}.", status=422
        )
    for name in sorted(shape.needed - {name for name, value in settings.items() if value}):
        raise UserError("SettingNotAllowed", f"{name} is missing.", "Enter it.", status=422)
    for name, value in settings.items():
        if name not in shape.needed | shape.possible or refusal_of(name, value):
            why = refusal_of(name, value) or f"A catalog of this kind has no {name[:40]!r}."
            raise UserError("SettingNotAllowed", why, "Correct it.", status=422)
    if (secret or shape.secret_needed) and set(secret) != shape.secrets:
        names = " and ".join(sorted(shape.secrets)) or "no secret"
        raise UserError("SecretNotAllowed", f"A catalog of this kind needs {names}.", "Enter all of it.", status=422)
    if any(not value or len(value) > MAX_SECRET or "\0" in value for value in secret.values()):
        raise UserError("SecretNotAllowed", "A password or key is empty, or too long.", "Enter another.", status=422)


def moves_secret(catalog: Catalog, settings: Mapping[str, str]) -> bool:
    """Whether these settings would hand the stored secret to somebody else than the one it was entered for."""
    names = SHAPES[catalog.kind].sends_secret_to if catalog.sealed else ()
    return any(catalog.settings.get(name, "") != settings.get(name, "") for name in names)


def refusal_of(name: str, value: str) -> str:
    """Why a setting cannot have this value, as a sentence; empty where it can."""
    if len(value) > MAX_SETTING or any(character < " " or "\ud800" <= character <= "\udfff" for character in value):
        return f"{name} is too long, or holds characters that it cannot."
    match name:
        case "account" if not ACCOUNT.fullmatch(value):
            return "Enter the account identifier only, such as myorg-account1 or xy12345.eu-central-1."
        case "region" if not REGION.fullmatch(value):
            return "Enter a region of AWS, such as us-east-1."
        case "warehouse" if value.startswith("s3:") and not WAREHOUSE.fullmatch(value):
            return "Enter a path such as s3://bucket/folder."
        case "port" if value and not (
            value.isascii() and value.isdecimal() and len(value) < 6 and 1 <= int(value) <= 65535
        ):
            return "Enter a number from 1 to 65535."
        case "directory" if value.startswith("/") or ".." in value.split("/"):
            return "Enter a path within the workspace's files, such as data/sales."
    return ""
