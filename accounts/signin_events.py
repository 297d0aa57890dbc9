"""Sign-ins, and what people do to their own accounts, in the audit log of each of their organizations.

allauth and Django say so by signals. allauth's pages are each one transaction (``one_transaction``), so that the event
commits with what it tells about. Elsewhere it is a transaction of its own, just before the change: signing out of the
operator's pages, and where ``accounts.sessions`` ends what has lasted too long.

An address that somebody typed is not recorded unless it is the account's own. A failed sign-in to an account that does
not exist is an event in the platform's log: it takes as long as one to an account that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allauth.account import signals as account
from allauth.account.authentication import get_authentication_records
from allauth.account.models import EmailAddress
from allauth.account.utils import filter_users_by_email
from allauth.core import context
from allauth.mfa import signals as mfa
from allauth.mfa.models import Authenticator
from django.contrib.auth import signals as auth
from django.db import transaction
from django.db.models import Model, signals
from django.db.models.query import QuerySet
from django.http import HttpRequest
from django.urls import URLPattern, URLResolver

from accounts import audit
from accounts.audit import Actor
from accounts.models import ActorKind, User
from accounts.sessions import over
from portal.errors import client_address

ONE_TRANSACTION = ("allauth.account.", "allauth.mfa.", "allauth.usersessions.")
"""The modules whose pages are each one transaction. Those that ask other servers are not among them."""


def connect() -> None:
    """Listen. Called once, when the app starts."""
    for signal, receiver in (
        (account.user_logged_in, _signed_in),
        (account.password_changed, _password_changed),
        (account.password_set, _password_set),
        (account.email_added, _address_added),
        (account.email_confirmed, _address_confirmed),
        (account.email_changed, _address_changed),
        (account.email_removed, _address_removed),
        (mfa.authenticator_used, _factor_used),
        (mfa.authentication_failed, _factor_failed),
        (auth.user_login_failed, _not_signed_in),
        (auth.user_logged_out, _signed_out),
    ):
        signal.connect(receiver, dispatch_uid=f"audit {receiver.__name__}")
    signals.post_save.connect(_factor_saved, sender=Authenticator, dispatch_uid="audit _factor_saved")
    signals.post_delete.connect(_factor_deleted, sender=Authenticator, dispatch_uid="audit _factor_deleted")


def one_transaction(patterns: list[URLPattern | URLResolver]) -> list[URLPattern | URLResolver]:
    """allauth's addresses, with each view of ``ONE_TRANSACTION`` in a transaction."""
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            one_transaction(pattern.url_patterns)
        elif pattern.callback.__module__.startswith(ONE_TRANSACTION):
            pattern.callback = transaction.atomic(pattern.callback)
    return patterns


# --- signing in and out ---------------------------------------------------------------------------------------------


def _signed_in(request: HttpRequest, user: User, **_: Any) -> None:
    records = get_authentication_records(request, user)
    used = [record.get("type") or record.get("provider") or record.get("method") for record in records]
    _note("user.sign_in", user, request, by=list(dict.fromkeys(filter(None, used))))


