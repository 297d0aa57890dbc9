"""How people sign in, as allauth keeps it: to look at. Its own pages would show secrets and write without audit."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.models import Group
from django_rq.models import Dashboard

from portal.admin import LookOnlyAdmin

for model in (EmailAddress, Authenticator, UserSession, Group, Dashboard):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(EmailAddress)
class EmailAddressAdmin(LookOnlyAdmin[Any]):
    """Addresses, and whether they were confirmed. Whoever could set one here could take the account."""

    list_display = ["email", "user", "primary", "verified"]
    list_filter = ["primary", "verified"]
    list_select_related = ["user"]
    search_fields = ["email"]


@admin.register(Authenticator)
class AuthenticatorAdmin(LookOnlyAdmin[Any]):
    """Second factors, without what is in them. They are removed on the page of their owner."""

    list_display = ["user", "type", "created_at", "last_used_at"]
    list_filter = ["type"]
    list_select_related = ["user"]
    search_fields = ["user__email"]
    fields = ["user", "type", "created_at", "last_used_at"]


@admin.register(UserSession)
class UserSessionAdmin(LookOnlyAdmin[Any]):
    """Browsers that are signed in. They are signed out on the page of their owner."""

    list_display = ["user", "ip", "user_agent", "created_at", "last_seen_at"]
    list_select_related = ["user"]
    search_fields = ["user__email", "ip"]
    fields = ["user", "ip", "user_agent", "created_at", "last_seen_at"]
