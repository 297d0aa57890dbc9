"""A server that takes hourly records as AWS Marketplace does (JSON 1.1 over HTTP), with its faults.

It does what AWS's API reference says of BatchMeterUsage: the first record of a customer or licence, a dimension and an
hour counts; the same again is answered the same; another quantity is a DuplicateRecord.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Record = dict[str, Any]


@dataclass
class Metering:
    """What it took, what it was asked, and how it fails next.

    ``unprocessed``, ``not_subscribed`` and ``poison`` say of which records; ``poison`` refuses the whole call with the
    code that it returns. ``fault`` is one of throttle, broken, hang, wait (until ``go_on``), lost (taken, and not
    answered), nonsense, twice (the answer has each record twice), silent (an answer without results) and alien (one for
    another record), or the code of a refusal.
    """

    address: str = ""
    taken: dict[tuple[str, ...], str] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    fault: str = ""
    faults: int = 10**9
    unprocessed: Callable[[Record], bool] = lambda _: False
    not_subscribed: Callable[[Record], bool] = lambda _: False
    poison: Callable[[Record], str] = lambda _: ""
    entered: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def forget(self) -> None:
        """As it was at first."""
        fresh = Metering(self.address)
        for name, value in vars(fresh).items():
            setattr(self, name, value)

    def quantities(self) -> list[int]:
        """What will be charged."""
        return sorted(int(quantity) for quantity in self.taken.values())

    def next_fault(self) -> str:
        """Used up by one call each."""
        self.faults -= 1
        return self.fault if self.faults >= 0 else ""

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """What AWS would."""
        records = body["UsageRecords"]
        if len(records) > 25 or len({record.get("LicenseArn", "") == "" for record in records}) > 1:
            return 400, _refusal("ValidationException")
        if ("ProductCode" in body) == ("LicenseArn" in records[0]):
            return 400, _refusal("InvalidProductCodeException")
        for record in records:
            if code := self.poison(record):
                return 400, _refusal(code)
        answer: dict[str, Any] = {"Results": [], "UnprocessedRecords": []}
        for record in records:
            if self.unprocessed(record):
                answer["UnprocessedRecords"].append(record)
                continue
            status = "CustomerNotSubscribed" if self.not_subscribed(record) else self._take(record)
            identified = {"MeteringRecordId": "-".join(_key(record)[-2:])} if status == "Success" else {}
            answer["Results"].append({"UsageRecord": record, "Status": status, **identified})
        answer["Results"].reverse()  # nothing says that they keep their order
        return 200, answer

    def _take(self, record: Record) -> str:
        first = self.taken.setdefault(_key(record), record["QuantityAsDecimal"])
        return "Success" if first == record["QuantityAsDecimal"] else "DuplicateRecord"


def _key(record: Record) -> tuple[str, ...]:
    customer = record.get("LicenseArn") or record.get("CustomerAWSAccountId") or record.get("CustomerIdentifier") or ""
    return str(customer), record["Dimension"], str(int(record["Timestamp"]) // 3600)


def _refusal(code: str) -> dict[str, Any]:
    return {"__type": f"com.amazonaws.marketplace#{code}", "message": "No."}


@contextmanager
def metering_server() -> Iterator[Metering]:
    """Started for tests and gone after them."""
    metering = Metering()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.headers["X-Amz-Target"] == "AWSMPMeteringService.BatchMeterUsage"
            metering.calls.append(body)
            fault = metering.next_fault()
            if fault == "hang":
                over.wait(20)
                return
            if fault == "wait":
                metering.entered.set()
                metering.go_on.wait(20)
            status, answer = metering.answer(body)
            text = json.dumps(answer)
            match fault:
                case "throttle":
                    status, text = 400, json.dumps(_refusal("ThrottlingException"))
                case "broken":
                    status, text = 500, json.dumps(_refusal("InternalServiceErrorException"))
                case "lost":
                    self.close_connection = True
                    return
                case "nonsense":
                    text = "<html>Bad gateway</html>"
                case "silent":
                    text = "{}"
                case "twice":
                    text = json.dumps({**answer, "Results": answer["Results"] * 2})
                case "alien":
                    other = {**body["UsageRecords"][0], "Dimension": "other"}
                    text = json.dumps({"Results": [{"UsageRecord": other, "Status": "Success"}]})
                case "" | "wait":
                    pass
                case code:
                    status, text = 400, json.dumps(_refusal(code))
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Not among the lines of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    metering.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield metering
    finally:
        over.set()
        metering.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()
