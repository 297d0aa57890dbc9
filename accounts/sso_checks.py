"""What "Test connection" looks at: everything of a provider that can be known before somebody signs in."""

from __future__ import annotations

import secrets
from typing import Any

from accounts import oidc, sso
from accounts.models import SsoConnection
from portal.clouds.base import Check


def checks_of(connection: SsoConnection) -> list[Check]:
    """Named checks. The first that fails for want of an answer is the last."""
    client = sso.client_of(connection)
    try:
        provider, said = oidc.discover(client.issuer)
    except oidc.ProviderError as error:
        return [Check("Configuration of the provider", False, error.message, error.hint)]
    checks = [Check("Configuration of the provider", True, provider.issuer), *_abilities(said)]
    try:
        count = len(oidc.keys_of(provider))
        checks.append(Check("Keys that sign", bool(count), f"{count} found", "" if count else "Publish a signing key."))
        checks.append(_credentials(provider, client))
    except oidc.ProviderError as error:
        checks.append(Check("Answers of the provider", False, error.message, error.hint))
    return [*checks, _domains(connection)]


def _abilities(said: dict[str, Any]) -> list[Check]:
    """A list that the provider leaves out is no failure. That of its claims need not be complete, and so is none."""
    wanted = {
        "response_types_supported": ("Authorization code", "code"),
        "code_challenge_methods_supported": ("PKCE", "S256"),
        "claims_supported": ("Claim “email”", "email"),
    }
    found = []
    for field, (name, value) in wanted.items():
        listed = said.get(field)
        there = isinstance(listed, list) and value in listed
        passed = there or not isinstance(listed, list) or field == "claims_supported"
        detail = "not stated; the first sign-in will tell" if passed and not there else ""
        found.append(Check(name, passed, detail, "" if passed else f"The provider does not list {value} in {field}."))
    return found


def _credentials(provider: oidc.Provider, client: oidc.Client) -> Check:
    """A code that cannot be right: a provider that knows us complains about it, one that does not about us."""
    try:
        oidc.redeem(provider, client, code=secrets.token_urlsafe(16), verifier=secrets.token_urlsafe(32))
    except oidc.RefusedError as error:
        passed = error.word not in oidc.WRONG_CLIENT
        detail = "" if error.word == "invalid_grant" else f"the provider's word: {error.word}"
        return Check("Client ID and secret", passed, detail, error.hint)
    return Check("Client ID and secret", False, "The provider takes any code.", "Do not use this provider.")


def _domains(connection: SsoConnection) -> Check:
    names = list(connection.domains.approved().order_by("domain").values_list("domain", flat=True))
    hint = "" if names else "Ask for a domain below; the operator of this portal approves it."
    return Check("Approved domains", bool(names), ", ".join(names) or "none yet", hint)
