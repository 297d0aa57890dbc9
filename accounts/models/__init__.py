"""The tables of the accounts app, a module for each subject."""

from accounts.models.audit import PLATFORM, ActorKind, AuditEvent, AuditEventQuerySet, AuditSeal
from accounts.models.impersonation import Impersonation, ImpersonationQuerySet
from accounts.models.invitations import Invitation, InvitationQuerySet, InvitationStatus
from accounts.models.marketplace import (
    MarketplaceEntitlement,
    MarketplaceNotification,
    MarketplaceRegistration,
    MarketplaceSubscription,
    MarketplaceSubscriptionQuerySet,
    NotificationOutcome,
    SubscriptionState,
)
from accounts.models.people import (
    Membership,
    MembershipQuerySet,
    Organization,
    OrganizationQuerySet,
    User,
    UserManager,
    UserQuerySet,
    named,
)
from accounts.models.signup import PendingSignup, PendingSignupQuerySet
from accounts.models.sso import (
    FormerMember,
    SsoConnection,
    SsoConnectionQuerySet,
    SsoDomain,
    SsoDomainQuerySet,
    SsoIdentity,
)
from accounts.models.tokens import ApiToken, ApiTokenQuerySet

__all__ = [
    "PLATFORM",
    "ActorKind",
    "ApiToken",
    "ApiTokenQuerySet",
    "AuditEvent",
    "AuditEventQuerySet",
    "AuditSeal",
    "FormerMember",
    "Impersonation",
    "ImpersonationQuerySet",
    "Invitation",
    "InvitationQuerySet",
    "InvitationStatus",
    "MarketplaceEntitlement",
    "MarketplaceNotification",
    "MarketplaceRegistration",
    "MarketplaceSubscription",
    "MarketplaceSubscriptionQuerySet",
    "Membership",
    "MembershipQuerySet",
    "NotificationOutcome",
    "Organization",
    "OrganizationQuerySet",
    "PendingSignup",
    "PendingSignupQuerySet",
    "SsoConnection",
    "SsoConnectionQuerySet",
    "SsoDomain",
    "SsoDomainQuerySet",
    "SsoIdentity",
    "SubscriptionState",
    "User",
    "UserManager",
    "UserQuerySet",
    "named",
]
