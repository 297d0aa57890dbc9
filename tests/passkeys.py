"""A device that holds passkeys, in software: what a browser would send of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData


@dataclass
class Device:
    """One key, for one person, at one origin."""

    origin: str = "http://localhost"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = b"a credential of the tests"
    user_handle: bytes = b""
    verifies_the_user: bool = True
    """Asks for a fingerprint or PIN."""

    def register(self, creation_options: dict[str, Any]) -> dict[str, Any]:
        """Answer to the options of the page that adds a passkey."""
        options = creation_options["publicKey"]
        self.user_handle = websafe_decode(options["user"]["id"])
        public = ES256.from_cryptography_key(self.key.public_key())  # type: ignore[no-untyped-call]
        attested = AttestedCredentialData.create(Aaguid.NONE, self.credential_id, public)
        authenticated = self._authenticated(options["rp"]["id"], attested)
        return self._credential(
            clientDataJSON=self._client_data("webauthn.create", options["challenge"]),
            attestationObject=AttestationObject.create("none", authenticated, {}),
        )

    def sign(self, request_options: dict[str, Any]) -> dict[str, Any]:
        """Answer to the options of a page that asks for one."""
        options = request_options["publicKey"]
        authenticated = self._authenticated(options["rpId"])
        client_data = self._client_data("webauthn.get", options["challenge"])
        signed = authenticated + hashlib.sha256(client_data).digest()
        return self._credential(
            clientDataJSON=client_data,
            authenticatorData=authenticated,
            signature=self.key.sign(signed, ec.ECDSA(SHA256())),
            userHandle=self.user_handle,
        )

    def _authenticated(self, rp: str, attested: bytes = b"") -> AuthenticatorData:
        flags = AuthenticatorData.FLAG.UP
        if self.verifies_the_user:
            flags |= AuthenticatorData.FLAG.UV
        if attested:
            flags |= AuthenticatorData.FLAG.AT
        data: AuthenticatorData = AuthenticatorData.create(hashlib.sha256(rp.encode()).digest(), flags, 0, attested)
        return data

    def _client_data(self, kind: str, challenge: str) -> CollectedClientData:
        return CollectedClientData.create(kind, websafe_decode(challenge), self.origin)

    def _credential(self, **response: bytes) -> dict[str, Any]:
        identity = websafe_encode(self.credential_id)
        return {
            "id": identity,
            "rawId": identity,
            "type": "public-key",
            "clientExtensionResults": {"credProps": {"rk": True}},
            "response": {name: websafe_encode(value) for name, value in response.items()},
        }
