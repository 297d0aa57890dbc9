"""People of the museum on their way in: with an activation link, from AWS Marketplace, before new terms."""

from __future__ import annotations

from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.test import Client

from accounts import activation, sandbox, services_marketplace, services_signup
from accounts.audit import Actor
from accounts.marketplace import Purchase
from accounts.models import ActorKind, MarketplaceSubscription, Organization, User
from accounts.permissions import OrganizationRole
from accounts.views_marketplace import CLAIMED
from tests.browser.furniture_marketplace import fill_marketplace
from tests.factories import PASSWORD, actor, add_to_organization, make_organization, make_user


def fill_signup(long: str) -> dict[str, str]:
    """Sessions and keys of them all; names as long as they can be."""
    owner = make_user("helga")
    subscribed = make_organization(owner, "Subscribed")
    for name in ("Another", long[1:]):
        add_to_organization(make_organization(name=name), owner, OrganizationRole.OWNER)
    registrations = [_registered(account) for account in ("111122223333", "444455556666", "777788889999")]
    linked = MarketplaceSubscription.objects.get(pk=registrations[2][1])
    services_marketplace.link(actor=actor(owner), subscription=linked, organization=subscribed)
    made = services_signup.sign_up(
        address=None,
        email=f"{'x' * 60}@{'example.' * 20}org",
        password=PASSWORD,
        first_name=long,
        last_name=long,
        organization_name=long,
        subscription=MarketplaceSubscription.objects.get(pk=registrations[0][1]),
    )
    unfinished = make_user("ida")
    late = services_signup.sign_up(
        address=None,
        email=unfinished.email,
        password=PASSWORD,
        first_name="Ida",
        last_name="Example",
        organization_name="Another",
    )
    services_signup.activate(key=activation.key_of(late), address=None)
    signed_in = Client()
    signed_in.force_login(owner)
    return {
        "activation_key": activation.key_of(made),
        "buyer_session": _with_registration(SessionStore(), registrations[0][0]),
        "buyer_registration": registrations[0][0],
        "subscriber_session": _with_registration(signed_in.session, registrations[1][0]),
        "subscriber_registration": registrations[1][0],
        "subscribed_organization": str(subscribed.pk),
        **fill_marketplace(owner, subscribed),
        "unfinished_session": _signed_in(unfinished),
        "before_terms_session": _signed_in(_before_terms("jon")),
        "before_terms_email": _before_terms("kim").email,
    }


def _registered(account: str) -> tuple[str, str]:
    """A registration and its subscription."""
    by = Actor(ActorKind.VISITOR, "AWS Marketplace buyer")
    arrival = services_marketplace.register(actor=by, token=sandbox.token_for(Purchase("sandbox-product", account)))
    registration = services_marketplace.claim(actor=by, key=arrival.claim_key)
    return str(registration.pk), str(registration.subscription_id)


def _with_registration(session: SessionBase, registration: str) -> str:
    session[CLAIMED] = [registration]
    session.save()
    return str(session.session_key)


def _signed_in(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def _before_terms(name: str) -> User:
    user = make_user(name, terms_version="2020-01-01")
    add_to_organization(Organization.objects.get(name="Subscribed"), user, OrganizationRole.MEMBER)
    return user
