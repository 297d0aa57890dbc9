"""Single sign-on: its settings, its domains, and who comes in through it. The rules are in ``accounts.sso``."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit, letters, services, services_joining, services_security, sso
from accounts.addresses import clean_email
from accounts.audit import Actor
from accounts.forms import clean_name
from accounts.models import (
    FormerMember,
    Invitation,
    Membership,
    Organization,
    SsoConnection,
    SsoDomain,
    SsoIdentity,
    User,
)
from accounts.oidc import Claims
from accounts.permissions import OrganizationRole, Perm
from accounts.standing import demand, lock_roles
from accounts.tokens import hash_of
from portal.errors import UserError


class SsoRefusedError(UserError):
    """The provider did its part; we do not let the person in."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(code, message, hint, status=403)


# --- settings -------------------------------------------------------------------------------------------------------


@transaction.atomic
def save_provider(
    *, actor: Actor, organization: Organization, issuer: str, client_id: str, client_secret: str
) -> SsoConnection:
    """Name the organization's provider. An empty secret keeps the one there is.

    Another issuer means other people by its subjects: whom the old one named is forgotten. Raises
    PermissionNeededError, UserError(SecretMissing).
    """
    row = _permitted(actor, organization)
    connection = SsoConnection.objects.filter(organization=row).first() or SsoConnection(organization=row)
    before = _facts(connection)
    secret_changed = bool(client_secret) and client_secret != connection.client_secret
    if not client_secret and (not connection.sealed_secret or issuer != connection.issuer):
        raise UserError("SecretMissing", "Enter the client secret.", "The provider shows it where the client is made.")
    forgotten = 0
    if connection.issuer != issuer and not connection._state.adding:
        forgotten = connection.identities.all().delete()[0]
    connection.issuer, connection.client_id = issuer, client_id
    if secret_changed:
        connection.client_secret = client_secret
    connection.save()
    audit.record(
        actor,
        "sso_connection.save",
        connection,
        organization=row,
        before=before,
        after=_facts(connection),
        secret_changed=secret_changed,
        people_forgotten=forgotten,
    )
    return connection


@transaction.atomic
def set_policy(*, actor: Actor, connection: SsoConnection, enabled: bool, enforced: bool, joins: bool) -> int:
    """Say whether people may sign in through the provider, whether they must, and whether newcomers become members.

    Where it becomes a must, sessions of those who came in another way end; returns how many. Raises
    PermissionNeededError, UserError(NoDomain, NotEnabled).
    """
    row = _permitted(actor, connection.organization)
    connection.refresh_from_db()
    if enforced and not enabled:
        raise UserError("NotEnabled", "What is off cannot be the only way in.", "Switch single sign-on on as well.")
    if enabled and not connection.domains.approved().exists():
        raise UserError("NoDomain", "No domain is approved yet.", "The operator of this portal approves domains.")
    before = _facts(connection)
    begins = enforced and not connection.enforced
    connection.enabled, connection.enforced, connection.joins = enabled, enforced, joins
    connection.save(update_fields=["enabled", "enforced", "joins"])
    ended = _sessions_of_another_way(connection) if begins else []
    services_security.end_sessions(actor=actor, sessions=ended)
    audit.record(
        actor,
        "sso_connection.set_policy",
        connection,
        organization=row,
        before=before,
        after=_facts(connection),
        sessions_ended=len(ended),
    )
    return len(ended)


@transaction.atomic
def remove_connection(*, actor: Actor, connection: SsoConnection) -> None:
    """Forget a provider, its domains and whom it named. The people stay; those without a password can choose one
    through the link for lost ones. Raises PermissionNeededError."""
    row = _permitted(actor, connection.organization)
    audit.record(actor, "sso_connection.remove", connection, organization=row, before=_facts(connection))
    connection.delete()


