"""Server time of the pages of people and organizations."""

from __future__ import annotations

from bench import stand
from bench.lists import REPEATS, WARM_UP, get, milliseconds
from bench.measure import Measurement


def sign_in_page() -> Measurement:
    """The page with the sign-in form, for a stranger; its floor is the smallest answer that asks the database."""
    with stand.database():
        from django.test import Client

        client = Client(SERVER_NAME="127.0.0.1")
        times, floors = [], []
        for turn in range(WARM_UP + REPEATS):
            took, bare = milliseconds(get, client, stand.SIGN_IN), milliseconds(get, client, "/healthz")
            if turn >= WARM_UP:
                times.append(took)
                floors.append(bare)
        return Measurement(times, floors)
