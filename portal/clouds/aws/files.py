"""The shared filesystem of a workspace on AWS, by way of its function (``function``, ``files_handler``).

EFS can be reached only inside the workspace's network, where no machine need be running. Each call of the function
takes up to 4 MiB of a file; AWS limits what goes in and out to 6 MB, and JSON needs four characters for three bytes.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

from portal.clouds.aws.errors import AwsError
from portal.clouds.aws.function import code, digest
from portal.clouds.aws.session import Session
from portal.clouds.base import CloudError, FileEntry

PIECE = 4 * 1024 * 1024
PATIENCE = 20
"""Seconds to wait for an answer: the first call after a while starts the function."""

UPDATE_SECONDS = 10.0
"""How long to wait until the function has this portal's code."""

PAUSES = (0.5, 1.0, 2.0)
"""Seconds before a call is made again."""

_WAKING = {"ResourceConflictException", "ResourceNotReadyException", "EFSMountConnectivityException"}
_MOUNTING = {"EFSMountFailureException", "EFSMountTimeoutException", "EFSIOException"}


_current: set[tuple[str, str]] = set()
"""Functions that were seen to have their code."""


class AwsFiles:
    """The files of one workspace. ``function`` is the ARN of its function."""

    def __init__(self, session: Session, function: str) -> None:
        self.session, self.function = session, function

    def bring_up_to_date(self) -> None:
        """See that the function has this portal's code: another release may have made it. Asks AWS once in the life of
        a process."""
        if (self.function, digest()) in _current:
            return
        client = self.session.client("lambda")
        deadline = time.monotonic() + UPDATE_SECONDS
        told = False
        while True:
            seen = client.get_function_configuration(FunctionName=self.function)
            if seen["CodeSha256"] == digest() and seen.get("LastUpdateStatus") != "InProgress":
                _current.add((self.function, digest()))
                return
            if time.monotonic() > deadline:
                raise CloudError(
                    "FilesNotReady", "The workspace's files are being connected.", "Try again in a minute."
                )
            if seen["CodeSha256"] != digest() and not told:
                client.update_function_code(FunctionName=self.function, ZipFile=code())
                told = True
            else:
                time.sleep(PAUSES[0])

    def list(self, path: str) -> list[FileEntry]:
        """The entries of a folder: folders first, then by name. A very large folder takes several calls."""
        entries: list[FileEntry] = []
        after = ""
        while True:
            page = self.ask("list", path=path, after=after)
            entries += [_entry(each) for each in page["entries"]]
            after = page["after"]
            if after is None:
                return sorted(entries, key=lambda entry: (entry.kind != "folder", entry.name))

    def stat(self, path: str) -> FileEntry:
        """One entry; ``FileNotFound`` where there is none."""
        return _entry(self.ask("stat", path=path))

    def open(self, path: str) -> BinaryIO:
        """A file for reading, piece by piece. ``FileChanged`` where it is replaced meanwhile."""
        return io.BufferedReader(_Pieces(self, path), PIECE)

    def save(self, path: str, chunks: Iterator[bytes]) -> int:
        """Write a file whole or not at all, and return its size in bytes. A link of that name is replaced."""
        parts = _parts(chunks)
        first = next(parts)
        if len(first) < PIECE:
            return int(self.ask("save", path=path, data=_text(first))["size"])
        upload = secrets.token_hex(8)
        try:
            same = self.ask("part", path=path, upload=upload, offset=0, data=_text(first))["same"]
            size = len(first)
            for part in parts:
                self.ask("part", path=path, upload=upload, offset=size, data=_text(part))
                size += len(part)
            return int(self.ask("commit", path=path, upload=upload, size=size, same=same)["size"])
        except BaseException:
            self._discard(path, upload)
            raise

    def make_folder(self, path: str) -> None:
        """Make a folder; its parent must exist."""
        self.ask("make_folder", again=False, path=path)

    def move(self, source: str, destination: str) -> None:
        """Rename within the filesystem; ``FileExists`` rather than replace."""
        self.ask("move", again=False, source=source, destination=destination)

    def delete(self, path: str) -> None:
        """Delete a file, a link, or a folder with everything in it, which may take several calls."""
        begun = False
        while True:
            try:
                if not self.ask("delete", again=False, path=path)["more"]:
                    return
            except CloudError as error:
                if begun and error.code == "FileNotFound":
                    return
                raise
            begun = True

    def ask(self, do: str, *, again: bool = True, **parameters: Any) -> Any:
        """Call the function. What does no harm twice is asked ``again`` where no answer came; all is where the function
        did not get it. Raises CloudError."""
        payload = json.dumps({"do": do, **parameters}).encode()
        for pause in (*PAUSES, None):
            try:
                return self._invoke(payload)
            except AwsError as error:
                unheard = error.code == "Throttled" or error.reason in _WAKING
                if pause is None or not (unheard or (again and error.code == "NotReachable")):
                    raise _explained(error, again=again) from error
            time.sleep(pause)
        raise AssertionError("unreachable")

    def _invoke(self, payload: bytes) -> Any:
        self.bring_up_to_date()
        client = self.session.client("lambda", PATIENCE)
        answer = client.invoke(FunctionName=self.function, Payload=payload)
        text = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise _broken(text)
        told = json.loads(text)
        if error := told.get("error"):
            raise CloudError(error["code"], error["message"], error["hint"], permanent=error["permanent"])
        return told["answer"]

    def _discard(self, path: str, upload: str) -> None:
        """Where even this fails, the next upload into the folder removes it after a day."""
        try:
            self._invoke(json.dumps({"do": "discard", "path": path, "upload": upload}).encode())
        except CloudError:
            return


