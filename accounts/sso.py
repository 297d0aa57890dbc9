"""Single sign-on: whose provider speaks for an address, who must use it, and what of a sign-in the session remembers.

What a provider may do, and no more: sign in the members of its organization, and people whom it brings itself. It
speaks for addresses in its approved domains only. It cannot sign in staff, or somebody who belongs to other
organizations alone, or bring back somebody who was removed.
"""

from __future__ import annotations

import re
from typing import Any

import idna
from allauth.account.internal.flows.login import get_authentication_records
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import Invitation, Organization, SsoConnection, User
from accounts.oidc import Client
from accounts.permissions import OrganizationRole

METHOD = "sso"
"""How such a sign-in is called among allauth's records of a session."""

PUBLIC_DOMAINS = frozenset(
    {
        *("126.com", "163.com", "aol.com", "btinternet.com", "comcast.net", "duck.com", "fastmail.com"),
        *("freenet.de", "gmail.com", "gmx.at", "gmx.ch", "gmx.com", "gmx.de", "gmx.net", "googlemail.com"),
        *("hey.com", "hotmail.co.uk", "hotmail.com", "hotmail.de", "hotmail.fr", "icloud.com", "laposte.net"),
        *("libero.it", "live.com", "mac.com", "mail.com", "mail.ru", "mailbox.org", "me.com", "msn.com"),
        *("naver.com", "orange.fr", "outlook.com", "pm.me", "posteo.de", "proton.me", "protonmail.com"),
        *("qq.com", "rediffmail.com", "rocketmail.com", "t-online.de", "tuta.com", "tutanota.com", "web.de"),
        *("yahoo.co.jp", "yahoo.co.uk", "yahoo.com", "yahoo.de", "yahoo.fr", "yandex.com", "yandex.ru"),
        *("ymail.com", "zoho.com"),
    }
)
"""Where everybody may have an address: no organization speaks for it."""

_DOMAIN = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")


def clean_domain(text: str) -> str:
    """A domain as it is compared: ASCII, lower case. Raises ValidationError."""
    domain = text.strip().lower().removeprefix("@").rstrip(".")
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True).decode()
        except UnicodeError:
            domain = ""
    if not _DOMAIN.fullmatch(domain):
        raise ValidationError("Enter a domain such as example.org.", code="invalid")
    if domain in PUBLIC_DOMAINS:
        raise ValidationError(
            "Everybody can have an address there, so no organization can speak for it.", code="public_domain"
        )
    return domain


def domain_of(email: str) -> str:
    """The domain of an address in its one spelling (``accounts.addresses``)."""
    return email.rpartition("@")[2]


def connection_for(email: str) -> SsoConnection | None:
    """Whose provider speaks for an address, if any."""
    rows = SsoConnection.objects.for_domain(domain_of(email)).select_related("organization")
    return rows.first()


def demanded_of(user: User) -> SsoConnection | None:
    """The connection through which somebody has to sign in. Owners may use other ways: somebody must be able to come in
    and repair it."""
    connection = connection_for(user.email)
    if connection is None or not connection.enforced:
        return None
    members = connection.organization.memberships.filter(user=user).exclude(role=OrganizationRole.OWNER)
    return connection if members.exists() else None


def way_in(invitation: Invitation) -> tuple[SsoConnection | None, bool]:
    """The connection through which somebody who is invited can join, and whether they have to, making no password here.

    They have to where their address is in a domain of which single sign-on is demanded: the inviting organization's, or
    another's whose newcomers become members. Where only members come through that other one, they would be refused.
    """
    connection = connection_for(invitation.email)
    if connection is None:
        return None, False
    own = connection.organization_id == invitation.organization_id
    must = connection.enforced and (own or connection.joins)
    return (connection, must) if own or must else (None, False)


def client_of(connection: SsoConnection) -> Client:
    """The connection as the protocol needs it."""
    uri = redirect_uri(connection.organization)
    return Client(connection.issuer, connection.client_id, connection.client_secret, uri)


def redirect_uri(organization: Organization) -> str:
    """Where the provider sends people back to. Each organization has its own, so that no provider can answer for
    another's, and it can be registered there before anything is known here."""
    return settings.SITE_URL + reverse("accounts:sso_callback", args=[organization.pk])


def signed_in_through(request: HttpRequest, organization: Organization) -> bool:
    """Whether this browser signed in through the provider of an organization."""
    return _names(get_authentication_records(request, request.user), organization)


def began_through(session: UserSession, organization: Organization) -> bool:
    """The same, of a line in the sessions list."""
    request = HttpRequest()
    request.session = SessionStore(session.session_key)
    return _names(get_authentication_records(request, session.user), organization)


def _names(records: list[dict[str, Any]], organization: Organization) -> bool:
    return any(each.get("method") == METHOD and each.get("organization") == str(organization.pk) for each in records)
