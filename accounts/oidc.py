"""OpenID Connect as a client: the authorization code flow with PKCE, and every check of the ID token that its Core
specification asks for in 3.1.3.7. No models in here, and no answer is trusted because of where it came from.

Why not allauth's: docs/decisions/0008-openid-client.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
import requests
from django.conf import settings

from portal import outbound
from portal.errors import UserError

LIMIT = 1 << 20
"""Bytes of an answer. A large provider's keys are some 20 KiB."""

SECONDS = 10.0
LEEWAY_SECONDS = 60
"""By how much clocks may differ."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a public key only: with a shared secret, whoever knows it could be anybody."""

SCOPES = "openid email profile"

WRONG_CLIENT = frozenset({"invalid_client", "unauthorized_client"})
"""A provider's words for a client ID or a secret that is not right."""


class ProviderError(UserError):
    """What the provider did wrong, or what is wrong in the connection's settings, for whoever manages them."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint, status=502)


@dataclass(frozen=True)
class Client:
    """As whom the portal asks."""

    issuer: str
    client_id: str
    client_secret: str
    redirect_uri: str


@dataclass(frozen=True)
class Provider:
    """What a provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    secret_in_header: bool = False


@dataclass(frozen=True)
class Attempt:
    """One sign-in under way; kept in the session of the browser that began it, and good for one answer."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def begin(cls) -> Attempt:
        """Three secrets of 256 bits."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    def as_dict(self) -> dict[str, str]:
        """For the session."""
        return asdict(self)


@dataclass(frozen=True)
class Claims:
    """Whom the provider named. ``email_verified`` is None where it does not say."""

    subject: str
    email: str
    email_verified: bool | None
    first_name: str
    last_name: str


