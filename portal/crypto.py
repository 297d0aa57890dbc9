"""Secrets at rest: Fernet with keys that rotate (the first encrypts, all decrypt)."""

from __future__ import annotations

import json
import os
from functools import lru_cache

from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings

from portal import embedded


@lru_cache
def _fernet() -> MultiFernet:
    keys = [key for key in os.environ.get("PORTAL_FERNET_KEYS", "").split(",") if key]
    if not keys:
        keys = [embedded.load_secrets(embedded.Home(settings.PORTAL_HOME)).fernet_key]
    return MultiFernet([Fernet(key) for key in keys])


def seal(values: dict[str, str]) -> str:
    """Encrypt a mapping for the database."""
    return _fernet().encrypt(json.dumps(values).encode()).decode()


def unseal(text: str) -> dict[str, str]:
    """Read back what ``seal`` made; the empty string is the empty mapping."""
    if not text:
        return {}
    values: dict[str, str] = json.loads(_fernet().decrypt(text.encode()))
    return values
