"""A browser for each test."""

from __future__ import annotations

import itertools
import os

import pytest
from django.test import Client

_hosts = itertools.count(1)


@pytest.fixture
def browser() -> Client:
    """Each from an address of its own, as much is limited by address."""
    return new_browser()


def new_browser() -> Client:
    number = next(_hosts)
    return Client(REMOTE_ADDR=f"10.{os.getpid() % 250}.{number // 250}.{number % 250 + 1}")