@transaction.atomic
def request_domain(*, actor: Actor, connection: SsoConnection, domain: str) -> SsoDomain:
    """Ask to speak for a domain (as ``sso.clean_domain`` gives it). Raises PermissionNeededError,
    UserError(DomainAsked, DomainTaken)."""
    row = _permitted(actor, connection.organization)
    if SsoDomain.objects.approved().filter(domain=domain).exclude(connection=connection).exists():
        raise UserError("DomainTaken", f"Another organization speaks for {domain}.", "Ask the operator of this portal.")
    asked, created = SsoDomain.objects.get_or_create(connection=connection, domain=domain)
    if not created:
        raise UserError("DomainAsked", f"{domain} is in the list already.", "")
    audit.record(actor, "sso_domain.request", asked, organization=row)
    return asked


@transaction.atomic
def remove_domain(*, actor: Actor, domain: SsoDomain) -> None:
    """Speak for a domain no longer. With the last approved one, single sign-on is off. Raises
    PermissionNeededError."""
    connection = domain.connection
    row = _permitted(actor, connection.organization)
    audit.record(actor, "sso_domain.remove", domain, organization=row, approved=domain.approved_at is not None)
    domain.delete()
    _switch_off_without_domains(connection)


@transaction.atomic
def approve_domain(*, actor: Actor, domain: SsoDomain) -> None:
    """The operator has seen proof that a domain is the organization's. Raises UserError(DomainTaken, DomainGone)."""
    organization = lock_roles(domain.connection.organization)
    if domain.approved_at:
        return
    now = timezone.now()
    try:
        with transaction.atomic():
            waiting = SsoDomain.objects.filter(pk=domain.pk, approved_at=None)
            changed = waiting.update(approved_at=now, approved_by=actor.user)
    except IntegrityError:
        raise UserError(
            "DomainTaken", f"Another organization speaks for {domain} already.", "Withdraw that approval first."
        ) from None
    if not changed:
        raise UserError("DomainGone", f"{organization} no longer asks for {domain}.", "Reload the list.")
    domain.approved_at = now
    audit.record(actor, "sso_domain.approve", domain, organization=organization)
    letters.domain_approved(organization=organization, domain=domain.domain)


@transaction.atomic
def withdraw_approval(*, actor: Actor, domain: SsoDomain) -> None:
    """The operator no longer believes it."""
    organization = lock_roles(domain.connection.organization)
    if SsoDomain.objects.filter(pk=domain.pk).exclude(approved_at=None).update(approved_at=None, approved_by=None):
        audit.record(actor, "sso_domain.withdraw_approval", domain, organization=organization)
        _switch_off_without_domains(domain.connection)


def _permitted(actor: Actor, organization: Organization) -> Organization:
    row = lock_roles(organization)
    demand(actor, Perm.ORG_MANAGE, row)
    return row


def _facts(connection: SsoConnection) -> dict[str, object]:
    names = ("issuer", "client_id", "enabled", "enforced", "joins")
    return {} if connection._state.adding else {name: getattr(connection, name) for name in names}


def _switch_off_without_domains(connection: SsoConnection) -> None:
    if not connection.domains.approved().exists():
        SsoConnection.objects.filter(pk=connection.pk).update(enabled=False, enforced=False)


def _sessions_of_another_way(connection: SsoConnection) -> list[UserSession]:
    domains = set(connection.domains.approved().values_list("domain", flat=True))
    members = Membership.objects.in_organization(connection.organization).exclude(role=OrganizationRole.OWNER)
    users = [member.user_id for member in members if sso.domain_of(member.user.email) in domains]
    sessions = UserSession.objects.filter(user__in=users).select_related("user")
    return [each for each in sessions if not sso.began_through(each, connection.organization)]


# --- people ---------------------------------------------------------------------------------------------------------


