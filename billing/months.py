"""Calendar months, in UTC as all bills are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta


@dataclass(frozen=True)
class Month:
    """A calendar month in UTC."""

    first: date

    @classmethod
    def read(cls, text: str) -> Month | None:
        """``2026-11``; None for anything that is not a month of these times."""
        try:
            first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
        except ValueError:
            return None
        return cls(first) if 2000 <= first.year < 3000 else None

    @classmethod
    def parse(cls, text: str, today: date) -> Month:
        """``2026-11``; anything that is not a month is this month."""
        return cls.read(text) or cls.of(today)

    @classmethod
    def of(cls, day: date) -> Month:
        """The month that a day is in."""
        return cls(day.replace(day=1))

    @property
    def start(self) -> datetime:
        """The first instant."""
        return midnight(self.first)

    @property
    def end(self) -> datetime:
        """The first instant after it."""
        return self.next.start

    @property
    def next(self) -> Month:
        """The month after."""
        return Month((self.first + timedelta(days=32)).replace(day=1))

    @property
    def previous(self) -> Month:
        """The month before."""
        return Month((self.first - timedelta(days=1)).replace(day=1))

    def days(self) -> list[date]:
        """All its days."""
        return [self.first + timedelta(days=n) for n in range((self.next.first - self.first).days)]

    def __str__(self) -> str:
        return self.first.strftime("%Y-%m")


def midnight(day: date) -> datetime:
    """The first instant of a day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
