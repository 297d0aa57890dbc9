"""People of the museum with every kind of second factor and several sessions, and with none."""

from __future__ import annotations

import time

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client

from accounts.models import Organization, User
from accounts.permissions import OrganizationRole
from tests.factories import add_to_organization, make_organization, make_session, make_user
from tests.passkeys import Device

AGENTS = {
    "10.20.0.4": "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19 Safari/604.1",
    "2001:db8:85a3:8d3:1319:8a2e:370:7348": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0 Edg/140.0",
    "192.0.2.17": "a-program-of-somebody-s-own-with-a-name-that-has-no-end-and-no-place-to-break/1.0",
}


def fill_security(organization: Organization) -> dict[str, str]:
    """Sessions of somebody with everything and somebody with nothing, the number of a passkey, and an organization
    that asks for a second factor."""
    person, newcomer = make_user("frida"), make_user("gina")
    for each in (person, newcomer):
        add_to_organization(organization, each, OrganizationRole.MEMBER)
    strict = make_organization(person, "Strict and Sons")
    Organization.objects.filter(pk=strict.pk).update(require_second_factor=True)
    add_to_organization(strict, newcomer, OrganizationRole.MEMBER)
    TOTP.activate(person, generate_totp_secret())
    RecoveryCodes.activate(person)
    options = {"publicKey": {"user": {"id": ""}, "rp": {"id": "localhost"}, "challenge": ""}}
    for name, alone in (("Work laptop", True), ("Blue key, in the drawer of the desk at home", False)):
        credential = Device().register(options)
        credential["clientExtensionResults"]["credProps"]["rk"] = alone
        data = {"name": name, "credential": credential}
        key = Authenticator.objects.create(user=person, type=Authenticator.Type.WEBAUTHN, data=data)
    session = _confirmed_session(person)
    for address, agent in AGENTS.items():
        make_session(person, ip=address, user_agent=agent, session_key=_confirmed_session(person))
    make_session(person, ip="127.0.0.1", user_agent="Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0", session_key=session)
    return {
        "secured_session": session,
        "unsecured_session": _confirmed_session(newcomer),
        "passkey": str(key.pk),
        "strict": str(strict.pk),
    }


def _confirmed_session(person: User) -> str:
    """Signed in, and asked for no password again: it was given in a future that never ends."""
    client = Client()
    client.force_login(person)
    store = SessionStore(client.cookies["sessionid"].value)
    confirmed = {"method": "password", "at": time.time() + 1e6, "reauthenticated": True}
    store["account_authentication_methods"] = [confirmed]
    store["account_authentication_methods_user"] = str(person.pk)
    store.save()
    return str(store.session_key)