@transaction.atomic
def admit(*, connection: SsoConnection, claims: Claims, address: str | None, invitation: str = "") -> User:
    """Whom the provider named: a member, or somebody new who becomes one. Whether they may sign in at all (locked,
    inactive) is for the sign-in to say, as after any other way.

    ``invitation`` is the token of one to this organization that they came with, and join by. Raises SsoRefusedError,
    and UserError as ``services_joining.accept_invitation`` does.
    """
    organization = lock_roles(connection.organization)
    email = _email(connection, claims)
    identity = SsoIdentity.objects.filter(connection=connection, subject=claims.subject).select_related("user").first()
    user = identity.user if identity else User.objects.filter(email=email).first()
    invited = Invitation.objects.in_organization(organization).filter(token_hash=hash_of(invitation)).exists()
    if user is None:
        if not invited:
            _demand_joins(connection)
        user = _new_user(claims, email)
        audit.record(audit.person(user, address), "user.create", user, organization=organization, by="single sign-on")
    actor = audit.person(user, address)
    if user.is_staff or user.is_superuser:
        raise SsoRefusedError(
            "StaffAccount",
            f"{email} is an account of the operator's staff.",
            "Staff sign in with a password and a second factor: no customer's provider speaks for them.",
        )
    if not Membership.objects.filter(organization=organization, user=user).exists():
        _demand_may_join(connection, user, invited=invited)
        if invited:
            services_joining.accept_invitation(actor=actor, token=invitation)
        else:
            services.add_member(actor=actor, organization=organization, user=user, role=OrganizationRole.MEMBER)
    if identity is None:
        identity = SsoIdentity.objects.create(connection=connection, subject=claims.subject, user=user)
        audit.record(actor, "sso_identity.link", identity, organization=organization, named=claims.subject)
    SsoIdentity.objects.filter(pk=identity.pk).update(last_used_at=timezone.now())
    return user


def _email(connection: SsoConnection, claims: Claims) -> str:
    """The address that the provider vouches for, if it may."""
    try:
        email = clean_email(claims.email)
    except ValidationError:
        raise SsoRefusedError(
            "NoEmail",
            "Your provider did not say which e-mail address is yours.",
            "Whoever manages it has to release the claim “email” to this portal.",
        ) from None
    if claims.email_verified is False:
        raise SsoRefusedError(
            "EmailNotVerified",
            f"Your provider is not sure that {email} is yours.",
            "Confirm the address there, then sign in again.",
        )
    approved = connection.domains.approved().filter(domain=sso.domain_of(email))
    if not (SsoConnection.objects.filter(pk=connection.pk, enabled=True).exists() and approved.exists()):
        raise SsoRefusedError(
            "ForeignDomain",
            f"The provider of {connection.organization} cannot speak for {email}.",
            "Sign in with an address of one of its domains, or with your password.",
        )
    return email


def _demand_joins(connection: SsoConnection) -> None:
    if not connection.joins:
        raise SsoRefusedError(
            "NotAMember",
            f"You are not a member of {connection.organization}.",
            "Ask its owners or admins for an invitation, then sign in again.",
        )


def _demand_may_join(connection: SsoConnection, user: User, *, invited: bool) -> None:
    """What a provider cannot do: bring back who was removed, or sign in as somebody of another organization. An
    invitation brings back; but that it makes nobody sign in as somebody else, their own password has to say."""
    organization = connection.organization
    ask = f"Ask the owners or admins of {organization} for an invitation, then sign in again."
    if not invited and FormerMember.objects.filter(organization=organization, user=user).exists():
        raise SsoRefusedError("FormerMember", f"You are not a member of {organization} any more.", ask)
    if Membership.objects.of(user).exists():
        raise SsoRefusedError(
            "MemberElsewhere",
            f"There is an account for {user.email}, which belongs to other organizations than {organization}.",
            f"{ask} You accept it with that account, signed in with its password.",
        )
    if not invited:
        _demand_joins(connection)


def _new_user(claims: Claims, email: str) -> User:
    user = User.objects.create_user(
        email, first_name=_name(claims.first_name) or email.partition("@")[0][:100], last_name=_name(claims.last_name)
    )
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    return user


def _name(text: str) -> str:
    """A name as the provider has it, where it is one that we would take."""
    try:
        return clean_name(text[:100])
    except ValidationError:
        return ""
