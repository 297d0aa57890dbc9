"""The file browser over a workspace's shared filesystem."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import PurePosixPath

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import content_disposition_header, urlencode

from accounts.audit import actor_of
from accounts.permissions import Perm
from portal.clouds.base import CloudError, Files
from portal.errors import UserError
from portal.forms import done, posted
from portal.streaming import BLOCK, blocks
from workspaces import services
from workspaces.access import WorkspaceRequest, workspace_view
from workspaces.clouds import cloud_of
from workspaces.forms import FolderForm, MoveForm, PathForm, TextForm, UploadForm
from workspaces.models import Workspace

EDIT_LIMIT = 512 * 1024


def files_of(workspace: Workspace) -> Files:
    """The shared filesystem of a workspace."""
    return cloud_of(workspace.cloud_configuration).files(workspace.handle)


def join(folder: str, name: str) -> str:
    """A path within the filesystem; the provider refuses what leaves it."""
    return f"{folder.strip('/')}/{name}".strip("/")


@workspace_view(Perm.WS_VIEW)
def files(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """A folder."""
    path = request.GET.get("path", "").strip("/")
    error = None
    try:
        entries = list(files_of(workspace).list(path))
    except CloudError as raised:
        entries, error = [], raised
    parts = PurePosixPath(path).parts
    context = {
        "nav": "files",
        "path": path,
        "crumbs": [(part, "/".join(parts[: index + 1])) for index, part in enumerate(parts)],
        "entries": entries,
        "upload_form": UploadForm(initial={"path": path}),
        "folder_form": FolderForm(initial={"path": path}),
        "error": error,
        "can_edit": Perm.FILES_EDIT in request.permissions,
    }
    return render(request, "workspaces/files.html", context, status=_status(error) if error else 200)


def _status(error: CloudError) -> int:
    return {"FileNotFound": 404, "PathNotAllowed": 400, "NotAFolder": 404, "DiskFull": 507}.get(error.code, 409)


def _back(request: WorkspaceRequest, workspace: Workspace, folder: str) -> HttpResponse:
    address = reverse("workspaces:files", args=[workspace.pk])
    folder = folder.strip("/")
    return done(request, f"{address}?{urlencode({'path': folder})}" if folder not in {"", "."} else address)


def _refusal(error: CloudError) -> UserError:
    return UserError(error.code, error.message, error.hint, status=_status(error))


@workspace_view(Perm.FILES_EDIT, ("POST",))
def upload(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Take one or more files. They are on disk by the time they come here, and are streamed from there."""
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        raise UserError("NoFile", "No file was chosen.", "Choose a file and upload it again.", status=422)
    folder = form.cleaned_data["path"]
    uploads = [file for file in request.FILES.getlist("file") if isinstance(file, UploadedFile)]
    for file in uploads:
        try:
            services.save_file(
                actor=actor_of(request), workspace=workspace, path=join(folder, file.name or ""), chunks=file.chunks()
            )
        except CloudError as error:
            raise _refusal(error) from error
    names = ", ".join(file.name or "" for file in uploads[:3])
    messages.success(request, f"Uploaded {names}." if len(uploads) <= 3 else f"Uploaded {len(uploads)} files.")
    return _back(request, workspace, folder)


