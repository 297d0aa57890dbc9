"""What an hour of an instance costs, since when, and until when. What has been in force stays as it was."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit
from accounts.audit import Actor
from billing.models import Rate
from portal.errors import UserError
from workspaces.models import Provider, Workspace

COLUMNS = ("provider", "instance_type", "hourly", "valid_from", "valid_to")
MOST = Decimal(100_000)
"""US dollars: above this a price is taken for a slip."""


def hourly_at(provider: str, instance_type: str, at: datetime) -> Decimal | None:
    """US dollars for one instance and hour at a time: its rate, else ``PORTAL_DEFAULT_HOURLY``, else None."""
    valid = Q(valid_to=None) | Q(valid_to__gt=at)
    rate = Rate.objects.filter(valid, provider=provider, instance_type=instance_type, valid_from__lte=at).first()
    return rate.hourly if rate else settings.PORTAL_DEFAULT_HOURLY


def hourly_now(workspace: Workspace, instance_types: Iterable[str]) -> Mapping[str, Decimal | None]:
    """What ``hourly_at`` says of many types in a workspace now, by one question."""
    now = timezone.now()
    valid = Q(valid_to=None) | Q(valid_to__gt=now)
    rates = Rate.objects.filter(valid, provider=workspace.cloud_configuration.provider, valid_from__lte=now)
    found = dict(rates.values_list("instance_type", "hourly"))
    return {name: found.get(name, settings.PORTAL_DEFAULT_HOURLY) for name in instance_types}


class Prices:
    """All rates, read once: for many questions in a row."""

    def __init__(self) -> None:
        self._rates: dict[tuple[str, str], list[Rate]] = defaultdict(list)
        for rate in Rate.objects.order_by("-valid_from"):
            self._rates[rate.provider, rate.instance_type].append(rate)

    def hourly_at(self, provider: str, instance_type: str, at: datetime) -> Decimal | None:
        """As the function of this name."""
        for rate in self._rates[provider, instance_type]:
            if rate.valid_from <= at and (rate.valid_to is None or rate.valid_to > at):
                return rate.hourly
        return settings.PORTAL_DEFAULT_HOURLY


def refuse_unpriced(workspace: Workspace, instance_type: str) -> None:
    """Nobody starts what nobody could charge. Raises UserError(NoRate)."""
    provider = workspace.cloud_configuration.provider
    if hourly_at(provider, instance_type, timezone.now()) is None:
        raise UserError(
            "NoRate",
            f"There is no price for {instance_type} on {provider}, so it cannot be started.",
            "Choose another instance type, or ask the operator of this portal to add a rate for it.",
        )


@transaction.atomic
def put(
    *,
    actor: Actor,
    provider: str,
    instance_type: str,
    hourly: Decimal,
    valid_from: datetime,
    valid_to: datetime | None = None,
) -> tuple[Rate, bool]:
    """A price from a time on, and whether that changed anything.

    It ends where the next one begins, and ends the one before it. A price that has not begun can be put again. Raises
    UserError(RateInForce) for what would change a time that is over, and UserError(RateOverlaps).
    """
    with connection.cursor() as cursor:  # of two at once, the second sees what the first has put
        cursor.execute("LOCK TABLE billing_rate IN SHARE ROW EXCLUSIVE MODE")
    now = timezone.now()
    same = Rate.objects.select_for_update().filter(provider=provider, instance_type=instance_type)
    name = f"{instance_type} on {provider}"
    old = same.filter(valid_from=valid_from).first()
    if old and old.hourly == hourly and (valid_to is None or valid_to == old.valid_to):
        return old, False
    if old and valid_from <= now:
        raise UserError(
            "RateInForce",
            f"{name} costs {old.hourly.normalize():f} USD since {valid_from:%Y-%m-%d %H:%M} UTC, and that was charged.",
            "Give the new price a time to come.",
        )
    following = same.filter(valid_from__gt=valid_from).order_by("valid_from").first()
    if following and valid_to and valid_to > following.valid_from:
        raise UserError(
            "RateOverlaps",
            f"Another price of {name} begins at {following.valid_from:%Y-%m-%d %H:%M} UTC, before this one ends.",
            "Let this one end there, or leave its end open.",
        )
    if following and valid_to is None:
        valid_to = following.valid_from
    current = same.filter(Q(valid_to=None) | Q(valid_to__gt=valid_from), valid_from__lt=valid_from).first()
    if current and valid_from <= now:
        raise UserError(
            "RateInForce",
            f"At {valid_from:%Y-%m-%d %H:%M} UTC {name} had a price already, {current.hourly.normalize():f} USD.",
            "Give the new price a time to come.",
        )
    if current:
        before, current.valid_to = current.valid_to, valid_from
        current.save(update_fields=["valid_to"])
        _record(
            actor, "rate.update", current, before={"valid_to": _text(before)}, after={"valid_to": _text(valid_from)}
        )
    rate = old or Rate(provider=provider, instance_type=instance_type, valid_from=valid_from)
    before_hourly = {"before": {"hourly": str(old.hourly), "valid_to": _text(old.valid_to)}} if old else {}
    rate.hourly, rate.valid_to = hourly, valid_to
    rate.save()
    after = {"hourly": str(hourly), "valid_from": _text(valid_from), "valid_to": _text(valid_to)}
    _record(actor, "rate.update" if old else "rate.create", rate, **before_hourly, after=after)
    return rate, True


@dataclass(frozen=True)
class Loaded:
    """How many lines of a file changed something, and how many said what was known."""

    changed: int
    same: int


@dataclass(frozen=True)
class _Line:
    number: int
    provider: str
    instance_type: str
    hourly: Decimal
    valid_from: datetime
    valid_to: datetime | None


@transaction.atomic
def load(lines: Iterable[str], *, actor: Actor) -> Loaded:
    """Put every price of a CSV file with the columns ``COLUMNS``, or none. Loading it again changes nothing.

    Times are UTC; a date is its midnight. Raises UserError(RatesNotLoaded) that names each line and what is wrong.
    """
    reader = csv.DictReader(lines)
    missing = [column for column in COLUMNS[:4] if column not in (reader.fieldnames or [])]
    if missing:
        raise UserError(
            "RatesNotLoaded",
            f"The first line has to name the columns; there is no {', '.join(missing)}.",
            f"It is: {','.join(COLUMNS)}",
        )
    wrong: list[str] = []
    found: list[_Line] = []
    for row in reader:
        try:
            found.append(_parse(reader.line_num, row))
        except ValueError as error:
            wrong.append(f"line {reader.line_num}: {error}")
    changed = 0
    for line in sorted(found, key=lambda line: (line.valid_from, line.number)):
        try:
            with transaction.atomic():
                _, new = put(
                    actor=actor,
                    provider=line.provider,
                    instance_type=line.instance_type,
                    hourly=line.hourly,
                    valid_from=line.valid_from,
                    valid_to=line.valid_to,
                )
            changed += new
        except UserError as error:
            wrong.append(f"line {line.number}: {error.message} {error.hint}")
    if wrong:
        raise UserError("RatesNotLoaded", "Nothing was loaded.", "\n".join(wrong))
    return Loaded(changed, len(found) - changed)


def _parse(number: int, row: dict[str, str | None]) -> _Line:
    """One line. Raises ValueError with a sentence."""
    values = {name: (row.get(name) or "").strip() for name in COLUMNS}
    if values["provider"] not in Provider.values:
        raise ValueError(f"the provider is one of {', '.join(Provider.values)}")
    if not 0 < len(values["instance_type"]) <= 60:
        raise ValueError("the instance type has 1 to 60 characters")
    try:
        hourly = Decimal(values["hourly"])
    except InvalidOperation:
        raise ValueError(f"{values['hourly'] or 'nothing'} is not a price in US dollars per hour") from None
    if not (hourly.is_finite() and 0 <= hourly < MOST and hourly == hourly.quantize(Decimal("0.000001"))):
        raise ValueError(f"the price is from 0 to {MOST} US dollars, with at most six decimal places")
    valid_from, valid_to = _time(values["valid_from"]), _time(values["valid_to"]) if values["valid_to"] else None
    if valid_to and valid_to <= valid_from:
        raise ValueError("it has to end after it begins")
    return _Line(number, values["provider"], values["instance_type"], hourly, valid_from, valid_to)


def _time(text: str) -> datetime:
    try:
        if len(text) == len("2026-01-01"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text or 'nothing'} is not a time like 2026-01-31 or 2026-01-31T12:00Z") from None


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _record(actor: Actor, verb: str, rate: Rate, **detail: Any) -> None:
    audit.record(actor, verb, rate, organization=None, **detail)
