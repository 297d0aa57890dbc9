"""API tokens: made once, shown once, never wider than who made them, and dead when they should be."""

from __future__ import annotations

import hashlib
import itertools
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import IntegrityError, connection, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts import services_organizations, services_people, services_tokens, tokens
from accounts.models import ApiToken, AuditEvent, Membership, Organization, User
from accounts.permissions import OrganizationRole, Perm, WorkspaceRole, organization_permissions
from accounts.services_tokens import NewToken
from portal.errors import UserError
from tests.factories import (
    SECRET,
    actor,
    add_to_organization,
    add_to_workspace,
    make_organization,
    make_token,
    make_user,
    make_workspace,
    stay_away,
)
from tests.fakes import Clock

pytestmark = pytest.mark.django_db
OTHER = "bodo_secret_" + "00" * 32
_hosts = itertools.count(1)


@pytest.fixture
def address() -> str:
    """Each test from another one, as failures are counted by address."""
    return f"10.240.{next(_hosts) // 250}.{next(_hosts) % 250}"


@pytest.fixture
def alice() -> User:
    return make_user("alice")


@pytest.fixture
def acme(alice: User) -> Organization:
    return make_organization(alice, "Acme")


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def make(by: User, organization: Organization, **changes: Any) -> NewToken:
    values: dict[str, Any] = {
        "pk": uuid.uuid4(),
        "name": "nightly",
        "role": OrganizationRole.ADMIN,
        "expires_at": datetime.now(UTC) + timedelta(days=30),
        **changes,
    }
    return services_tokens.create_token(actor=actor(by), organization=organization, **values)


def enter(client_id: str, secret: str = SECRET, address: str | None = None) -> tokens.Identity:
    return tokens.authenticate(client_id=client_id, secret=secret, address=address)


def refusal(client_id: str, secret: str = SECRET, address: str | None = None) -> UserError:
    with pytest.raises(UserError) as raised:
        enter(client_id, secret, address)
    return raised.value


# --- how they look --------------------------------------------------------------------------------------------------


def test_a_token_is_recognised_by_scanners_and_its_secret_is_not_kept(alice: User, acme: Organization) -> None:
    new = make(alice, acme)
    assert re.fullmatch(r"bodo_id_[0-9a-f]{24}", new.token.client_id)
    assert re.fullmatch(r"bodo_secret_[0-9a-f]{64}", new.secret)  # 256 bits
    assert new.secret not in repr(new)
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text FROM accounts_apitoken t")
        (row,) = cursor.fetchone()
    assert new.secret.removeprefix("bodo_secret_") not in row
    assert hashlib.sha256(new.secret.encode()).hexdigest() in row
    assert new.token.secret_end == new.secret[-4:]