@workspace_view(Perm.FILES_EDIT, ("POST",))
def folder_new(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Make a folder."""
    form = FolderForm(request.POST)
    if not form.is_valid():
        raise UserError("NameNeeded", "The folder needs a name of at most 255 characters.", status=422)
    path = join(form.cleaned_data["path"], form.cleaned_data["name"])
    try:
        services.make_folder(actor=actor_of(request), workspace=workspace, path=path)
    except CloudError as error:
        raise _refusal(error) from error
    return _back(request, workspace, form.cleaned_data["path"])


@workspace_view(Perm.FILES_EDIT, ("POST",))
def move(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Rename a file or folder."""
    form = MoveForm(request.POST)
    if not form.is_valid():
        raise UserError("NameNeeded", "The new name is missing or too long.", status=422)
    path: str = form.cleaned_data["path"]
    folder = str(PurePosixPath(path).parent)
    destination = join("" if folder == "." else folder, form.cleaned_data["name"])
    try:
        services.move_file(actor=actor_of(request), workspace=workspace, source=path, destination=destination)
    except CloudError as error:
        raise _refusal(error) from error
    return _back(request, workspace, folder)


@workspace_view(Perm.FILES_EDIT, ("POST",))
def delete(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Delete a file, or a folder with everything in it."""
    form = PathForm(request.POST)
    if not form.is_valid():
        raise UserError("PathNeeded", "The path is missing or too long.", status=422)
    path: str = form.cleaned_data["path"]
    try:
        services.delete_file(actor=actor_of(request), workspace=workspace, path=path)
    except CloudError as error:
        raise _refusal(error) from error
    messages.success(request, f"Deleted {path}.")
    return _back(request, workspace, str(PurePosixPath(path).parent))


@workspace_view(Perm.WS_VIEW)
def download(request: WorkspaceRequest, workspace: Workspace) -> HttpResponseBase:
    """A file, streamed, always as an attachment: what people upload is never a page of ours."""
    path = request.GET.get("path", "")
    try:
        left = files_of(workspace).stat(path).size
        file = files_of(workspace).open(path)
    except CloudError as error:
        raise _refusal(error) from error

    def read() -> bytes:
        nonlocal left
        block = file.read(min(BLOCK, left))  # a job may be writing more of it meanwhile
        left -= len(block)
        return block

    response = StreamingHttpResponse(blocks(read), content_type="application/octet-stream")
    response._resource_closers.append(file.close)  # type: ignore[attr-defined]
    response["Content-Length"] = str(left)
    response["Content-Disposition"] = content_disposition_header(True, PurePosixPath(path).name) or "attachment"
    return response


@workspace_view(Perm.FILES_EDIT, ("GET", "HEAD", "POST"))
def edit(request: WorkspaceRequest, workspace: Workspace) -> HttpResponse:
    """Edit a small text file; a file that changed meanwhile is not overwritten."""
    path = request.GET.get("path", "").strip("/")
    try:
        entry = files_of(workspace).stat(path)
        if entry.kind != "file" or entry.size > EDIT_LIMIT:
            raise UserError(
                "NotEditable",
                f"{path} is not a text file of at most {EDIT_LIMIT // 1024} KiB.",
                "Download it, change it, and upload it again.",
            )
        with files_of(workspace).open(path) as file:
            data = file.read(EDIT_LIMIT + 1)
        text = data.decode()
        if "\0" in text:  # valid UTF-8, and yet no text that a form could send back
            raise UserError("NotText", f"{path} is not text.", "Download it instead.")
    except CloudError as error:
        raise _refusal(error) from error
    except UnicodeDecodeError as error:
        raise UserError("NotText", f"{path} is not text.", "Download it instead.") from error
    digest = hashlib.sha256(data).hexdigest()
    form = TextForm(posted(request), initial={"text": text, "digest": digest})
    if request.method == "POST" and form.is_valid():
        if form.cleaned_data["digest"] != digest:
            form.add_error(
                None, "The file was changed by somebody else meanwhile. Copy your text, then reload the page."
            )
        else:
            written = form.cleaned_data["text"]
            if "\r\n" not in text:
                written = written.replace("\r\n", "\n")
            try:
                services.save_file(
                    actor=actor_of(request), workspace=workspace, path=path, chunks=_once(written.encode())
                )
            except CloudError as error:
                raise _refusal(error) from error
            messages.success(request, f"Saved {path}.")
            return _back(request, workspace, str(PurePosixPath(path).parent))
    context = {"nav": "files", "path": path, "form": form, "entry": entry}
    return render(request, "workspaces/file_edit.html", context, status=422 if form.errors else 200)


def _once(data: bytes) -> Iterator[bytes]:
    yield data
