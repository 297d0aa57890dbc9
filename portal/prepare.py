"""What has to be done before the portal can serve: migrations and, where storage hashes names, static files.

Runs in a process of its own (`python -m portal.prepare`): Django starts once for both and leaves no memory behind.
"""

import hashlib
import os
import sys
from pathlib import Path

import django


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    django.setup()
    from django.db import OperationalError

    try:
        _migrate()
    except OperationalError as error:
        sys.exit(f"The database cannot be reached: {str(error).strip()}")
    _collect_static_files()


def _migrate() -> None:
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    waiting = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    if waiting:
        sys.stdout.write(f"Applying {waiting} database migration{'s' if waiting > 1 else ''} …\n")
        sys.stdout.flush()
        call_command("migrate", interactive=False, verbosity=0)


def _collect_static_files() -> None:
    """Collect only when a source file changed since the last time; looking takes some ten milliseconds."""
    from django.conf import settings
    from django.contrib.staticfiles.finders import get_finders
    from django.core.management import call_command

    root = Path(settings.STATIC_ROOT)
    root.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns when it is not there
    if "Manifest" not in settings.STORAGES["staticfiles"]["BACKEND"]:
        return  # WhiteNoise serves the sources themselves
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            found = os.stat(storage.path(name))
            digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode())
    stamp = root / ".collected"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(digest.hexdigest())


if __name__ == "__main__":
    main()
