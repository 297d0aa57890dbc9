"""A server that speaks as AWS Marketplace's entitlement service does (JSON 1.1 over HTTP), with its faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Entitlements:
    """What it answers next, page by page, and what it was asked."""

    address: str = ""
    status: int = 200
    pages: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def grants(self, *entitlements: dict[str, Any]) -> None:
        """From now on, this and nothing more; the page before it is empty, as AWS says that pages may be."""
        self.status = 200
        self.pages = [{"Entitlements": [], "NextToken": "more"}, {"Entitlements": list(entitlements)}]

    def fails(self, code: str, status: int) -> None:
        """From now on, refuse."""
        self.status, self.pages = status, [{"__type": f"com.amazonaws.marketplace#{code}", "message": "No."}]


@contextmanager
def entitlement_server() -> Iterator[Entitlements]:
    """Started for a test and gone after it."""
    service = Entitlements()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = json.loads(body)
            assert self.headers["X-Amz-Target"] == "AWSMPEntitlementService.GetEntitlements"
            service.asked.append(asked)
            number = 1 if "NextToken" in asked and len(service.pages) > 1 else 0
            page = service.pages[number]
            answer = page if isinstance(page, bytes) else json.dumps(page).encode()
            self.send_response(service.status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Not among the lines of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
