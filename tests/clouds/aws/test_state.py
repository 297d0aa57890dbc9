"""The state document and its lock, as a customer finds them."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal.clouds.aws.configuration import Configuration
from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.state import LOCK_SECONDS, Lock, Store
from portal.clouds.base import CloudError, Handle
from tests.clouds.aws.cloud import Aws, connected

WORKSPACE = "workspaces/0b3f8c5e"
HANDLE: Handle = {
    "steps": {
        "vpc": {"state": "ready", "id": "vpc-1", "fingerprint": "", "order": 1},
        "key": {"state": "created", "id": "k-1", "fingerprint": "", "order": 2},
    }
}


@pytest.fixture
def configuration(aws: Aws) -> Configuration:
    return connected(aws)


def store(aws: Aws, configuration: Configuration, holder: str) -> Store:
    return Store(aws.administrator(), configuration, holder)


@pytest.fixture
def alice(aws: Aws, configuration: Configuration) -> Store:
    return store(aws, configuration, "https://alice.example.org")


@pytest.fixture
def bob(aws: Aws, configuration: Configuration) -> Store:
    return store(aws, configuration, "https://bob.example.org")


def test_a_person_can_read_both(aws: Aws, alice: Store, configuration: Configuration) -> None:
    lock = alice.take(WORKSPACE, "workspace Analytics")
    alice.save(lock, "workspace", "Analytics", HANDLE)
    body = (
        aws.administrator().client("s3").get_object(Bucket=configuration.bucket, Key=f"{WORKSPACE}/state.json")["Body"]
    )
    text = body.read().decode()
    assert json.loads(text)["steps"] == HANDLE["steps"]
    assert text.index("vpc-1") < text.index("k-1"), "in the order in which things were made"
    assert '\n  "name": "Analytics"' in text
    item = (
        aws.administrator()
        .client("dynamodb")
        .get_item(TableName=configuration.table, Key={"LockID": {"S": WORKSPACE}})["Item"]
    )
    assert item["Holder"] == {"S": "https://alice.example.org"}
    assert item["About"] == {"S": "workspace Analytics"}
    assert item["Until"]["S"].endswith("Z")


def test_one_portal_at_a_time(alice: Store, bob: Store) -> None:
    lock = alice.take(WORKSPACE, "x")
    with pytest.raises(CloudError, match="StateLocked") as caught:
        bob.take(WORKSPACE, "x")
    assert "https://alice.example.org" in caught.value.message
    assert not caught.value.permanent
    assert alice.take(WORKSPACE, "x").fence > lock.fence, "its holder keeps it"
    alice.release(lock)
    with pytest.raises(CloudError, match="StateLocked"):
        bob.take(WORKSPACE, "x")


def test_a_lock_is_given_back_and_its_fence_grows_on(alice: Store, bob: Store) -> None:
    lock = alice.take(WORKSPACE, "x")
    alice.release(lock)
    assert bob.take(WORKSPACE, "x").fence > lock.fence


def test_who_was_too_slow_does_not_take_the_lock_of_the_next_away(alice: Store, bob: Store) -> None:
    late = alice.take(WORKSPACE, "x")
    alice.release(late)
    bob.take(WORKSPACE, "x")
    alice.release(late)
    with pytest.raises(CloudError, match="StateLocked"):
        alice.take(WORKSPACE, "x")


def test_a_lock_ends_by_itself_and_the_late_one_writes_nothing(alice: Store, bob: Store) -> None:
    now = datetime.now(UTC)
    late = alice.take(WORKSPACE, "x", now - timedelta(seconds=LOCK_SECONDS + 5))
    lock = bob.take(WORKSPACE, "x", now)
    bob.save(lock, "workspace", "Analytics", HANDLE)
    with pytest.raises(CloudError, match="StateTaken") as caught:
        alice.save(late, "workspace", "Analytics", {"steps": {}})
    assert "https://bob.example.org" in caught.value.message
    found = bob.load(WORKSPACE)
    assert found
    assert found["steps"] == HANDLE["steps"]


def test_a_document_that_changes_between_look_and_write_is_looked_at_again(
    alice: Store, bob: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    late = alice.take(WORKSPACE, "x", now - timedelta(seconds=LOCK_SECONDS + 5))
    lock = bob.take(WORKSPACE, "x", now)
    look = Store._current
    looked: list[str] = []

    def meanwhile(self: Store, id: str) -> Any:
        seen = look(self, id)
        if self is alice and not looked:
            looked.append(id)
            bob.save(lock, "workspace", "Analytics", HANDLE)
        return seen

    monkeypatch.setattr(Store, "_current", meanwhile)
    with pytest.raises(CloudError, match="StateTaken"):
        alice.save(late, "workspace", "Analytics", {"steps": {}})


def test_of_many_at_once_one_wins(aws: Aws, configuration: Configuration) -> None:
    stores = [store(aws, configuration, f"portal-{number}") for number in range(8)]
    for each in stores:
        each.session.client("dynamodb")
    won: list[Lock] = []
    lost: list[str] = []

    def race(each: Store) -> None:
        try:
            won.append(each.take(WORKSPACE, "x"))
        except CloudError as error:
            lost.append(error.code)

    threads = [threading.Thread(target=race, args=[each]) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(won) == 1
    assert lost == ["StateLocked"] * 7


def test_what_is_gone_leaves_nothing(aws: Aws, alice: Store, configuration: Configuration) -> None:
    lock = alice.take(WORKSPACE, "x")
    alice.save(lock, "workspace", "Analytics", HANDLE)
    alice.forget(lock)
    alice.forget(lock)
    assert alice.load(WORKSPACE) is None
    assert aws.administrator().client("dynamodb").scan(TableName=configuration.table)["Items"] == []


def test_a_bucket_that_somebody_deleted_is_named(aws: Aws, alice: Store, configuration: Configuration) -> None:
    lock = alice.take(WORKSPACE, "x")
    aws.administrator().client("s3").delete_bucket(Bucket=configuration.bucket)
    with pytest.raises(AwsError, match="NotFound"):
        alice.save(lock, "workspace", "Analytics", HANDLE)
