"""What a run wrote, for reading: the part ``output/`` of its mailbox."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

from portal.clouds.aws.errors import unreachable
from portal.clouds.aws.mailbox import Mailbox
from portal.clouds.base import CloudError, FileEntry
from portal.clouds.local.files import split

BLOCK = 1 << 20
"""Bytes that are read ahead."""


class Outputs:
    """See ``portal.clouds.base.Outputs``."""

    def __init__(self, box: Mailbox) -> None:
        self.box = box

    def list(self, path: str) -> Sequence[FileEntry]:
        """The entries of a folder: folders first, then by name."""
        entries = []
        for page in self._pages(f"{self.box.folder}{self._name(path)}/"):
            entries += [self._entry(each["Prefix"].rstrip("/"), None) for each in page.get("CommonPrefixes", [])]
            entries += [self._entry(each["Key"], each) for each in page.get("Contents", [])]
        if not entries and split(path):
            raise _not_found(path)
        return sorted(entries, key=lambda entry: (entry.kind != "folder", entry.name))

    def stat(self, path: str) -> FileEntry:
        """One entry."""
        found = self.box.head(self._name(path))
        if found is not None:
            return self._entry(self.box.folder + self._name(path), {**found, "Size": found["ContentLength"]})
        self.list(path)
        return self._entry(self.box.folder + self._name(path), None)

    def open(self, path: str) -> BinaryIO:
        """A file for reading, from its beginning, as it comes from S3."""
        found = self.box.get(self._name(path))
        if found is None:
            raise _not_found(path)
        return cast(BinaryIO, io.BufferedReader(_Body(found["Body"]), BLOCK))

    def link(self, path: str, name: str) -> str | None:
        """An address at which a browser gets the file, for five minutes."""
        if self.box.head(self._name(path)) is None:  # also asks whose bucket it is, which the link cannot
            raise _not_found(path)
        return self.box.link(self._name(path), name)

    def save(self, path: str, chunks: Iterator[bytes]) -> int:
        """What a run left is not written to."""
        raise _read_only()

    def make_folder(self, path: str) -> None:
        """What a run left is not written to."""
        raise _read_only()

    def move(self, source: str, destination: str) -> None:
        """What a run left is not written to."""
        raise _read_only()

    def delete(self, path: str) -> None:
        """What a run left is not written to."""
        raise _read_only()

    def _name(self, path: str) -> str:
        return "/".join(["output", *split(path)])

    def _pages(self, prefix: str) -> Iterator[Mapping[str, Any]]:
        more: dict[str, Any] = {}
        while True:
            page = self.box.s3.list_objects_v2(**self.box.bucket, Prefix=prefix, Delimiter="/", **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _entry(self, key: str, found: Mapping[str, Any] | None) -> FileEntry:
        path = key.removeprefix(f"{self.box.folder}output").lstrip("/")
        name = path.rpartition("/")[2]
        if found is None:
            return FileEntry(name, path, "folder", 0, datetime.fromtimestamp(0, UTC))
        return FileEntry(name, path, "file", int(found["Size"]), found["LastModified"])


class _Body(io.RawIOBase):
    """An answer of S3 as a file."""

    def __init__(self, body: Any) -> None:
        self.body = body

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        from botocore.exceptions import BotoCoreError, HTTPClientError

        try:
            data: bytes = self.body.read(len(buffer))
        except (BotoCoreError, HTTPClientError) as error:
            raise unreachable(f"AWS did not answer: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self.body.close()
        super().close()


def _not_found(path: str) -> CloudError:
    return CloudError("FileNotFound", f"{path or 'The folder'} does not exist.", "Reload the page.", permanent=True)


def _read_only() -> CloudError:
    return CloudError("PermissionDenied", "What a run left can only be read.", permanent=True)
