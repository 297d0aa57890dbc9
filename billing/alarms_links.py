"""The links in the mails of alarms. Each is signed for one purpose and one endpoint, so the database holds nothing that
would open it, and whoever reads the mail needs no account."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core import signing
from django.urls import reverse
from django.utils import timezone

from billing.models import AlarmEndpoint, AlarmStatus
from portal.clouds.base import Target
from portal.errors import UserError

LIFETIME = timedelta(days=3)
"""How long the link to confirm works. The one to unsubscribe works for as long as there is something to end."""

_confirming = signing.Signer(salt="billing.alarms.confirm")
_leaving = signing.Signer(salt="billing.alarms.unsubscribe")


def confirm_key(endpoint: AlarmEndpoint) -> str:
    """For the mail that asks."""
    return _confirming.sign(f"{endpoint.pk}~{int(endpoint.asked_at.timestamp())}")


def unsubscribe_key(endpoint: AlarmEndpoint) -> str:
    """For each mail that tells."""
    return _leaving.sign(str(endpoint.pk))


def confirm_link(endpoint: AlarmEndpoint) -> str:
    """The whole address."""
    return settings.SITE_URL + reverse("billing:alarm_confirm", args=[confirm_key(endpoint)])


def unsubscribe_link(endpoint: AlarmEndpoint) -> str:
    """The whole address."""
    return settings.SITE_URL + reverse("billing:alarm_unsubscribe", args=[unsubscribe_key(endpoint)])


def endpoint_to_confirm(key: str) -> AlarmEndpoint:
    """The endpoint that a link asks. Raises UserError: AlarmLinkBroken, AlarmLinkExpired, AlarmLinkGone."""
    pk, _, asked_at = _opened(_confirming, key).partition("~")
    endpoint = _endpoint(pk)
    if datetime.fromtimestamp(int(asked_at), UTC) + LIFETIME <= timezone.now():
        raise UserError(
            "AlarmLinkExpired",
            f"This link does not work any more: it was good for {LIFETIME.days} days.",
            "Whoever added your address can send it again from the alarm's page.",
            status=410,
        )
    return endpoint


def endpoint_to_unsubscribe(key: str) -> AlarmEndpoint:
    """The endpoint that a link ends. Raises UserError: AlarmLinkBroken, AlarmLinkGone."""
    return _endpoint(_opened(_leaving, key))


def _opened(signer: signing.Signer, key: str) -> str:
    try:
        return signer.unsign(key)
    except signing.BadSignature:
        raise UserError(
            "AlarmLinkBroken",
            "This link does not work: it is not complete.",
            "The e-mail program may have cut it. Copy the whole link from the e-mail.",
            status=404,
        ) from None


def _endpoint(pk: str) -> AlarmEndpoint:
    rows = AlarmEndpoint.objects.select_related("alarm__configuration__organization")
    standing = rows.exclude(alarm__status=AlarmStatus.TERMINATED).exclude(alarm__target=Target.TERMINATED)
    endpoint = standing.filter(pk=UUID(pk)).first()
    if endpoint is None:
        raise UserError(
            "AlarmLinkGone",
            "There is nothing to change any more: the alarm or your address was removed.",
            "You get no mail from it. You can close this page.",
            status=410,
        )
    return endpoint
