"""A launch waits for its checks so long and no longer."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from portal.clouds.base import Check
from portal.errors import UserError
from workspaces import doctor

pytestmark = pytest.mark.django_db


def test_a_cloud_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.05)
    over = threading.Event()

    def hang() -> Sequence[Check]:
        over.wait(30)
        return []

    try:
        for _ in range(doctor.AT_ONCE):
            (check,) = doctor.ask(hang)
            assert not check.passed
            assert "no answer within" in check.detail
        with pytest.raises(UserError, match="being checked"):  # those that still hang keep their places
            doctor.ask(hang)
    finally:
        over.set()
        for thread in threading.enumerate():
            if thread.name == "launch doctor":
                thread.join(10)
    assert doctor.ask(list) == []
