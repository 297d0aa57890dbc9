"""ID tokens, one by one: what is signed by the right key for us, now, and nothing else."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from accounts import oidc

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
PROVIDER = oidc.Provider(
    "https://idp.example", "https://idp.example/a", "https://idp.example/t", "https://idp.example/k"
)
CLIENT = oidc.Client("https://idp.example", "portal", "secret", "https://portal.example/callback/")


def jwks() -> list[dict[str, Any]]:
    """What the provider shows, with things in it that a client must pass over."""
    public = {"use": "sig", **RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True), "kid": "1", "alg": "RS256"}
    curve = {"use": "sig", **ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "2"}
    shared = {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "3", "alg": "HS256"}
    sealing = {**public, "use": "enc", "kid": "4"}
    return [public, curve, shared, sealing, {"kty": "unknown", "kid": "5"}, {}]


@pytest.fixture(autouse=True)
def _provider(monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"keys": jwks()}).encode()
    monkeypatch.setattr(oidc, "_ask", lambda *_, **__: oidc._Answer(200, body))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {"iss": "https://idp.example", "aud": "portal", "sub": "7", "iat": now, "exp": now + 300, "nonce": "n"}
    return {name: value for name, value in {**found, **changes}.items() if value is not None}


def token(key: Any = RSA_KEY, algorithm: str = "RS256", kid: str | None = "1", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, headers={"kid": kid} if kid else None)


def taken(text: str) -> bool:
    try:
        return bool(oidc.verify(PROVIDER, CLIENT, text, nonce="n")["sub"] == "7")
    except oidc.ProviderError as error:
        if error.code != "TokenInvalid":
            raise
        return False


def test_good_ones_are_taken() -> None:
    assert taken(token())
    assert taken(token(EC_KEY, "ES256", "2"))
    assert taken(token(aud=["portal", "other"], azp="portal"))
    assert taken(token(exp=int(time.time()) - 30))  # clocks differ


def test_a_token_without_key_id_needs_a_provider_with_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not taken(token(kid=None))
    monkeypatch.setattr(oidc, "_ask", lambda *_, **__: oidc._Answer(200, json.dumps({"keys": jwks()[:1]}).encode()))
    assert taken(token(kid=None))


PUBLIC_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def unsigned() -> str:
    return jwt.encode(claims(), "", "none", headers={"kid": "1"})


def signed_with_the_public_key() -> str:
    """As a shared secret: what an attacker can do where the algorithm is the token's choice."""
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"1"}').rstrip(b"=")
    body = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=")
    signature = hmac.new(PUBLIC_PEM, head + b"." + body, "sha256").digest()
    return b".".join([head, body, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def with_a_changed_body() -> str:
    head, _, signature = token().split(".")
    return ".".join([head, token(sub="8").split(".")[1], signature])


FORGED: dict[str, Callable[[], str]] = {
    "another key with the same id": lambda: token(OTHER_KEY),
    "an id that is not shown": lambda: token(kid="9"),
    "a key for sealing": lambda: token(kid="4"),
    "a shared key that is shown": lambda: token(b"secret" * 8, "HS256", "3"),
    "another algorithm than the key's": lambda: token(algorithm="RS512"),
    "no signature": unsigned,
    "the public key as secret": signed_with_the_public_key,
    "a changed body": with_a_changed_body,
    "nothing": lambda: "",
    "no token": lambda: "a.b.c",
    "NUL": lambda: "\0",
    "much": lambda: "a" * 100_000,
    "no subject": lambda: token(sub=None),
    "no audience": lambda: token(aud=None),
    "no issue time": lambda: token(iat=None),
    "no issuer": lambda: token(iss=None),
    "no nonce": lambda: token(nonce=None),
    "a nonce that is a list": lambda: token(nonce=["n"]),
    "several audiences and no party": lambda: token(aud=["portal", "other"]),
    "an issuer with a slash more": lambda: token(iss="https://idp.example/"),
    "an end beyond all numbers": lambda: token(exp=1e400),
    "long over": lambda: token(exp=int(time.time()) - 61),
    "not yet": lambda: token(nbf=int(time.time()) + 120),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_ones_are_not(kind: str) -> None:
    assert not taken(FORGED[kind]())


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": 5}', b'{"keys": []}', b'{"keys": [1]}', b"[" * 100_000])
def test_keys_that_are_none_are_a_refusal(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(oidc, "_ask", lambda *_, **__: oidc._Answer(200, body))
    with pytest.raises(oidc.ProviderError):
        oidc.verify(PROVIDER, CLIENT, token(), nonce="n")
