"""The portal dies with a run under way, and comes back."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx

from tests.browser.stage import Stage, Tenant, stage
from tests.clouds.local_world import wait_for

SLOW = """
import pathlib, time
print("begun", flush=True)
while not pathlib.Path("end").exists():
    time.sleep(0.05)
print("done", flush=True)
"""


def _page(portal: Stage, tenant: Tenant) -> Callable[[str], str]:
    def get(path: str) -> str:
        return httpx.get(portal.address + path, cookies={"sessionid": tenant.session}, timeout=30).text

    return get


def _status(html: str) -> str:
    found = re.search(r'data-status="(\w+)"', html)
    return found[1] if found else ""


def test_clusters_and_runs_survive_a_crash_of_the_whole_portal() -> None:
    with stage(1, museum=False) as portal:
        tenant = portal.tenants[0]
        get, root = _page(portal, tenant), f"/w/{tenant.workspace}"
        form = {"name": "c", "instance_type": "local.1x", "instances": "2", "release": "2026.10"}
        idle = {"auto_pause_minutes": "0", "auto_stop_minutes": "0"}
        cluster = portal.post(tenant, f"{root}/clusters/new/", {**form, **idle})
        wait_for(lambda: _status(get(f"{cluster}live/")) == "RUNNING", 60)
        (tenant.files / "slow.py").write_text(SLOW)
        values = {"name": "slow", "cluster": cluster.split("/")[-2], "file": "slow.py", "mode": "spawn"}
        run = portal.post(tenant, f"{root}/jobs/new/", {**values, "timeout_minutes": "5"})
        wait_for(lambda: "begun" in get(f"{run}log/"), 60)

        portal.kill_and_run_again()

        assert _status(get(f"{run}live/")) == "RUNNING"
        (tenant.files / "end").touch()
        wait_for(lambda: _status(get(f"{run}live/")) == "SUCCEEDED", 60)
        assert get(f"{run}log/") == "begun\ndone\n"
        assert _status(get(f"{cluster}live/")) == "RUNNING"
