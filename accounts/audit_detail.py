"""What an event says beside who, what and where: how it is kept, and how it is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MASKED = "(not recorded)"
EMPTY = "–"
LONGEST = 2000
"""Characters of one text that are kept."""

_SECRET = frozenset(
    {
        *("authorization", "codes", "cookie", "cookies", "credential", "credentials", "key", "otp", "passphrase"),
        *("passwd", "password", "passwords", "pin", "secret", "secrets", "seed", "signature", "token", "tokens"),
    }
)
"""A name whose last word is one of these is of a secret: ``api_key``, ``secretAccessKey``; but ``secret_name`` is not,
nor are ``keys``, which are names."""

_LOOKS_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.|\bgh[pousr]_\w{20,}"
    r"|\bbodo_secret_\w"
)
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_UNPRINTABLE = re.compile("[\0\ud800-\udfff]")


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What two states do not have in common, as ``{"before": …, "after": …}``; an empty side is left out."""
    absent = object()
    differing = [key for key in {**before, **after} if before.get(key, absent) != after.get(key, absent)]
    sides = {
        "before": {key: before[key] for key in differing if key in before},
        "after": {key: after[key] for key in differing if key in after},
    }
    return {name: side for name, side in sides.items() if side}


def recordable(value: Any) -> Any:
    """A value as it may be kept for ever: no secrets, no endless texts, nothing that the database cannot hold.

    The database must not refuse an event because of what somebody called a file.
    """
    if isinstance(value, Mapping):
        return {
            recordable_text(str(name)): MASKED if _is_secret(str(name), inner) else recordable(inner)
            for name, inner in value.items()
        }
    if isinstance(value, str):
        return MASKED if _LOOKS_SECRET.search(value) else _USER_IN_ADDRESS.sub(MASKED, recordable_text(value))
    if isinstance(value, list | tuple | set | frozenset):
        return [recordable(inner) for inner in value]
    return value


def recordable_text(text: str) -> str:
    """A text of bounded length without the characters that PostgreSQL cannot hold."""
    text = storable(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def storable(text: str) -> str:
    """A text without the characters that PostgreSQL cannot hold."""
    return _UNPRINTABLE.sub("\ufffd", text)


def _is_secret(name: str, value: Any) -> bool:
    words = re.findall(r"[a-z]+|[A-Z]+(?![a-z])|[A-Z][a-z]*", name)
    return bool(words) and words[-1].lower() in _SECRET and value not in (None, "", [], {}, True, False)


# --- reading --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A line of an event's detail. ``before`` is None where nothing was there, ``after`` where nothing is left."""

    name: str
    before: str | None
    after: str | None
    changed: bool


def lines(detail: Mapping[str, Any]) -> list[Line]:
    """An event's detail for people: what changed, then what else is known; not what is empty."""
    before, after = _side(detail.get("before")), _side(detail.get("after"))
    changes = [
        Line(_words(name), _shown_in(before, name), _shown_in(after, name), changed=True)
        for name in {**before, **after}
    ]
    facts = [
        Line(_words(name), None, _shown(value), changed=False)
        for name, value in detail.items()
        if name not in {"before", "after"}
    ]
    return [line for line in changes + facts if {line.before, line.after} - {None, EMPTY}]


def _side(value: Any) -> Mapping[str, Any]:
    """Early events have a bare value here."""
    return value if isinstance(value, Mapping) else {} if value is None else {"": value}


def _shown_in(side: Mapping[str, Any], name: str) -> str | None:
    return _shown(side[name]) if name in side else None


def _words(name: str) -> str:
    return name.replace("_", " ")


def _shown(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return EMPTY
    match value:
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ", ".join(f"{name}={_shown(inner)}" for name, inner in value.items())
        case str():
            return value
        case Iterable():
            return ", ".join(_shown(inner) for inner in value)
    return str(value)