def test_no_two_are_alike() -> None:
    assert len({tokens.new_client_id() for _ in range(100)}) == len({tokens.new_secret() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("scoped", "role"), [(False, "BodoAdmin"), (True, "OWNER"), (True, "MEMBER"), (False, "nonsense"), (True, "")]
)
def test_the_database_refuses_a_role_of_the_other_scope(
    alice: User, acme: Organization, scoped: bool, role: str
) -> None:
    place = {"workspace": make_workspace(acme)} if scoped else {}
    with pytest.raises(IntegrityError, match="api_token_role_of_scope"), transaction.atomic():
        make_token(alice, acme, role=role, **place)


# --- coming with one ------------------------------------------------------------------------------------------------


def test_who_comes_with_a_token(alice: User, acme: Organization, address: str) -> None:
    token = make_token(alice, acme)
    identity = enter(token.client_id, address=address)
    assert (identity.token, identity.organization, identity.workspace) == (token, acme, None)
    assert identity.permissions == organization_permissions("ADMIN")
    assert (identity.actor.kind, identity.actor.address) == ("token", address)
    assert token.name in identity.actor.label
    assert token.client_id in identity.actor.label


WRONG = [
    *("", "x", "\0", "bodo_id_", "\udcff", "bodo_id_" + "é" * 24, "bodo_id_" + "0" * 24, "bodo_id_" + "0" * 10_000),
    "' OR 1=1 --",
]


@pytest.mark.parametrize("client_id", WRONG, ids=lambda value: ascii(value)[:20])
def test_an_unknown_token_is_answered_as_one_with_a_wrong_secret(
    alice: User, acme: Organization, client_id: str, address: str
) -> None:
    known = make_token(alice, acme)
    answers = [
        refusal(client_id, SECRET, address),
        refusal(known.client_id, OTHER, address),
        refusal(known.client_id, "", address),
        refusal(known.client_id, "\udcff\0", address),
    ]
    assert len({(error.code, error.message, error.hint, error.status) for error in answers}) == 1
    assert (answers[0].code, answers[0].status) == ("InvalidCredentials", 401)


def test_without_its_secret_nobody_learns_how_a_token_stands(alice: User, acme: Organization, address: str) -> None:
    now = datetime.now(UTC)
    for state in ({"revoked_at": now}, {"expires_at": now}, {"created_by": None}):
        token = make_token(alice, acme)
        ApiToken.objects.filter(pk=token.pk).update(**state)
        assert refusal(token.client_id, OTHER, address).code == "InvalidCredentials"
        assert refusal(token.client_id, SECRET, address).code != "InvalidCredentials"


def test_unknown_ids_cost_a_comparison_too(
    alice: User, acme: Organization, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr("hmac.compare_digest", compare)
    refusal("bodo_id_" + "0" * 24, SECRET, address)
    refusal(make_token(alice, acme).client_id, SECRET, address)
    assert len(compared) == 2


def test_a_revoked_token_is_dead_at_once(alice: User, acme: Organization) -> None:
    token = make_token(alice, acme)
    enter(token.client_id)
    assert services_tokens.revoke_token(actor=actor(alice), token=token)
    assert refusal(token.client_id).code == "TokenRevoked"
    assert not services_tokens.revoke_token(actor=actor(alice), token=token)
    assert AuditEvent.objects.filter(verb="api_token.revoke").count() == 1


def test_a_token_ends_at_the_moment_it_says(alice: User, acme: Organization, clock: Clock) -> None:
    token = make_token(alice, acme, expires_at=clock() + timedelta(days=7))
    clock.move(days=7, microseconds=-1)
    enter(token.client_id)
    clock.move(microseconds=1)
    error = refusal(token.client_id)
    assert (error.code, error.status) == ("TokenExpired", 401)


def test_a_token_without_end_goes_on(alice: User, acme: Organization, clock: Clock) -> None:
    token = make_token(alice, acme, expires_at=None)
    clock.move(days=80)
    enter(token.client_id)


def test_the_last_use_is_noted_once_a_minute(alice: User, acme: Organization, clock: Clock) -> None:
    token = make_token(alice, acme)

    def noted(address: str) -> tuple[datetime | None, str | None]:
        enter(token.client_id, SECRET, address)
        return ApiToken.objects.values_list("last_used_at", "last_used_address").get(pk=token.pk)

    first = clock()
    assert noted("10.0.0.1") == (first, "10.0.0.1")
    clock.move(seconds=60)
    assert noted("10.0.0.2") == (first, "10.0.0.1")
    clock.move(microseconds=1)
    assert noted("10.0.0.3") == (clock(), "10.0.0.3")


def test_two_uses_at_once_are_noted_as_one_and_the_next_writes_nothing(
    alice: User, acme: Organization, clock: Clock, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    token = make_token(alice, acme)
    enter(token.client_id, SECRET, "10.0.0.1")
    tokens._note_use(token, "10.0.0.2", clock())  # which knew nothing of the first
    assert ApiToken.objects.get(pk=token.pk).last_used_address == "10.0.0.1"
    with django_assert_num_queries(2):  # the token with its maker, and the maker's role
        enter(token.client_id, SECRET, "10.0.0.2")


# --- never more than its maker --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", OrganizationRole)
@pytest.mark.parametrize("now", OrganizationRole)
def test_a_token_can_do_what_both_it_and_its_maker_can(role: OrganizationRole, now: OrganizationRole) -> None:
    maker, organization = make_user(), make_organization()
    add_to_organization(organization, maker, now)
    token = make_token(maker, organization, role=role)
    assert enter(token.client_id).permissions == organization_permissions(role) & organization_permissions(now)


def test_a_maker_who_is_locked_locks_their_tokens(alice: User, acme: Organization) -> None:
    token = make_token(alice, acme)
    stay_away(alice, days=91)
    error = refusal(token.client_id)
    assert (error.code, error.status) == ("UserLocked", 403)
    assert error.message == "User is locked out. To unlock user, please contact your administrators"
    stay_away(alice, days=89)
    enter(token.client_id)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert refusal(token.client_id).code == "UserLocked"


def test_using_a_token_is_no_sign_in(alice: User, acme: Organization) -> None:
    stay_away(alice, days=80)
    before = User.objects.values().get(pk=alice.pk)
    enter(make_token(alice, acme).client_id)
    assert User.objects.values().get(pk=alice.pk) == before


def test_a_maker_who_is_gone_leaves_nothing(alice: User, acme: Organization) -> None:
    outside, deleted = make_token(alice, acme), make_token(alice, acme)
    Membership.objects.filter(user=alice).delete()
    ApiToken.objects.filter(pk=deleted.pk).update(created_by=None)
    for token in (outside, deleted):
        error = refusal(token.client_id)
        assert (error.code, error.status) == ("TokenWithoutAccess", 403)


def test_leaving_an_organization_revokes_what_one_made_there_and_only_that(alice: User, acme: Organization) -> None:
    bob, elsewhere = make_user("bob"), make_organization(alice)
    add_to_organization(acme, bob, OrganizationRole.OWNER)
    workspace = make_workspace(acme)
    gone = [make_token(alice, acme), make_token(alice, acme, workspace=workspace)]
    kept = [make_token(bob, acme), make_token(alice, elsewhere)]
    services_people.remove_member(actor=actor(bob), organization=acme, user=alice)
    for token in gone:
        assert refusal(token.client_id).code == "TokenRevoked"  # and who comes back makes new ones
    for token in kept:
        enter(token.client_id)
    events = AuditEvent.objects.filter(verb="api_token.revoke")
    assert {event.actor_user for event in events} == {bob}
    assert len(events) == 2


def test_deleting_an_organization_revokes_its_tokens(alice: User, acme: Organization) -> None:
    token = make_token(alice, acme)
    services_organizations.delete_organization(actor=actor(alice), organization=acme)
    assert refusal(token.client_id).code == "TokenRevoked"


@pytest.mark.parametrize("role", ["OWNER", "ADMIN", "BILLING", "MEMBER"])
def test_a_token_of_an_organization_acts_in_workspaces_as_its_role_would(
    alice: User, acme: Organization, role: str
) -> None:
    inside, outside = make_workspace(acme), make_workspace(make_organization(alice))
    identity = enter(make_token(alice, acme, role=role).client_id)
    may = identity.permissions_in(inside.pk)
    assert (Perm.WS_MANAGE in may) == (role in {"OWNER", "ADMIN"})
    assert bool(may) == (role in {"OWNER", "ADMIN"})
    assert identity.permissions_in(outside.pk) == frozenset()  # its maker owns that one, too
    assert identity.permissions_in(uuid.uuid4()) == frozenset()
    Membership.objects.filter(user=alice, organization=acme).update(role=OrganizationRole.MEMBER)
    assert identity.permissions_in(inside.pk) == frozenset()
    add_to_workspace(inside, alice, WorkspaceRole.VIEWER)
    assert identity.permissions_in(inside.pk) == ({Perm.WS_VIEW} if role in {"OWNER", "ADMIN"} else frozenset())


# --- guessing -------------------------------------------------------------------------------------------------------


def test_guessing_is_slowed_down_for_whoever_guesses_and_for_nobody_else(
    alice: User, acme: Organization, address: str
) -> None:
    token, other = make_token(alice, acme), make_token(alice, acme)
    for _ in range(10):
        assert refusal(token.client_id, OTHER, address).code == "InvalidCredentials"
    error = refusal(token.client_id, SECRET, address)
    assert (error.code, error.status) == ("TooManyAttempts", 429)
    enter(other.client_id, SECRET, address)
    enter(token.client_id, SECRET, "10.239.0.1")  # the program that has the secret is not locked out by a stranger


def test_guessing_ids_is_slowed_down_too(alice: User, acme: Organization, address: str) -> None:
    token = make_token(alice, acme)
    for number in range(100):
        assert refusal(f"bodo_id_{number:024}", OTHER, address).code == "InvalidCredentials"
    assert refusal(token.client_id, SECRET, address).code == "TooManyAttempts"


def test_unknown_ids_are_limited_as_known_ones_are(address: str) -> None:
    unknown = "bodo_id_" + "0" * 24
    for _ in range(10):
        refusal(unknown, OTHER, address)
    assert refusal(unknown, OTHER, address).code == "TooManyAttempts"


def test_what_is_right_is_not_counted(alice: User, acme: Organization, address: str) -> None:
    token = make_token(alice, acme)
    for _ in range(30):
        enter(token.client_id, SECRET, address)


def test_counts_end_by_themselves(address: str) -> None:
    unknown = "bodo_id_" + "0" * 24
    refusal(unknown, OTHER, address)
    connected = cache._cache.get_client(write=True)  # type: ignore[attr-defined]
    keys = [key for key in connected.keys("*token-failures*") if address.encode() in key]
    assert len(keys) == 2
    assert all(0 < connected.ttl(key) <= 60 for key in keys)


def test_tokens_work_while_the_cache_is_away(
    alice: User, acme: Organization, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise RedisConnectionError("away")

    for name in ("get_many", "add", "incr"):
        monkeypatch.setattr(cache, name, away)
    enter(make_token(alice, acme).client_id, SECRET, address)
    assert refusal("bodo_id_" + "0" * 24, OTHER, address).code == "InvalidCredentials"
