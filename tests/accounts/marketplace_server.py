"""A server that speaks as AWS Marketplace's metering service does (JSON 1.1 over HTTP), with its faults."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Marketplace:
    """What it answers next, and what it was asked. ``hang`` holds an answer back until the test is over."""

    address: str = ""
    status: int = 200
    answer: dict[str, Any] | str = field(default_factory=dict)
    hang: bool = False
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def sells(self, **answer: str) -> None:
        """From now on, all tokens stand for this."""
        self.status, self.answer, self.hang = 200, answer, False

    def fails(self, code: str, status: int = 400) -> None:
        """From now on, refuse as AWS does."""
        self.status, self.hang = status, False
        self.answer = {"__type": f"com.amazonaws.marketplace#{code}", "message": "No."}


@contextmanager
def marketplace_server() -> Iterator[Marketplace]:
    """Started for a test and gone after it."""
    marketplace = Marketplace()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            marketplace.asked.append((str(self.headers["X-Amz-Target"]), body))
            if marketplace.hang:
                marketplace.over.wait(60)
                return
            given = marketplace.answer
            text = (given if isinstance(given, str) else json.dumps(given)).encode()
            self.send_response(marketplace.status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Not among the lines of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    marketplace.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield marketplace
    finally:
        marketplace.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