class _Pieces(io.RawIOBase):
    """A file, read with one call for each piece. The first is read at once, so that what cannot be read is told."""

    def __init__(self, files: AwsFiles, path: str) -> None:
        self.files, self.path, self.offset, self.same = files, path, 0, ""
        self.first: bytes | None = self._ask(PIECE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data, self.first = self.first, None
        if data is None or len(data) > len(buffer):
            data = self._ask(min(len(buffer), PIECE))
        buffer[: len(data)] = data
        self.offset += len(data)
        return len(data)

    def _ask(self, size: int) -> bytes:
        answer = self.files.ask("read", path=self.path, offset=self.offset, size=size, same=self.same)
        self.same = answer["same"]
        return base64.b64decode(answer["data"])


def _parts(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in parts of exactly ``PIECE``; the last is shorter, and may be empty."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= PIECE:
            yield bytes(waiting[:PIECE])
            del waiting[:PIECE]
    yield bytes(waiting)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _entry(told: dict[str, Any]) -> FileEntry:
    modified = datetime.fromtimestamp(told["modified"], UTC)
    return FileEntry(told["name"], told["path"], told["kind"], told["size"], modified)


def _explained(error: AwsError, *, again: bool) -> CloudError:
    """What people at the file browser can do about it."""
    if error.absent:
        hint = "It may have been deleted by hand. Delete the workspace and create it again; its files stay until then."
        return CloudError("FilesNotReachable", "The function that reads the workspace's files is gone.", hint)
    if error.reason in _WAKING or error.code == "Throttled":
        return CloudError("FilesNotReady", "The workspace's files are being connected.", "Try again in a minute.")
    if error.reason in _MOUNTING:
        hint = (
            "Try again in a minute. In a network of your own, look whether its security groups allow NFS (port 2049)."
        )
        return CloudError("FilesNotReachable", f"AWS could not reach the filesystem: {error.message}", hint)
    if error.code == "NotReachable" and not again:
        return CloudError("NoAnswer", error.message, "Reload the folder to see whether it was done.")
    return error


def _broken(text: bytes) -> CloudError:
    """The function ended with an exception of its own, or ran out of time or memory."""
    try:
        said = str(json.loads(text).get("errorMessage", ""))[:300]
    except (ValueError, AttributeError):
        said = ""
    hint = "Try again. If it fails again, tell the operator of this portal."
    return CloudError("FilesFailed", f"Reading the workspace's files failed: {said or 'no reason was given'}", hint)
