"""The code of a run, packed for its way through the bucket."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from portal.clouds.base import CloudError
from portal.clouds.local import bundles
from portal.clouds.local.files import LocalFiles, explained

MOST_PACKED = 100 << 20
"""Bytes that go to the bucket well within a start."""


@contextmanager
def packed(bundle: str, needed: str) -> Iterator[tuple[BinaryIO, str]]:
    """The archive of a bundle, and what is to be said about it in the run's log.

    The rules are LOCAL's, whose copy is what is packed: links that lead out of it are left out. Raises
    CloudError(BundleMissing, BundleTooLarge), and what LOCAL raises where the file that is
    ``needed`` cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="portal-bundle-") as directory:
        place = Path(directory)
        copied = bundles.copy(Path(bundle), place)
        if needed:
            try:
                with LocalFiles(copied).open(needed):
                    pass
            except OSError as error:
                raise explained(error, needed) from error
        said = place / "stderr.log"
        archive = place / "bundle.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            tar.add(copied, arcname=".")
        if archive.stat().st_size > MOST_PACKED:
            message = f"The code takes more than {MOST_PACKED >> 20} MB, packed."
            hint = "Keep data out of the source; read it from the workspace."
            raise CloudError("BundleTooLarge", message, hint, permanent=True)
        with open(archive, "rb") as file:
            yield file, said.read_text() if said.exists() else ""
