"""A run's mailbox: the folder in the customer's bucket by which the portal and the machine of a run speak.

    workspaces/<workspace>/runs/<run>/
        request.json       what is asked for; without it there is no run
        environment.json   its variables, which may be secret: the portal deletes it for good once the run has begun
        bundle.tar.gz      its code, where it was brought along
        begin/<try>        who decided over a try first, the machine (it begins) or the portal (it never will)
        beat               put again and again while the machine watches the run
        cancel             a request to end it, and why
        stdout/<end>, stderr/<end>   pieces of the logs, by the offset at which each ends (20 digits)
        output/…           what it wrote to PORTAL_OUTPUT, and stdout.log, stderr.log, the logs in one piece
        exit.json          how it ended; put last, by whoever is first

What two may want to say, only one can: such objects are put under the condition that there is none yet (Amazon S3 User
Guide, "How to prevent object overwrites with conditional writes"). A lost answer is told from a lost race by reading.

The machine may read and write here, and list and delete nothing. S3 says to somebody who may not list that access is
denied where there is nothing (API reference of GetObject, "Permissions").

Needs boto3 and nothing else.
"""

from __future__ import annotations

import json
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

TRY_DIGITS, OFFSET_DIGITS = 4, 20
STREAMS = ("stdout", "stderr")
BEAT_SECONDS = 60.0
_ABSENT = {"NoSuchKey", "404", "403", "AccessDenied", "NotFound"}
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}
_TEXT = "text/plain; charset=utf-8"


def folder(workspace: str, run: str) -> str:
    """Where a run's objects are; ends with a slash."""
    return f"workspaces/{workspace}/runs/{run}/"


def begin_key(number: int) -> str:
    """The decision over a try, below the folder."""
    return f"begin/{number:0{TRY_DIGITS}d}"


def part_key(stream: str, end: int) -> str:
    """A piece of a log, below the folder."""
    return f"{stream}/{end:0{OFFSET_DIGITS}d}"


class Mailbox:
    """The mailbox as the machine of the run has it. ``node`` is the machine's ``node.json``."""

    def __init__(self, node: dict[str, Any], run: str) -> None:
        import boto3
        from botocore.config import Config

        patience = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 6, "mode": "standard"})
        self.s3 = boto3.client("s3", region_name=node.get("bucket_region", node["region"]), config=patience)
        self.where = {"Bucket": node["bucket"], "ExpectedBucketOwner": node["account"]}
        self.folder = folder(node["workspace"], run)

    def read(self, name: str) -> bytes | None:
        """An object; None where there is none."""
        from botocore.exceptions import ClientError

        try:
            body: bytes = self.s3.get_object(**self.where, Key=self.folder + name)["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        return body

    def read_json(self, name: str) -> Any:
        """An object of JSON; None where there is none."""
        body = self.read(name)
        return None if body is None else json.loads(body)

    def put(self, name: str, body: bytes | BinaryIO, kind: str = "application/octet-stream") -> None:
        """Write an object, over one that is there."""
        self.s3.put_object(**self.where, Key=self.folder + name, Body=body, ContentType=kind)

    def say_first(self, name: str, content: dict[str, Any]) -> bool:
        """Write an object of JSON unless there is one; whether it is ours that is there now."""
        from botocore.exceptions import ClientError

        said = {**content, "nonce": uuid.uuid4().hex}
        while True:
            try:
                self.s3.put_object(
                    **self.where,
                    Key=self.folder + name,
                    Body=json.dumps(said).encode(),
                    ContentType="application/json",
                    IfNoneMatch="*",
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in _TAKEN:
                    raise
                there = self.read_json(name)
                if there:  # ours, where botocore asked twice
                    return bool(there.get("nonce") == said["nonce"])
            else:
                return True

    def save(self, name: str, target: Path) -> None:
        """Bring an object here."""
        self.s3.download_file(
            self.where["Bucket"],
            self.folder + name,
            str(target),
            ExtraArgs={"ExpectedBucketOwner": self.where["ExpectedBucketOwner"]},
        )

    def send(self, name: str, file: BinaryIO, kind: str = "application/octet-stream") -> None:
        """Write a file of any size."""
        more = {"ExpectedBucketOwner": self.where["ExpectedBucketOwner"], "ContentType": kind}
        self.s3.upload_fileobj(file, self.where["Bucket"], self.folder + name, ExtraArgs=more)

    def beat(self) -> None:
        """Say that the run is watched."""
        self.put("beat", b"", _TEXT)

    def send_part(self, stream: str, data: bytes, end: int) -> None:
        """Write a piece of a log."""
        self.put(part_key(stream, end), data, _TEXT)

    def send_outputs(self, directory: Path) -> list[str]:
        """Write all files below a directory; returns the names of those that could not be."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        failed = []
        for path, file in files_below(directory):
            with file:
                try:
                    self.send(f"output/{path}", file)
                except (S3UploadFailedError, ClientError, BotoCoreError, OSError, ValueError):
                    failed.append(path)
        return failed


def files_below(directory: Path) -> Iterator[tuple[str, BinaryIO]]:
    """The files below a directory, open, by their paths. No link is followed: the directory is made by job code, and
    who reads it is root."""
    for path, _, names, descriptor in os.fwalk(directory, follow_symlinks=False):
        for name in sorted(names):
            try:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
            except OSError:
                continue
            if stat.S_ISREG(os.fstat(file).st_mode) and os.fstat(file).st_nlink == 1:
                yield os.path.relpath(os.path.join(path, name), directory), os.fdopen(file, "rb")
            else:
                os.close(file)
