"""The shared filesystem: whole files or none, nothing outside, no link followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.base import CloudError, Files
from portal.clouds.local.files import LocalFiles
from portal.clouds.local.trees import TEMPORARY

Refused = Callable[[str], Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A filesystem with a file, a folder and links that lead out of it."""
    root = tmp_path / "bodofs"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "inner").write_text("inner")
    (root / "file").write_text("content")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "link-to-file").symlink_to(tmp_path / "outside" / "secret")
    return root


@pytest.fixture
def files(root: Path) -> LocalFiles:
    return LocalFiles(root)


def save(files: Files, path: str, *chunks: bytes) -> int:
    return files.save(path, iter(chunks))


def everything(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root.parent)) for path in root.parent.rglob("*"))


def test_listing_shows_folders_first_and_links_as_links(files: LocalFiles) -> None:
    entries = files.list("")
    assert [(entry.name, entry.kind) for entry in entries] == [
        ("folder", "folder"),
        ("file", "file"),
        ("link", "link"),
        ("link-to-file", "link"),
    ]
    assert entries[1].size == 7
    assert [entry.path for entry in files.list("folder/")] == ["folder/inner"]
    assert files.stat("").kind == "folder"
    assert files.stat("./folder//inner").path == "folder/inner"


def test_a_file_is_saved_and_read(files: LocalFiles) -> None:
    assert save(files, "folder/new", b"ab", b"c") == 3
    with files.open("folder/new") as file:
        assert file.read() == b"abc"
    assert save(files, "folder/new", b"") == 0


PATHS = [
    *(("..", "PathNotAllowed"), ("../outside/secret", "PathNotAllowed"), ("folder/../../outside", "PathNotAllowed")),
    *(("/etc/passwd", "PathNotAllowed"), ("a\0b", "PathNotAllowed"), (f"{TEMPORARY}x", "PathNotAllowed")),
    *(("link/secret", "NotAFolder"), ("link/new", "NotAFolder"), ("file/below", "NotAFolder")),
    *(("missing/below", "FileNotFound"), ("n" * 256, "NameTooLong"), ("\ud800", "PathNotAllowed")),
]


@pytest.mark.parametrize(("path", "code"), PATHS)
def test_no_path_leads_out(files: LocalFiles, root: Path, refused: Refused, path: str, code: str) -> None:
    before = everything(root)
    attempts: list[Callable[[], object]] = [
        lambda: files.save(path, iter([b"x"])),
        lambda: files.stat(path),
        lambda: files.open(path),
        lambda: files.delete(path),
        lambda: files.make_folder(path),
        lambda: files.list(path),
        lambda: files.move(path, "moved"),
        lambda: files.move("file", path),
    ]
    for attempt in attempts:
        with refused(code) as caught:
            attempt()
        assert "\0" not in caught.value.message
        caught.value.message.encode()
    assert everything(root) == before


def test_links_are_not_followed_but_can_be_moved_replaced_and_deleted(
    files: LocalFiles, root: Path, refused: Refused
) -> None:
    with refused("PathNotAllowed"):
        files.open("link-to-file")
    with refused("NotAFolder"):
        files.list("link")
    files.move("link-to-file", "moved")
    save(files, "moved", b"mine")
    files.delete("link")
    assert not (root / "link").is_symlink()
    assert (root / "moved").read_text() == "mine"
    assert (root.parent / "outside" / "secret").read_text() == "secret"


@pytest.mark.parametrize("path", ["a\nb", "\x7f", "folder/\x1b[0m"])
def test_new_names_hold_no_control_characters_but_old_ones_can_be_deleted(
    files: LocalFiles, root: Path, refused: Refused, path: str
) -> None:
    with refused("PathNotAllowed"):
        save(files, path, b"")
    with refused("PathNotAllowed"):
        files.move("file", path)
    (root / path).touch()
    files.delete(path)
    assert not (root / path).exists()


def test_errors_have_stable_codes(files: LocalFiles, refused: Refused) -> None:
    attempts: list[tuple[str, Callable[[], object]]] = [
        ("FileNotFound", lambda: files.open("missing")),
        ("FileNotFound", lambda: files.delete("missing")),
        ("IsAFolder", lambda: files.open("folder")),
        ("IsAFolder", lambda: save(files, "folder", b"x")),
        ("NotAFolder", lambda: files.list("file")),
        ("FileExists", lambda: files.make_folder("file")),
        ("FileExists", lambda: files.move("file", "folder")),
        ("FileExists", lambda: files.move("folder", "file")),
        ("FileNotFound", lambda: files.move("missing", "new")),
        ("PathNotAllowed", lambda: files.move("folder", "folder/below")),
        ("PathNotAllowed", lambda: files.delete("")),
        ("PathNotAllowed", lambda: save(files, "", b"x")),
    ]
    for code, attempt in attempts:
        with refused(code):
            attempt()


def test_an_error_names_the_path_that_it_is_about(files: LocalFiles, refused: Refused) -> None:
    with refused("FileNotFound") as caught:
        files.move("missing", "new")
    assert "missing does not exist" in caught.value.message
    with refused("FileExists") as caught:
        files.move("file", "folder")
    assert "folder exists" in caught.value.message


def test_reading_a_pipe_does_not_hang(files: LocalFiles, root: Path, refused: Refused) -> None:
    os.mkfifo(root / "pipe")
    for _ in range(2):
        with refused("NotAFile"):
            files.open("pipe")


def test_a_full_disk_leaves_the_old_file_and_no_piece(
    files: LocalFiles, root: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = everything(root)
    with refused("DiskFull") as caught:
        save(files, "file", b"new")
    assert caught.value.hint
    assert not caught.value.permanent
    assert everything(root) == before
    assert (root / "file").read_text() == "content"


def test_an_upload_that_breaks_off_leaves_the_old_file_and_no_piece(files: LocalFiles, root: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"new"
        assert [entry.name for entry in files.list("")] == ["folder", "file", "link", "link-to-file"]
        raise ConnectionResetError("gone")

    before = everything(root)
    with pytest.raises((ConnectionResetError, CloudError)):
        files.save("file", chunks())
    assert everything(root) == before
    assert (root / "file").read_text() == "content"


def test_what_a_killed_upload_left_is_cleaned_up_later(files: LocalFiles, root: Path) -> None:
    old, new = root / f"{TEMPORARY}old", root / f"{TEMPORARY}new"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    save(files, "other", b"")
    assert not old.exists()
    assert new.exists(), "it may be under way"


def test_a_folder_is_deleted_with_all_in_it_even_where_it_was_closed(files: LocalFiles, root: Path) -> None:
    (root / "folder" / "closed").mkdir()
    (root / "folder" / "closed" / "file").touch()
    (root / "folder" / "way-out").symlink_to(root.parent / "outside")
    (root / "folder" / "closed").chmod(0)
    files.delete("folder")
    assert not (root / "folder").exists()
    assert (root.parent / "outside" / "secret").exists()


def test_deep_folders_can_be_deleted(files: LocalFiles, root: Path) -> None:
    descriptor = os.open(root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=descriptor)
        below = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
    files.delete("d")
    assert not (root / "d").exists()


def test_names_that_are_not_text_can_be_shown(files: LocalFiles, root: Path) -> None:
    (root / os.fsdecode(b"caf\xe9")).touch()
    for entry in files.list(""):
        entry.name.encode()
        entry.path.encode()
