"""The file browser over the real LOCAL filesystem, as a clumsy user and as somebody who means harm."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import AuditEvent
from tests.pages.world import Tenants


@pytest.fixture
def client(tenants: Tenants) -> Client:
    return tenants.client("developer", raise_request_exception=False)


@pytest.fixture
def root(tenants: Tenants) -> Path:
    return tenants.lab.files


@pytest.fixture
def where(tenants: Tenants) -> Any:
    return lambda name: reverse(f"workspaces:{name}", args=[tenants.lab.workspace.pk])


def upload(client: Client, where: Any, *files: tuple[str, bytes], path: str = "") -> Any:
    """A form as an attacker writes it: the test client would tidy the names."""
    head = 'Content-Disposition: form-data; name="{}"'
    parts = [head.format("path").encode() + b"\r\n\r\n" + path.encode()]
    for name, data in files:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'{head.format("file")}; filename="{quoted}"\r\n\r\n'.encode() + data)
    body = b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + b"--limit--\r\n"
    return client.post(where("files_upload"), body, content_type="multipart/form-data; boundary=limit")


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


# --- upload ---------------------------------------------------------------------------------------------------------


def test_files_arrive_as_they_were_sent(client: Client, where: Any, root: Path) -> None:
    response = upload(client, where, ("a.bin", bytes(range(256))), ("empty.txt", b""), ("ünï 漢.txt", b"x"))
    assert (response.status_code, response["Location"]) == (302, where("files"))
    assert (root / "a.bin").read_bytes() == bytes(range(256))
    assert (root / "empty.txt").read_bytes() == b""
    assert (root / "ünï 漢.txt").read_bytes() == b"x"
    assert "ünï 漢.txt" in client.get(where("files")).content.decode()
    assert AuditEvent.objects.filter(verb="file.save").count() == 3


def test_an_upload_into_a_folder_replaces_a_file_of_that_name(client: Client, where: Any, root: Path) -> None:
    for data in (b"a long first version", b"second"):
        response = upload(client, where, ("a.txt", data), path="folder/")
        assert response["Location"] == where("files") + "?path=folder"
    assert (root / "folder/a.txt").read_bytes() == b"second"
    assert names(root) == {"job.py", "folder", "folder/a.txt"}  # nothing temporary stays


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../evil", "evil"),
        ("/etc/passwd", "passwd"),
        ("C:\\\\dir\\\\evil.txt", "evil.txt"),
        ("a/b/c.txt", "c.txt"),
        ("<img src=x>.txt", "<img src=x>.txt"),
        (".hidden", ".hidden"),
        ("-rf", "-rf"),
    ],
)
def test_only_the_last_part_of_a_name_counts(client: Client, where: Any, root: Path, sent: str, kept: str) -> None:
    assert upload(client, where, (sent, b"x")).status_code == 302
    assert names(root) == {"job.py", "folder", kept}
    assert "<img src=x" not in client.get(where("files")).content.decode()


@pytest.mark.parametrize("name", ["..", ".", "", "/", "a/..", ".portal-upload-abc", "é" * 200])
def test_names_that_are_none_are_refused(client: Client, where: Any, root: Path, name: str) -> None:
    response = upload(client, where, (name, b"x"))
    assert response.status_code in {400, 409, 422}
    assert b"data-error-message" in response.content
    assert names(root) == {"job.py", "folder"}


@pytest.mark.parametrize("name", ["x" * 300 + ".csv", "nul\0byte.txt", "new\nline.txt", "tab\t.txt"])
def test_names_that_the_form_parser_cleans_never_fail(client: Client, where: Any, root: Path, name: str) -> None:
    assert upload(client, where, (name, b"x")).status_code in {302, 400, 409, 422}
    assert all(len(os.fsencode(found)) <= 255 and found.isprintable() for found in names(root))


@pytest.mark.parametrize(
    "path", ["..", "../annex/bodofs", "/etc", "folder/../..", "missing", "job.py", "a\0b", "x" * 5000]
)
def test_uploads_stay_within_the_workspace(client: Client, where: Any, root: Path, path: str) -> None:
    before = names(root.parent.parent)
    response = upload(client, where, ("evil", b"x"), path=path)
    assert response.status_code in {400, 404, 409, 422}
    assert names(root.parent.parent) == before


def test_an_upload_does_not_replace_a_folder(client: Client, where: Any, root: Path) -> None:
    assert upload(client, where, ("folder", b"x")).status_code == 409
    assert (root / "folder").is_dir()


def test_a_full_disk_is_said_and_leaves_no_half_file(
    client: Client, where: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("portal.clouds.local.files.os.fsync", full)
    response = upload(client, where, ("a.bin", b"x" * 1000))
    assert response.status_code == 507
    assert b"DiskFull" in response.content
    assert b"disk is full" in response.content
    assert names(root) == {"job.py", "folder"}
    assert not AuditEvent.objects.filter(verb="file.save").exists()


def test_a_full_disk_is_said_where_uploads_are_spooled(
    client: Client, where: Any, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form is parsed before any view, in the check of its CSRF token."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("django.core.files.uploadhandler.TemporaryFileUploadHandler.receive_data_chunk", full)
    careful = Client(enforce_csrf_checks=True, raise_request_exception=False)
    careful.cookies = client.cookies
    careful.cookies["csrftoken"] = "x" * 32
    for browser in (client, careful):
        response = upload(browser, where, ("a.bin", b"x"))
        assert response.status_code == 507
        assert b"DiskFull" in response.content
    assert names(root) == {"job.py", "folder"}


def test_uploads_are_spooled_on_the_disk_where_files_live(settings: Settings) -> None:
    assert Path(settings.FILE_UPLOAD_TEMP_DIR).is_relative_to(settings.PORTAL_HOME)
    assert settings.FILE_UPLOAD_HANDLERS == ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]


# --- download -------------------------------------------------------------------------------------------------------


def test_a_download_is_an_attachment_whatever_it_is(client: Client, where: Any, root: Path) -> None:
    for name in ("page.html", "pic.svg", 'quo"te.txt', "ünï.txt", "new\nline"):
        (root / name).write_bytes(b"<script>alert(1)</script>")
        response = client.get(where("files_download"), {"path": name})
        assert b"".join(response) == b"<script>alert(1)</script>"
        assert response["Content-Type"] == "application/octet-stream"
        assert response["Content-Disposition"].startswith("attachment")
        assert response["Content-Length"] == "25"
        assert response["X-Content-Type-Options"] == "nosniff"


def test_a_file_that_grows_while_it_is_sent_ends_where_it_was(client: Client, where: Any, root: Path) -> None:
    response = client.get(where("files_download"), {"path": "job.py"})
    with (root / "job.py").open("a") as file:
        file.write("more\n" * 100)
    assert len(b"".join(response)) == int(response["Content-Length"])


@pytest.mark.parametrize(
    ("path", "status"),
    [("missing", 404), ("folder", 409), ("", 400), ("..", 400), ("/etc/passwd", 400), ("a\0", 400), ("x" * 300, 409)],
)
@pytest.mark.parametrize("page", ["files_download", "files_edit"])
def test_what_cannot_be_read_is_explained(client: Client, where: Any, page: str, path: str, status: int) -> None:
    response = client.get(where(page), {"path": path})
    if page == "files_edit":  # which takes /path for path
        status = {"": 409, "/etc/passwd": 404}.get(path, status)
    assert response.status_code == status
    assert b"data-error-message" in response.content


# --- links that job code planted ------------------------------------------------------------------------------------


@pytest.fixture
def planted(root: Path, tmp_path: Path) -> Path:
    """A secret outside; in the workspace a link to it, a link to its folder, and a link in a circle."""
    secret = tmp_path / "outside" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("secret")
    (root / "link").symlink_to(secret)
    (root / "door").symlink_to(secret.parent)
    (root / "circle").symlink_to("circle")
    os.mkfifo(root / "pipe")
    return secret


def test_links_are_shown_and_never_followed(client: Client, where: Any, root: Path, planted: Path) -> None:
    page = client.get(where("files"))
    assert page.status_code == 200
    assert "door" in page.content.decode()
    for path in ("link", "door/secret.txt", "circle", "pipe"):
        for name in ("files_download", "files_edit"):
            response = client.get(where(name), {"path": path})
            assert response.status_code in {400, 404, 409}, (name, path)
            assert b"secret</" not in response.content
    assert client.get(where("files"), {"path": "door"}).status_code in {400, 404}
    assert upload(client, where, ("new.txt", b"x"), path="door").status_code in {400, 404}
    assert client.post(where("files_folder"), {"path": "door", "name": "new"}).status_code in {400, 404}
    for target in ("door/stolen.py", "../stolen.py"):
        assert client.post(where("files_move"), {"path": "job.py", "name": target}).status_code in {400, 404}
    assert client.post(where("files_delete"), {"path": "door/secret.txt"}).status_code in {400, 404}
    assert names(planted.parent) == {"secret.txt"}


def test_saving_over_a_link_or_deleting_it_touches_the_link_only(
    client: Client, where: Any, root: Path, planted: Path
) -> None:
    assert upload(client, where, ("link", b"mine")).status_code == 302
    assert not (root / "link").is_symlink()
    assert client.post(where("files_delete"), {"path": "door"}).status_code == 302
    assert client.post(where("files_delete"), {"path": "pipe"}).status_code == 302
    assert planted.read_text() == "secret"


def test_a_folder_that_becomes_a_link_is_not_entered(client: Client, where: Any, root: Path, planted: Path) -> None:
    (root / "folder").rmdir()
    (root / "folder").symlink_to(planted.parent)
    assert upload(client, where, ("new.txt", b"x"), path="folder").status_code in {400, 404}
    assert names(planted.parent) == {"secret.txt"}


def test_names_that_are_no_utf8_are_listed(client: Client, where: Any, root: Path) -> None:
    with open(os.fsencode(root) + b"/bad-\xff", "wb") as file:
        file.write(b"x")
    assert client.get(where("files")).status_code == 200


# --- rename, delete, edit -------------------------------------------------------------------------------------------


def test_rename_move_and_delete(client: Client, where: Any, root: Path) -> None:
    assert client.post(where("files_move"), {"path": "job.py", "name": "folder/new name.py"}).status_code == 302
    response = client.post(where("files_move"), {"path": "folder/new name.py", "name": "b.py"})
    assert response["Location"] == where("files") + "?path=folder"
    (root / "folder/deep/er").mkdir(parents=True)
    assert client.post(where("files_delete"), {"path": "folder"}).status_code == 302
    assert names(root) == set()
    assert client.post(where("files_delete"), {"path": "folder"}).status_code == 404


def test_rename_replaces_nothing(client: Client, where: Any, root: Path) -> None:
    (root / "other.py").write_text("other")
    response = client.post(where("files_move"), {"path": "job.py", "name": "other.py"})
    assert response.status_code == 409
    assert b"exists already" in response.content
    assert (root / "other.py").read_text() == "other"
    assert client.post(where("files_move"), {"path": "folder", "name": "folder/inside"}).status_code == 400


@pytest.mark.parametrize("path", ["", ".", "/", "..", "./", "folder/..", "//"])
def test_the_filesystem_itself_cannot_be_deleted_or_renamed(client: Client, where: Any, root: Path, path: str) -> None:
    assert client.post(where("files_delete"), {"path": path}).status_code in {400, 422}
    assert client.post(where("files_move"), {"path": path, "name": "gone"}).status_code in {400, 422}
    assert names(root) == {"job.py", "folder"}


@pytest.mark.parametrize("name", ["", "x" * 300, "a\0b", "..", "a\nb", "/abs", "é" * 200])
def test_folder_names_that_are_none_are_refused(client: Client, where: Any, root: Path, name: str) -> None:
    response = client.post(where("files_folder"), {"path": "", "name": name})
    assert response.status_code in {302, 400, 409, 422}
    assert names(root) <= {"job.py", "folder", "abs"}


def digest_of(page: Any) -> str:
    digest: str = page.context["form"]["digest"].value()
    return digest


def test_editing_keeps_line_ends_and_notices_others(client: Client, where: Any, root: Path) -> None:
    address = where("files_edit") + "?path=job.py"
    page = client.get(address)
    assert "print(&#x27;hello&#x27;)" in page.content.decode()
    mine = {"digest": digest_of(page), "text": "line 1\r\nline 2 ü\r\n"}  # what browsers send
    assert client.post(address, mine).status_code == 302
    assert (root / "job.py").read_bytes() == "line 1\nline 2 ü\n".encode()

    late = client.post(address, {**mine, "text": "late"})
    assert late.status_code == 422
    assert b"changed by somebody else" in late.content
    assert b"late" in late.content  # what was typed is not lost
    assert (root / "job.py").read_bytes() == "line 1\nline 2 ü\n".encode()


def test_files_that_are_no_small_text_are_not_edited(client: Client, where: Any, root: Path) -> None:
    for name, data in (("big.txt", b"x" * 600_000), ("binary", b"\xff\xfe\x00"), ("nul.txt", b"a\0b")):
        (root / name).write_bytes(data)
        assert client.get(where("files_edit"), {"path": name}).status_code == 409
    (root / "empty.txt").write_bytes(b"")
    assert client.get(where("files_edit"), {"path": "empty.txt"}).status_code == 200


def test_markup_in_names_and_text_is_shown_as_text(client: Client, where: Any, root: Path) -> None:
    name = '"><script>alert(1)<'
    (root / name).write_text("</textarea><script>alert(2)</script>")
    for page in (client.get(where("files")), client.get(where("files_edit"), {"path": name})):
        assert page.status_code == 200
        assert "<script>alert" not in page.content.decode()
