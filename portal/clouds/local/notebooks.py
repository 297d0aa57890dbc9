"""Notebook servers on LOCAL: a JupyterLab for one person in one workspace, on a unix socket, in a sandbox.

    <root>/workspaces/<workspace>/notebooks/<server>/     see ``lab.py``

It can read and write the workspace's files and its own home, and nothing else of the portal's. Its size limits memory;
cores are shared by all on the machine.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from portal.clouds.base import CloudError, Event, NotebookObservation, NotebookSize, NotebookSpec, Pending
from portal.clouds.local import daemons, kernel, sandbox
from portal.clouds.local.capacity import machine_memory
from portal.clouds.local.releases import Releases

LAB = Path(__file__).parent / "lab.py"
JUPYTER = Path(__file__).parent / "jupyter"
OWN = ("home", "tmp", "run")
"""The directories in a server's directory that it can write."""

SIZES = (NotebookSize("small", 1, 2048), NotebookSize("medium", 2, 4096), NotebookSize("large", 4, 8192))
MAX_MESSAGE = 64 << 20
"""Bytes of a message to a kernel, such as a cell with a picture in it. Tornado's own limit is 10 MiB."""

OUTPUT_RATE = 100 << 20
"""Bytes of output a second. Jupyter's own limit, 1 MB, cuts off a large table."""

START_SECONDS = 60.0
LEAVE_SECONDS = 10.0
_ATTEMPTS = 3
WITHOUT = {"portal-lab": True}
"""JupyterLab's extensions that are not loaded. The toolbar for clusters has to wait until the portal answers it."""

_QUIET = {"fetchNews": "false", "checkForUpdates": False}


def sizes() -> list[NotebookSize]:
    """Those for which the machine has memory; the smallest in any case."""
    return [size for size in SIZES if size == SIZES[0] or size.memory <= machine_memory()]


def observe(directory: Path) -> NotebookObservation:
    """Whether a server lives, and what it told last."""
    told: Mapping[str, Any] = kernel.get(directory / "activity.json") or {}
    at = told.get("at")
    active = None if at is None else datetime.fromtimestamp(at, UTC)
    alive = daemons.held(directory / "lab.lock")
    return NotebookObservation(alive, active, alive and bool(told.get("busy")))