def _not_signed_in(credentials: Mapping[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """Somebody signed in is asked for their password again before what is dangerous; that can fail, too."""
    if request is None:
        return
    if isinstance(request.user, User):
        _note("user.confirm_failed", request.user, request)
        return
    known = [user for user in filter_users_by_email(credentials.get("email") or "") if isinstance(user, User)]
    _note_failure("user.sign_in_failed", known[0] if known else None, request)


def note_refused(request: HttpRequest, user: User, why: str) -> None:
    """Somebody who proved who they are is not let in."""
    _note_failure("user.sign_in_refused", user, request, why=why)


def _signed_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    if not isinstance(user, User):
        return
    if over(request.session):
        _record(audit.system("session limit"), "user.sign_out", user)
    else:
        _note("user.sign_out", user, request)


# --- passwords and addresses ----------------------------------------------------------------------------------------


def _password_changed(request: HttpRequest, user: User, **_: Any) -> None:
    _note("user.change_password", user, request)


def _password_set(request: HttpRequest, user: User, **_: Any) -> None:
    _note("user.set_password", user, request)


def _address_added(request: HttpRequest, user: User, email_address: EmailAddress, **_: Any) -> None:
    _note("user.add_address", user, request, after={"address": email_address.email})


def _address_confirmed(request: HttpRequest, email_address: EmailAddress, **_: Any) -> None:
    _note("user.confirm_address", email_address.user, request, confirmed=email_address.email)


def _address_changed(
    request: HttpRequest,
    user: User,
    from_email_address: EmailAddress | None,
    to_email_address: EmailAddress,
    **_: Any,
) -> None:
    before = {"address": from_email_address.email} if from_email_address else {}
    _note("user.change_address", user, request, before=before, after={"address": to_email_address.email})


def _address_removed(request: HttpRequest, user: User, email_address: EmailAddress, **_: Any) -> None:
    _note("user.remove_address", user, request, before={"address": email_address.email})


# --- second factors -------------------------------------------------------------------------------------------------


def _factor_saved(instance: Authenticator, created: bool, **_: Any) -> None:
    """allauth's own signal comes after the commit."""
    if created and (request := _own_request(instance.user)):
        codes = instance.type == Authenticator.Type.RECOVERY_CODES
        verb = "user.make_recovery_codes" if codes else "user.add_factor"
        _note(verb, instance.user, request, **({} if codes else {"after": _described(instance)}))


def _factor_deleted(instance: Authenticator, origin: Model | QuerySet[Any], **_: Any) -> None:
    """Not those that go with their user. Recovery codes go when new ones are made, or with the last factor."""
    itself = origin is instance or (isinstance(origin, QuerySet) and origin.model is Authenticator)
    if itself and instance.type != Authenticator.Type.RECOVERY_CODES and (request := _own_request(instance.user)):
        _note("user.remove_factor", instance.user, request, before=_described(instance))


def _factor_used(request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    if authenticator.type == Authenticator.Type.RECOVERY_CODES:
        left = Authenticator.objects.get(pk=authenticator.pk).wrap().get_unused_codes()
        _note("user.use_recovery_code", user, request, left=len(left))


def _factor_failed(request: HttpRequest, user: User, authenticator: Authenticator, **_: Any) -> None:
    if request.user == user:
        _note("user.confirm_failed", user, request, by=authenticator.type)
    else:
        _note_failure("user.sign_in_failed", user, request, by=authenticator.type)


def _described(authenticator: Authenticator) -> dict[str, str]:
    name = {"name": str(authenticator)} if authenticator.type == Authenticator.Type.WEBAUTHN else {}
    return {"kind": authenticator.type, **name}


def _own_request(user: User) -> HttpRequest | None:
    """The request by which a person changes their own account; what staff does to it, staff's services record."""
    request: HttpRequest | None = context.request
    return request if request is not None and getattr(request, "user", None) == user else None


# --- writing --------------------------------------------------------------------------------------------------------


def _note(verb: str, user: User, request: HttpRequest, **detail: Any) -> None:
    _record(audit.person(user, client_address(request)), verb, user, **detail)


def _note_failure(verb: str, user: User | None, request: HttpRequest, **detail: Any) -> None:
    """Whoever did not get in may be anybody."""
    who = Actor(ActorKind.VISITOR, "Somebody who was not let in", None, client_address(request))
    if user is not None:
        _record(who, verb, user, **detail)
        return
    with transaction.atomic():
        audit.record(who, verb, User(first_name="An unknown account"), organization=None, **detail)


def _record(actor: Actor, verb: str, user: User, **detail: Any) -> None:
    with transaction.atomic():
        audit.record_about(actor, verb, user, **detail)
