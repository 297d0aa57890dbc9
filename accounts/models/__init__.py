"""The tables of the accounts app, a module for each subject."""

from accounts.models.audit import PLATFORM, ActorKind, AuditEvent, AuditEventQuerySet, AuditSeal
from accounts.models.impersonation import Impersonation, ImpersonationQuerySet
from accounts.models.people import (
    Membership,
    MembershipQuerySet,
    Organization,
    OrganizationQuerySet,
    User,
    UserManager,
    UserQuerySet,
)

__all__ = [
    "PLATFORM",
    "ActorKind",
    "AuditEvent",
    "AuditEventQuerySet",
    "AuditSeal",
    "Impersonation",
    "ImpersonationQuerySet",
    "Membership",
    "MembershipQuerySet",
    "Organization",
    "OrganizationQuerySet",
    "User",
    "UserManager",
    "UserQuerySet",
]