@dataclass
class NotebookStep:
    """The server itself: a supervisor and the JupyterLab below it."""

    directory: Path
    path: str
    spec: NotebookSpec
    images: Releases
    python: str
    bodofs: Path
    hidden: list[str]
    name: str = "server"
    label: str = "notebook server"
    group: str = "server"

    @property
    def fingerprint(self) -> str:
        """Another image or size is another server, and so is a restarted one."""
        spec = self.spec
        return f"{spec.image} {self.images.digest(spec.image)} {spec.size} {spec.generation}"

    @property
    def lock(self) -> Path:
        """Held by the supervisor."""
        return self.directory / "lab.lock"

    def find(self) -> str | None:
        """Its path, if its supervisor lives or is being born."""
        return self.path if daemons.held(self.lock) else None

    def create(self) -> str:
        """Write down what to run, and start it; a second one cannot get the lock."""
        if not self.bodofs.is_dir():
            raise CloudError("WorkspaceNotReady", "The workspace has no filesystem.", "Create the workspace again.")
        self._end_strays()
        self._configure()
        kernel.put(self.directory / "started", time.time())
        self._start()
        return self.path

    def ready(self, id: str) -> bool | Pending | Event:
        """Once it answers. One that died on its way is started again, a few times."""
        started, attempts = self.directory / "started", self.directory / "attempts"
        if daemons.held(self.lock):
            if self._answers():
                attempts.unlink(missing_ok=True)
                return True
            if time.time() - (kernel.get(started) or 0) > START_SECONDS:
                self._signal(signal.SIGKILL)
            return Event("server", "Starting JupyterLab")
        tried = (kernel.get(attempts) or 0) + 1
        if tried > _ATTEMPTS:
            attempts.unlink()
            log = self.directory / "lab.log"
            message = f"JupyterLab ended while it started: {daemons.tail(log, 600)}"
            raise CloudError("NotebookFailed", message, f"Restart it. The whole log is {log}.")
        kernel.put(attempts, tried)
        kernel.put(started, time.time())
        self._start()
        return Pending(0.1, initializing=True)

    def delete(self, id: str | None) -> bool:
        """Ask it to end, insist after a while; True once nothing of it lives."""
        if not self.directory.is_dir():
            return True
        leaving = self.directory / "leaving"
        if daemons.held(self.lock):
            if not leaving.exists():
                leaving.touch()
                self._signal(signal.SIGTERM)
            elif time.time() - leaving.stat().st_mtime > LEAVE_SECONDS:
                self._signal(signal.SIGKILL)
            return False
        if self._end_strays():
            return False
        for name in ("lab.sock", "activity.json", "leaving", "attempts", "started"):
            (self.directory / name).unlink(missing_ok=True)
        return True

    def _end_strays(self) -> bool:
        """Kill what a supervisor that was killed left behind; True if there was anything."""
        strays = kernel.marked(f"PORTAL_NOTEBOOK={self.spec.id}")
        for who in strays:
            kernel.send(who, signal.SIGKILL)
        return bool(strays)

    def _answers(self) -> bool:
        """Whether JupyterLab answers; its version needs no secret."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                folder = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                try:  # a socket's path may have 107 characters, and the directory more
                    connection.connect(f"/proc/self/fd/{folder}/lab.sock")
                finally:
                    os.close(folder)
                connection.sendall(f"GET {self.spec.path}api HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                answer = http.client.HTTPResponse(connection)
                answer.begin()
                return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _configure(self) -> None:
        """Everything that JupyterLab reads, in a directory that it cannot write."""
        config = self.directory / "config"
        shutil.rmtree(config, ignore_errors=True)
        config.mkdir(mode=0o700)
        for source in JUPYTER.glob("*.py"):
            shutil.copyfile(source, config / source.name)
        (config / "migrated").touch()  # else Jupyter looks for settings of an IPython of ten years ago, and writes here
        secret = config / "secret"
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.spec.secret)
        (config / "jupyter_server_config.json").write_text(json.dumps(self._settings(config)))
        (config / "labconfig").mkdir()
        (config / "labconfig" / "page_config.json").write_text(json.dumps({"disabledExtensions": WITHOUT}))
        quiet = self.directory / "home/.jupyter/lab/user-settings/@jupyterlab/apputils-extension"
        if not quiet.exists():
            quiet.mkdir(parents=True)
            (quiet / "notification.jupyterlab-settings").write_text(json.dumps(_QUIET))
        release = str(self.images.path(self.spec.image))
        memory = {size.name: size.memory for size in SIZES}[self.spec.size]
        server = {
            "id": self.spec.id,
            "release": release,
            "memory": memory,
            "command": [f"{release}/bin/python", "-I", str(config / "serve.py")],
            "environment": self._environment(release, config),
            "system": sandbox.interpreter(f"{release}/bin/python"),
            "readable": [release, str(config)],
            "writable": [str(self.bodofs), *(str(self.directory / name) for name in OWN)],
            "hidden": self.hidden,
        }
        kernel.put(self.directory / "server.json", server)

    def _settings(self, config: Path) -> dict[str, Any]:
        return {
            "ServerApp": {
                "sock": str(self.directory / "lab.sock"),
                "base_url": self.spec.path,
                "root_dir": str(self.bodofs),
                "allow_remote_access": True,
                "allow_root": True,
                "open_browser": False,
                "quit_button": False,
                "identity_provider_class": "portal_notebook.SecretIdentity",
                "kernel_manager_class": "jupyter_server.services.kernels.kernelmanager.AsyncMappingKernelManager",
                "jpserver_extensions": {"portal_notebook": True},
                "iopub_data_rate_limit": OUTPUT_RATE,
                "tornado_settings": {"websocket_max_message_size": MAX_MESSAGE},
            },
            "SecretIdentity": {"secret_file": str(config / "secret"), "person": self.spec.person},
            "MultiKernelManager": {"kernel_manager_class": "portal_notebook.PrivateKernelManager"},
            "KernelManager": {"transport": "ipc" if sandbox.abi() >= 6 else "tcp"},
            "FileContentsManager": {"delete_to_trash": False},
            "LabApp": {
                "extension_manager": "readonly",
                "news_url": None,
                "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            },
        }

    def _environment(self, release: str, config: Path) -> dict[str, str]:
        """Built from nothing, so that nothing of the portal's own environment can be in it."""
        home = self.directory / "home"
        return {
            "PATH": f"{home}/.local/bin:{release}/bin:/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "SHELL": "/bin/bash",
            "HOME": str(home),
            "TMPDIR": str(self.directory / "tmp"),
            "JUPYTER_CONFIG_DIR": str(config),
            "JUPYTER_RUNTIME_DIR": str(self.directory / "run"),
            "JUPYTERLAB_SETTINGS_DIR": f"{home}/.jupyter/lab/user-settings",
            "JUPYTERLAB_WORKSPACES_DIR": f"{home}/.jupyter/lab/workspaces",
            "PORTAL_BODOFS": str(self.bodofs),
            "PORTAL_NOTEBOOK": self.spec.id,
        }

    def _signal(self, number: signal.Signals) -> None:
        for who in kernel.marked(f"PORTAL_LAB={self.directory}"):
            kernel.send(who, number)

    def _start(self) -> None:
        daemons.start(
            [self.python, "-I", "-S", str(LAB), str(self.directory)],
            lock=self.lock,
            log=self.directory / "lab.log",
            environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PORTAL_LAB": str(self.directory)},
        )
