"""What the scheduler does every few seconds. One organization that fails keeps no other from being reported."""

from __future__ import annotations

from billing.marketplace import hours as records
from billing.marketplace import periods, standing


def hours() -> None:
    """Pause what has to be, then end and begin periods, then make the records of the hours that are over."""
    standing.pause_suspended()
    periods.follow()
    records.freeze()
