"""Snowflake and AWS as servers of our own, as far as a connection test asks them."""

from __future__ import annotations

import datetime
import json
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server


@dataclass
class FakeSnowflake:
    """Signs in one user, and answers the one query that is asked. ``status`` other than 200 answers everything so."""

    user: str = "reader"
    password: str = "right"
    session: dict[str, str | None] = field(
        default_factory=lambda: {"role": "ANALYST", "warehouse": "WH", "database": "SALES", "schema": "PUBLIC"}
    )
    status: int = 200
    hangs: threading.Event | None = None
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    address: str = ""

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """As Snowflake's interface does, in the parts that the connector reads."""
        self.asked.append((path, body))
        if path.startswith("/session/v1/login-request"):
            return self._sign_in(body["data"])
        if path.startswith("/queries/v1/query-request"):
            assert "CURRENT_VERSION" in body["sqlText"]
            row = ["9.30.1", *(self.session[name] for name in ("role", "warehouse", "database", "schema"))]
            columns = [{"name": f"C{number}", "type": "text", "nullable": True} for number in range(len(row))]
            data = {"parameters": [], "rowtype": columns, "rowset": [row], "total": 1, "returned": 1}
            return _good({**data, "queryId": "01", "queryResultFormat": "json", "statementTypeId": 4096})
        return _good(None)

    def _sign_in(self, given: dict[str, Any]) -> dict[str, Any]:
        if (given["LOGIN_NAME"], given["PASSWORD"]) != (self.user, self.password):
            message = "Incorrect username or password was specified."
            return {"data": {}, "code": "390100", "message": message, "success": False}
        session = {f"{name}Name": value for name, value in self.session.items()}
        tokens = {"token": "t", "masterToken": "m", "validityInSeconds": 3600, "masterValidityInSeconds": 14400}
        return _good({**tokens, "sessionId": 1, "parameters": [], "sessionInfo": session, "serverVersion": "9.30.1"})


def _good(data: Any) -> dict[str, Any]:
    return {"data": data, "code": None, "message": None, "success": True}


@contextmanager
def snowflake(*, tls: bool = False, **fields: Any) -> Iterator[FakeSnowflake]:
    """A server for it; with ``tls``, behind a certificate that nobody trusts."""
    fake = FakeSnowflake(**fields)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if fake.hangs:
                fake.hangs.wait(30)
                self.close_connection = True
                return
            page = b"<html>" if fake.status != 200 else json.dumps(fake.answer(self.path, json.loads(body))).encode()
            self.send_response(fake.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls:
        server.socket = _certified(server.socket)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    fake.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        if fake.hangs:
            fake.hangs.set()
        server.shutdown()
        server.server_close()


def _certified(listening: socket.socket) -> socket.socket:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=2100)
    )
    certificate = made.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "both.pem"
        file.write_bytes(certificate.public_bytes(pem) + private)
        context.load_cert_chain(file)
    return context.wrap_socket(listening, server_side=True)


@contextmanager
def aws() -> Iterator[str]:
    """Moto over HTTP; its address."""
    server = make_server("127.0.0.1", 0, _corrected(DomainDispatcherApplication(create_backend_app)), threaded=True)
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield address
    finally:
        requests.post(f"{address}/moto-api/reset-auth", data="inf", headers={"Content-Type": "text/plain"}, timeout=5)
        requests.post(f"{address}/moto-api/reset", timeout=5)
        server.shutdown()
        server.server_close()


def watch_signatures(address: str) -> None:
    """From now on, keys, signatures and policies count."""
    requests.post(f"{address}/moto-api/reset-auth", data="0", headers={"Content-Type": "text/plain"}, timeout=5)


_CODES = {
    "InvalidClientTokenId": "UnrecognizedClientException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "AccessDenied": "AccessDeniedException",
}


def _corrected(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """Moto refuses Glue's requests in XML, with IAM's codes; AWS does in JSON, with codes of its own."""

    def corrected(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        started: list[Any] = []
        body = b"".join(application(environ, lambda *arguments: started.extend(arguments)))
        status, headers = started[0], started[1]
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith("AWSGlue") and body.startswith(b"<?xml"):
            code = re.findall(rb"<Code>(\w+)</Code>", body)[0].decode()
            message = re.findall(rb"<Message>(.*)</Message>", body)[0].decode()
            body = json.dumps({"__type": _CODES[code], "Message": message}).encode()
            status, headers = "400 BAD REQUEST", [("Content-Type", "application/x-amz-json-1.1")]
        start_response(status, [pair for pair in headers if pair[0].lower() != "content-length"])
        return [body]

    return corrected
