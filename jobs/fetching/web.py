"""One file from an address."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests

from jobs.fetching import digests
from jobs.fetching.order import FetchError, Order, Outcome
from portal import outbound


def name_of(location: str) -> str:
    """The file's name in an address, without what a filesystem would make of it."""
    last = unquote(urlsplit(location).path.rpartition("/")[2])
    return re.sub(r"[^\w.\- ]", "_", last).lstrip(".")[:200]


def fetch(order: Order) -> Outcome:
    """Download the file. Raises FetchError."""
    target = Path(order.directory)
    target.mkdir(parents=True)
    name = order.file or name_of(order.location)
    try:
        with (
            outbound.session(private=order.private) as session,
            session.get(order.location, stream=True) as answer,
            (target / name).open("wb") as file,
        ):
            if answer.status_code >= 500 or answer.status_code == 429:
                raise FetchError(f"The address answered {answer.status_code} {answer.reason}.", permanent=False)
            if not answer.ok:
                raise FetchError(
                    f"The address answered {answer.status_code} {answer.reason}.", "Open it in a browser to check it."
                )
            for block in outbound.blocks(answer, order.limit):
                file.write(block)
    except requests.TooManyRedirects:
        raise FetchError("The address redirects too often.", "Give the address that it leads to.") from None
    except requests.RequestException as error:
        raise FetchError(f"The address cannot be reached: {error}", permanent=False) from None
    return Outcome(name, "", digests.of_file(target / name))
