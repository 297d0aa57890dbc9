"""What job code may touch: Landlock, an unprivileged sandbox of the Linux kernel.

Jobs run under the portal's own account, so without a sandbox they could read its database, its keys, the files of other
workspaces and the environment of its processes. Landlock takes that away for good from a process and all that descend
from it: whatever is not listed here is denied, processes outside cannot be traced (which covers /proc/<pid>/environ)
or, from ABI 6 on, signalled. Capabilities go too, in case the portal runs as root.

Not covered by the kernel: *connecting* to a unix socket in the filesystem (so ours ask for a token), TCP, and names in
/dev/shm, which MPI needs and all jobs share.

Standard library only. The numbers are from linux/landlock.h; the syscalls are the same on all 64-bit architectures.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt", "/proc", "/sys"]
"""Read and run."""

RESOLVERS = ["/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf"]
"""Where /etc/resolv.conf may lead: read."""

DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/shm"]  # noqa: S108
"""Read and write."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_SET_NO_NEW_PRIVILEGES = 38
_DROP_FROM_BOUNDING_SET = 24
_AMBIENT, _CLEAR_ALL_AMBIENT = 47, 4
_CAPABILITY_VERSION_3 = 0x20080522

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_FIRST_ABI, _REFER, _TRUNCATE, _IOCTL_DEVICE = (1 << 13) - 1, 1 << 13, 1 << 14, 1 << 15
_SCOPES = 0b11  # abstract unix sockets, signals
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
_READ = _EXECUTE | _READ_FILE | _READ_DIR

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock that the kernel offers; 0 for none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))))


def restrict(system: Sequence[str], readable: Sequence[str], writable: Sequence[str], hidden: Sequence[str]) -> bool:
    """Confine this process from now on, and say whether the kernel can.

    It keeps the system's own directories and the more of them in ``system``, ``readable`` (to read and run) and
    ``writable``. Directories of the system that lead to one of ``hidden`` are opened only around it, for Landlock
    cannot take away what it gave above.
    """
    _call(_libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _drop_capabilities()
    version = abi()
    if version == 0:
        return False
    handled = _FIRST_ABI
    for right, since in ((_REFER, 2), (_TRUNCATE, 3), (_IOCTL_DEVICE, 5)):
        handled |= right if version >= since else 0
    attributes = struct.pack("QQQ", handled, 0, _SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0)))
    for path in around([*SYSTEM, *RESOLVERS, *system], hidden):
        _allow(ruleset, path, _READ & handled)
    for path in readable:
        _allow(ruleset, path, _READ & handled)
    for path in [*DEVICES, *writable]:
        _allow(ruleset, path, handled)
    _call(_libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)))
    os.close(ruleset)
    return True


def around(paths: Iterable[str], hidden: Sequence[str]) -> list[str]:
    """The paths, with each that leads to a hidden one replaced by its entries that do not."""
    veiled = [Path(path).resolve() for path in hidden]
    open_paths: list[str] = []
    queue = [Path(path) for path in paths]
    while queue:
        path = queue.pop()
        real = path.resolve()
        if any(veil == real or veil in real.parents for veil in veiled):
            continue
        if any(real in veil.parents for veil in veiled):
            queue += [entry for entry in real.iterdir() if not entry.is_symlink()]
        else:
            open_paths.append(str(real))
    return open_paths


def interpreter(python: str) -> list[str]:
    """What the Python behind a virtual environment needs to run: its own installation, not all beside it."""
    prefix = Path(python).resolve().parent.parent
    names = ("bin", "lib", "lib64", "share", "include", "ssl")
    return [str(prefix / name) for name in names if (prefix / name).exists()]


def _drop_capabilities() -> None:
    """Take root's powers from a job where the portal runs as root; any other account has none to lose.

    CAP_PERFMON alone reads the memory and the environment of every process, past Landlock (``mm_access`` in Linux 6).
    """
    for capability in range(64):
        _libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)
    _libc.prctl(_AMBIENT, _CLEAR_ALL_AMBIENT, 0, 0, 0)
    _call(_libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        rights &= _ON_FILES
    rule = struct.pack("=Qi", rights, descriptor)
    _call(_libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0)))
    os.close(descriptor)


def _call(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
