"""Cron expressions: five fields, a time zone, and what daylight saving does to them.

As in Debian's cron: a job at a fixed time that the clock jumps over runs right after the jump, and one in the hour that
comes twice runs once; ``*`` and steps in the minute or hour go by the time that really passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from portal.errors import UserError

SHOWN = 10
HORIZON = timedelta(days=366 * 8)
"""Where no fire lies within eight years (29 February skips 2100), there is none."""


@dataclass(frozen=True)
class Fire:
    """One fire: when it is in UTC and on the schedule's own clock, and what the clock does around it."""

    at: datetime
    local: datetime
    note: str = ""

    @property
    def clock(self) -> str:
        """What the schedule's own clock shows; a template would turn it into UTC."""
        return f"{self.local:%a %d %b %Y, %H:%M}"


@lru_cache(maxsize=1)
def time_zones() -> list[str]:
    """The time zones to choose from."""
    return sorted(
        name for name in available_timezones() if name == "UTC" or ("/" in name and not name.startswith("Etc/"))
    )


def zone(name: str) -> ZoneInfo:
    """A time zone by its name. Raises UserError(TimeZoneUnknown)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UserError(
            "TimeZoneUnknown", f"There is no time zone {name[:64]}.", "Choose one such as Europe/Berlin.", status=422
        ) from None


def check(expression: str) -> str:
    """The expression with single spaces. Raises UserError(CronInvalid)."""
    words = expression.split()
    hint = "Write five fields: minute, hour, day of the month, month, day of the week; such as 30 2 * * MON-FRI."
    if len(words) != 5:
        raise UserError("CronInvalid", f"There are {len(words)} fields where five belong.", hint, status=422)
    try:
        CronSim(" ".join(words), datetime.now(UTC))
    except (CronSimError, ValueError, RecursionError) as error:
        raise UserError("CronInvalid", f"{error or 'It cannot be read'}.", hint, status=422) from None
    return " ".join(words)


def fires(expression: str, zone_name: str, after: datetime) -> Iterator[datetime]:
    """The fires after a moment, in UTC, each later than the one before; ends where none lies ahead."""
    where = zone(zone_name)
    last = after
    try:
        for local in CronSim(expression, after.astimezone(where)):
            at = local.astimezone(UTC)
            if at - after > HORIZON:
                return
            if at > last:
                last = at
                yield at
    except StopIteration:
        return


def next_fire(expression: str, zone_name: str, after: datetime) -> datetime | None:
    """The first fire after a moment; None where there is none."""
    return next(fires(expression, zone_name, after), None)


def preview(expression: str, zone_name: str, after: datetime, count: int = SHOWN) -> list[Fire]:
    """The next fires, as a page shows them."""
    where = zone(zone_name)
    return [_shown(at.astimezone(where)) for at in islice(fires(expression, zone_name, after), count)]


def _shown(local: datetime) -> Fire:
    day = timedelta(days=1)
    before, now, after = (moment.utcoffset() for moment in (local - day, local, local + day))
    note = ""
    if local.fold or (local.replace(fold=1).utcoffset() != now):
        note = "This time comes twice that day, as the clock is set back; it runs once."
    elif before is not None and now is not None and before != now:
        note = "The clock was set {} since the day before.".format("forward" if now > before else "back")
    elif after is not None and now is not None and after != now:
        note = "The clock is set {} before the next day's time.".format("forward" if after > now else "back")
    return Fire(local.astimezone(UTC), local, note)
