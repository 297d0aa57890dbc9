"""Jupyter's server learns from the portal what its kernels are attached to, and writes it down for them.

``PUT <base>/portal/attachments`` with ``{"kernels": {"<kernel id>": {…} or null}}`` (see ``attachment``). The portal
alone can ask for that: it comes straight to the server's socket, with the server's secret, and never through a browser;
its proxy lets nothing through to this path.
"""

from __future__ import annotations

import os
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from portal_lab import attachment


class Attachments(JupyterHandler):
    """What the portal tells."""

    def check_xsrf_cookie(self) -> None:
        """No browser can ask, so there is no cookie either."""

    @web.authenticated
    async def put(self) -> None:
        """Write down what is told, for as long as a kernel lives."""
        told: Any = (self.get_json_body() or {}).get("kernels")
        if not isinstance(told, dict):
            raise web.HTTPError(400, "kernels is missing")
        for kernel, what in told.items():
            if kernel in self.kernel_manager or what is None:
                attachment.write(kernel, what)
        self.set_status(204)
        self.finish()


def _load_jupyter_server_extension(app: Any) -> None:
    """Called by Jupyter's server. Kernels inherit where to look."""
    os.environ.setdefault("PORTAL_ATTACHMENTS", os.path.join(app.runtime_dir, "attachments"))
    base = app.web_app.settings["base_url"]
    app.web_app.add_handlers(".*$", [(url_path_join(base, "portal", "attachments"), Attachments)])
