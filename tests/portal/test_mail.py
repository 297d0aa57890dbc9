"""Mail is written with what it tells about, and goes out once, however often anything dies."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core import mail as django_mail
from django.db import transaction

from portal import mail
from portal.models import OutgoingMail
from tests.fakes import Clock

pytestmark = pytest.mark.django_db


def post(clock: Clock) -> OutgoingMail:
    row = mail.post(to="ada@example.org", subject="A\nline", text="http://portal/secret")
    OutgoingMail.objects.update(due_at=clock(), created_at=clock())
    return row


def test_mail_is_sealed_until_it_is_sent_and_then_forgotten(clock: Clock) -> None:
    row = post(clock)
    row.refresh_from_db()
    assert "secret" not in row.sealed
    mail.deliver(row.pk)
    row.refresh_from_db()
    assert (row.sealed, row.due_at, row.attempts) == ("", None, 1)
    (sent,) = django_mail.outbox
    assert (sent.to, sent.subject, sent.body) == (["ada@example.org"], "A line", "http://portal/secret")
    mail.deliver(row.pk)  # the queue may hold it twice
    assert len(django_mail.outbox) == 1


def test_two_workers_send_it_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    row = post(clock)
    real = django_mail.EmailMessage.send

    def slow(message: django_mail.EmailMessage) -> int:
        mail.deliver(row.pk)  # the second worker, while the first is sending
        return real(message)

    monkeypatch.setattr("portal.mail.EmailMessage.send", slow)
    mail.deliver(row.pk)
    assert len(django_mail.outbox) == 1


def test_a_worker_that_died_is_followed_by_another(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    row = post(clock)

    def killed(_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("portal.mail.EmailMessage.send", killed)
        with pytest.raises(KeyboardInterrupt):
            mail.deliver(row.pk)
    assert mail.sweep() == 0
    clock.move(minutes=3)
    mail.deliver(row.pk)
    assert len(django_mail.outbox) == 1


def test_a_server_that_is_away_is_asked_again_with_longer_and_longer_pauses(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = post(clock)

    def refused(_: object) -> int:
        raise ConnectionRefusedError("no mail server")

    monkeypatch.setattr("portal.mail.EmailMessage.send", refused)
    pauses = []
    while True:
        mail.deliver(row.pk)
        row.refresh_from_db()
        if row.due_at is None:
            break
        pauses.append((row.due_at - clock()).total_seconds())
        clock.move(seconds=pauses[-1])
    assert pauses[0] == 10
    assert pauses == sorted(pauses)
    assert max(pauses) == 3600
    assert clock() - row.created_at > timedelta(days=2)
    assert "no mail server" in row.failure
    assert row.sealed  # the operator can send it again: make it due


def test_mail_outside_a_transaction_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portal.mail.connection", SimpleNamespace(in_atomic_block=False))
    with pytest.raises(RuntimeError, match="transaction"):
        mail.post(to="a@example.org", subject="x", text="y")


def test_the_sweep_finds_what_the_queue_lost(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    row = post(clock)
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr("portal.queue.call", lambda *arguments: calls.append(arguments))
    assert mail.sweep() == 1
    assert calls == [("portal.tasks.deliver", row.pk)]


def test_what_was_rolled_back_is_not_sent() -> None:
    with transaction.atomic():
        mail.post(to="a@example.org", subject="x", text="y")
        transaction.set_rollback(True)
    assert not OutgoingMail.objects.exists()