def discover(issuer: str) -> tuple[Provider, dict[str, Any]]:
    """A provider's configuration: what we use, and all that it says. Raises ProviderError."""
    address = issuer.rstrip("/") + "/.well-known/openid-configuration"
    found = _json(_ask("GET", address), address)
    if found.get("issuer") != issuer:
        raise ProviderError(
            "IssuerMismatch",
            f"The provider calls itself {str(found.get('issuer'))[:200]}.",
            "Enter the issuer exactly as the provider names itself, also with or without a slash at the end.",
        )
    endpoints = {name: _endpoint(found, name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    methods = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    provider = Provider(
        issuer=issuer,
        **endpoints,
        userinfo_endpoint=_endpoint(found, "userinfo_endpoint") if found.get("userinfo_endpoint") else "",
        secret_in_header="client_secret_post" not in methods,
    )
    return provider, found


def authorization_url(provider: Provider, client: Client, attempt: Attempt, *, login_hint: str = "") -> str:
    """Where to send the browser."""
    challenge = hashlib.sha256(attempt.verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "scope": SCOPES,
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    if login_hint:
        query["login_hint"] = login_hint
    joint = "&" if urlsplit(provider.authorization_endpoint).query else "?"
    return f"{provider.authorization_endpoint}{joint}{urlencode(query)}"


def claims_of(provider: Provider, client: Client, attempt: Attempt, code: str) -> Claims:
    """Whom the provider meant with an authorization code. Raises ProviderError."""
    tokens = redeem(provider, client, code=code, verifier=attempt.verifier)
    found = verify(provider, client, str(tokens.get("id_token") or ""), nonce=attempt.nonce)
    if not found.get("email") and provider.userinfo_endpoint:
        found = {**found, **_userinfo(provider, str(tokens.get("access_token") or ""), str(found["sub"]))}
    given, family = str(found.get("given_name") or ""), str(found.get("family_name") or "")
    if not given and not family:
        given, _, family = str(found.get("name") or "").partition(" ")
    verified = found.get("email_verified")
    return Claims(
        subject=str(found["sub"]),
        email=str(found.get("email") or ""),
        email_verified=None if verified is None else str(verified).lower() == "true",
        first_name=given,
        last_name=family,
    )


def redeem(provider: Provider, client: Client, *, code: str, verifier: str) -> dict[str, Any]:
    """The tokens for a code. Raises ProviderError(ProviderRefused) with the provider's own word for why."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": verifier,
    }
    credentials = None
    if provider.secret_in_header:
        credentials = (client.client_id, client.client_secret)
    else:
        form |= {"client_id": client.client_id, "client_secret": client.client_secret}
    answer = _ask("POST", provider.token_endpoint, data=form, auth=credentials)
    if answer.status != 200:
        raise RefusedError(_word(answer))
    return _json(answer, provider.token_endpoint)


class RefusedError(ProviderError):
    """The provider gave no tokens; ``word`` is its own, such as ``invalid_client``."""

    def __init__(self, word: str) -> None:
        hint = "Enter the client ID and the secret anew." if word in WRONG_CLIENT else ""
        super().__init__("ProviderRefused", f"The provider refused: {word}.", hint)
        self.word = word


def verify(provider: Provider, client: Client, token: str, *, nonce: str) -> dict[str, Any]:
    """The claims of an ID token that was signed by this provider, for us, for this attempt, and a moment ago.

    Raises ProviderError(TokenInvalid).
    """
    try:
        found: dict[str, Any] = jwt.decode(
            token,
            key=_key_of(provider, token).key,
            algorithms=ALGORITHMS,
            audience=client.client_id,
            issuer=provider.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.PyJWTError, ArithmeticError, TypeError, ValueError) as error:
        raise _invalid(str(error)) from error
    audiences = found["aud"] if isinstance(found["aud"], list) else [found["aud"]]
    if found.get("azp", client.client_id) != client.client_id or (len(audiences) > 1 and "azp" not in found):
        raise _invalid("it was made for another client")
    if not hmac.compare_digest(str(found.get("nonce") or "").encode(), nonce.encode()):
        raise _invalid("it belongs to another sign-in")
    if not found["sub"] or len(str(found["sub"])) > 255:
        raise _invalid("it names nobody")
    return found


def keys_of(provider: Provider) -> list[jwt.PyJWK]:
    """The public keys with which a provider signs, from itself: they change, so they are not kept. Raises
    ProviderError."""
    try:
        found = jwt.PyJWKSet.from_dict(_json(_ask("GET", provider.jwks_uri), provider.jwks_uri)).keys
    except (jwt.PyJWTError, TypeError, ValueError):
        return []
    return [key for key in found if key.key_type in {"RSA", "EC", "OKP"} and key.public_key_use in {None, "sig"}]


def _key_of(provider: Provider, token: str) -> jwt.PyJWK:
    """The key with which a token says that it was signed."""
    head = jwt.get_unverified_header(token)
    fitting = [
        key
        for key in keys_of(provider)
        if head.get("kid") in {None, key.key_id} and head["alg"] == key._jwk_data.get("alg", head["alg"])
    ]
    if len(fitting) != 1:
        raise _invalid("it was signed with a key that the provider does not show")
    return fitting[0]


def _userinfo(provider: Provider, access_token: str, subject: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {access_token}"}
    found = _json(_ask("GET", provider.userinfo_endpoint, headers=headers), provider.userinfo_endpoint)
    if found.get("sub") != subject:
        raise _invalid("the provider's word about the person is about somebody else")
    return found


def _invalid(why: str) -> ProviderError:
    return ProviderError("TokenInvalid", f"The provider's ID token cannot be trusted: {why[:200]}.", "Sign in again.")


# --- requests -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes


def _ask(method: str, address: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> _Answer:
    """Ask a provider; its answer, whole and in time. Where a secret is sent, no redirect is followed."""
    try:
        with outbound.session(private=settings.PORTAL_PRIVATE_ADDRESSES) as session:
            sent = {"Accept": "application/json", **(headers or {})}
            follow = method == "GET" and "Authorization" not in sent
            options = {"timeout": (SECONDS / 2, SECONDS), "stream": True, "allow_redirects": follow}
            with session.request(method, address, headers=sent, **options, **more) as response:
                return _Answer(response.status_code, _in_time(response))
    except outbound.TooLargeError:
        raise ProviderError("ProviderUnreachable", f"{_host(address)} answered with more than 1 MiB.") from None
    except (requests.RequestException, OSError, ValueError) as error:
        raise ProviderError(
            "ProviderUnreachable",
            f"{_host(address)} cannot be reached{_why(error)}.",
            "Check the address of the provider. If it is right, try again in a minute.",
        ) from error


def _in_time(response: requests.Response) -> bytes:
    deadline = time.monotonic() + SECONDS
    taken = []
    for block in outbound.blocks(response, LIMIT):
        taken.append(block)
        if time.monotonic() > deadline:
            raise TimeoutError("it answers too slowly")
    return b"".join(taken)


def _why(error: BaseException) -> str:
    """What is wrong with the address itself. The rest stays with us: it could tell what there is in our network."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, outbound.AddressNotAllowedError):
            return f": {seen}".rstrip(".")
        seen = seen.__cause__ or seen.__context__
    return ""


def _json(answer: _Answer, address: str) -> dict[str, Any]:
    try:
        found = json.loads(answer.body) if answer.status == 200 else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ProviderError(
            "ProviderUnreadable",
            f"{_host(address)} answered with {answer.status} and no JSON object.",
            "Check the address of the provider.",
        )
    return found


def _word(answer: _Answer) -> str:
    try:
        word = json.loads(answer.body).get("error")
    except (ValueError, AttributeError, RecursionError):
        word = None
    return str(word)[:60] if word and str(word).isprintable() else f"status {answer.status}"


def _endpoint(found: dict[str, Any], name: str) -> str:
    """Addresses in the configuration are as foreign as the one that somebody typed."""
    address = str(found.get(name) or "")
    if urlsplit(address).scheme not in ({"https", "http"} if settings.PORTAL_PRIVATE_ADDRESSES else {"https"}):
        raise ProviderError("ProviderUnreadable", f"The provider's {name} is missing or not https.")
    return address


def _host(address: str) -> str:
    return urlsplit(address).netloc[:100] or "The provider"
