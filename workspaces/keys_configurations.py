"""The three things of a configuration, made with access keys. This is the only place where such keys are.

A thread of the web process that took the form has them, and nobody else: they are in no row, no queue, no log, no mail,
no environment and no command line. The thread holds the row's lease and moves it at every step. If its process dies,
the lease runs out, and the page asks for the keys again; what was made by then is found by its name.

What AWS answers may repeat what it was asked with (a wrong signature comes with the signed text), so whatever is kept
goes through ``_without_keys`` first.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import close_old_connections, connection, transaction
from django.utils import timezone

from portal import events
from portal.clouds.aws import onboarding
from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.onboarding import Onboarding
from portal.clouds.aws.session import Keys, Session
from portal.clouds.base import Check, CloudError, Event, Failed, Level, Pending, Settled, Step
from portal.models import record_event, record_events
from workspaces.clouds import aws_cloud, platform_account
from workspaces.models import CloudConfiguration, ConfigurationStatus
from workspaces.reconcile_configurations import set_status

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
"""A step says up to four things to AWS, each of which gets an answer or none within 8 seconds."""

MAX_ATTEMPTS = 5
MOST_AT_ONCE = 8
CHECK_AGAIN_SECONDS = 3.0
"""IAM tells the world within seconds what a new role may do."""

_running: set[threading.Thread] = set()


def busy() -> bool:
    """Whether this process makes as many as it should."""
    return len(_running) >= MOST_AT_ONCE


def lease(row: CloudConfiguration) -> uuid.UUID:
    """Give a row to a new thread. Does not save."""
    row.lease_token, row.lease_until = uuid.uuid4(), timezone.now() + LEASE
    return row.lease_token


def start(row: CloudConfiguration, token: uuid.UUID, keys: Keys) -> None:
    """Begin, after the commit."""
    thread = threading.Thread(target=_run, args=[_Maker(row, token, keys)], name=f"configuration {row.pk}", daemon=True)
    _running.add(thread)
    thread.start()


def _run(maker: _Maker) -> None:
    try:
        maker.run()
    except Exception as error:  # whose words could be anything, and the keys among them
        places = "".join(traceback.format_tb(error.__traceback__))
        logger.error("Making %s ended with %s\n%s", maker.row.pk, type(error).__name__, places)
        hint = "Enter the keys again to go on."
        maker.fail(CloudError("InternalError", "The portal made a mistake; it is in the log.", hint))
    finally:
        connection.close()
        _running.discard(threading.current_thread())


class _Maker:
    """What a thread does for a row that it holds by ``token``."""

    def __init__(self, row: CloudConfiguration, token: uuid.UUID, keys: Keys) -> None:
        self.row, self.token = row, token
        self.keys: Keys | None = keys

    def run(self) -> None:
        """All three things; then what VALIDATE asks, for which no keys are needed any more."""
        try:
            configuration = self._make()
        except CloudError as error:
            self.fail(error)
            return
        finally:
            self.keys = None
        if configuration:
            self._check(configuration)

    def _make(self) -> Configuration | None:
        """None where the row is no longer this thread's. Raises CloudError."""
        session = Session(self.row.settings["region"], keys=self.keys, endpoint=settings.PORTAL_AWS_ENDPOINT)
        attempts, work = 0, None
        while True:
            try:
                work = work or self._begin(session)
                step = work.advance(self.row.handle)
            except CloudError as error:
                step = Step(self.row.handle, Failed(error))
            pause, change = 0.0, partial(_advanced, step=step)
            match step.outcome:
                case Settled():
                    assert work
                    return (
                        work.configuration if self._save(partial(_made, step=step, made=work.configuration)) else None
                    )
                case Pending(after):
                    attempts, pause = 0, after
                case Failed(reason):
                    attempts += 1
                    message, hint = self._without_keys(reason.message), self._without_keys(reason.hint)
                    if reason.permanent or attempts == MAX_ATTEMPTS:
                        self._save(change)
                        raise CloudError(reason.code, message, hint)
                    trying = f"{message} Trying again ({attempts} of {MAX_ATTEMPTS - 1})."
                    change = partial(_advanced, step=replace(step, events=[Event("", trying, Level.WARNING)]))
                    pause = 2.0**attempts
            if not self._save(change):
                return None
            time.sleep(pause)

    def _begin(self, session: Session) -> Onboarding:
        return onboarding.begin(session, str(self.row.pk), self.row.external_id or "", platform_account())

    def _check(self, configuration: Configuration) -> None:
        for number in range(MAX_ATTEMPTS):
            if number:
                time.sleep(CHECK_AGAIN_SECONDS)
            checks = list(aws_cloud(configuration).check())
            passed = all(check.passed for check in checks)
            if not self._save(partial(_ready if passed else _checked, checks=checks)) or passed:
                return
        hint = "Do what each says, then validate again. No keys are needed for that."
        self.fail(CloudError("ChecksFailed", "Everything was made, but some checks failed.", hint))

    def _without_keys(self, text: str) -> str:
        """A text of AWS's as it may be kept."""
        keys = self.keys
        for key in (keys.access_key_id, keys.secret_access_key, keys.session_token) if keys else ():
            text = text.replace(key, "(not shown)") if key else text
        return text

    def fail(self, error: CloudError) -> None:
        """The reason stays on the page; the row is free for the next who comes with keys."""

        def failed(row: CloudConfiguration) -> None:
            set_status(row, ConfigurationStatus.FAILED)
            row.failure_code, row.failure_message, row.failure_hint = error.code, error.message, error.hint
            row.lease_token = row.lease_until = None
            record_event(row.pk, Event("", f"{error.message} {error.hint}".strip(), Level.ERROR))

        self._save(failed)

    def _save(self, change: Callable[[CloudConfiguration], None]) -> bool:
        """Store what came of a step, for as long as the row is still this thread's; False once it is not."""
        close_old_connections()
        with transaction.atomic():
            rows = CloudConfiguration.objects.select_for_update().filter(deleted_at=None, lease_token=self.token)
            row = rows.filter(pk=self.row.pk).first()
            if row is None:
                return False
            row.lease_until = timezone.now() + LEASE
            change(row)
            row.save(update_fields=[field.name for field in row._meta.concrete_fields if not field.primary_key])
            events.notify(row.organization_id, f"configuration-{row.pk}")
        self.row = row
        connection.close()  # AWS takes its time, and the pool is small
        return True


def _advanced(row: CloudConfiguration, step: Step) -> None:
    row.handle = step.handle
    record_events(row, step.events)


def _made(row: CloudConfiguration, step: Step, made: Configuration) -> None:
    _advanced(row, step)
    row.settings = {**row.settings, "bucket": made.bucket, "table": made.table, "role_arn": made.role_arn}
    record_events(row, [Event("", "The keys are forgotten. Checking what was made")])


def _checked(row: CloudConfiguration, checks: list[Check]) -> None:
    row.checks, row.checked_at = [asdict(check) for check in checks], timezone.now()


def _ready(row: CloudConfiguration, checks: list[Check]) -> None:
    _checked(row, checks)
    set_status(row, ConfigurationStatus.READY)
    row.progress_message, row.progress, row.lease_token, row.lease_until = "", None, None, None
    record_event(row.pk, Event("", "All checks passed"))
