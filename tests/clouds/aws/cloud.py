"""AWS as a server of our own: moto over HTTP, with what it lacks or gets wrong put right in front of it.

AssumeRole                a role's trust policy and External ID count, also across accounts; so does its absence
ExpectedBucketOwner       counts
service quotas            those that the product asks for
Subscribe                 e-mail endpoints wait until somebody confirms
faults                    any operation can be made to answer an error

Files beside this one that begin with ``shim_`` put further things right.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from portal.clouds.aws import onboarding
from portal.clouds.aws.configuration import Configuration, new_external_id
from portal.clouds.aws.session import Keys, Session
from portal.clouds.base import Failed, Handle, Settled

PLATFORM = "123456789012"
"""The account of the portal itself: moto's own."""

CUSTOMER = "222222222222"
REGION = "us-east-2"


@dataclass
class Aws:
    """The server. ``faults`` maps an operation to what it answers instead, as often as there are entries; ``asked``
    lists the operations that were asked for; ``quotas`` are limits by code; ``confirmed`` are the e-mail endpoints of
    SNS whose people opened the link."""

    address: str
    faults: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    quotas: dict[str, float] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)

    def fail(self, operation: str, code: str, message: str = "It failed.", status: int = 400, times: int = 1) -> None:
        """Let an operation fail."""
        self.faults.setdefault(operation, []).extend([(status, code, message)] * times)

    def administrator(self, account: str = CUSTOMER, region: str = REGION) -> Session:
        """An administrator of an account, with keys."""
        return Session(region, keys=self.keys(account), endpoint=self.address)

    def keys(self, account: str = CUSTOMER) -> Keys:
        """Keys of an administrator of an account. Moto knows accounts by the roles that their keys were lent with."""
        portal = Session(REGION, keys=Keys("portal", "portal"), endpoint=self.address)
        lent = portal.client("sts").inner.assume_role(
            RoleArn=f"arn:aws:iam::{account}:role/administrator-of-the-tests", RoleSessionName="tests"
        )["Credentials"]
        return Keys(lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"])

    @staticmethod
    def identify(patch: Any) -> None:
        """The portal's own identity, in the environment, as an operator would put it there."""
        patch.setenv("AWS_ACCESS_KEY_ID", "portal")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "portal")

    def reset(self) -> None:
        """Forget everything."""
        import requests

        requests.post(f"{self.address}/moto-api/reset", timeout=10)
        self.faults.clear()
        self.asked.clear()
        self.quotas.clear()
        self.confirmed.clear()


Reply = tuple[str, str, int]
"""A body, its content type, its status."""

CORRECTIONS: list[Callable[[Aws, str, dict[str, list[str]], dict[str, Any]], Reply | None]] = []
"""Each is asked for every operation with its parameters and its WSGI environment, and answers in moto's place or not at
all. Files beside this one put theirs here."""


@contextmanager
def running() -> Iterator[Aws]:
    """The server, for as long as the block."""
    os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "1"
    os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "1"
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *arguments: Any) -> None:
            """Nothing."""

    for shim in pkgutil.iter_modules([os.path.dirname(__file__)]):
        if shim.name.startswith("shim_"):
            importlib.import_module(f"{__package__}.{shim.name}")
    aws = Aws("")
    application = _corrected(aws, DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Quiet)
    aws.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
    try:
        yield aws
    finally:
        server.shutdown()
        server.server_close()


def _corrected(aws: Aws, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def corrected(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        operation, parameters = _operation(environ)
        if operation:
            aws.asked.append(operation)
        if aws.faults.get(operation):
            return _error(start_response, environ, *aws.faults[operation].pop(0))
        if operation == "AssumeRole" and (refusal := _refused_role(environ, parameters)):
            return _error(start_response, environ, 403, "AccessDenied", refusal)
        if operation == "GetServiceQuota":
            wanted = json.loads(parameters["body"][0])["QuotaCode"]
            if wanted in aws.quotas:
                body = json.dumps({"Quota": {"QuotaCode": wanted, "Value": aws.quotas[wanted]}})
                return _answer(start_response, body, "application/x-amz-json-1.1")
        for correction in CORRECTIONS:
            if (reply := correction(aws, operation, parameters, environ)) is not None:
                return _answer(start_response, *reply)
        if _foreign_bucket(environ):
            return _error(start_response, environ, 403, "AccessDenied", "Access Denied")
        if operation in {"Subscribe", "ListSubscriptionsByTopic"}:
            return _unconfirmed(aws, application, environ, start_response, parameters)
        if operation == "DeleteNatGateway":
            _free_address(parameters["NatGatewayId"][0])
        return application(environ, start_response)

    return corrected


def _unconfirmed(
    aws: Aws,
    application: Callable[..., Iterable[bytes]],
    environ: dict[str, Any],
    start_response: Callable[..., Any],
    parameters: dict[str, list[str]],
) -> Iterable[bytes]:
    """Moto's answer, with words where SNS has no ARN yet: moto takes every e-mail endpoint for confirmed."""
    started: list[str] = []
    text = b"".join(application(environ, lambda status, *_: started.append(status))).decode()

    def waits(member: re.Match[str]) -> str:
        address = re.search("<Endpoint>(.*?)</Endpoint>", member[0])
        waiting = address and address[1] not in aws.confirmed
        return re.sub("(?<=<SubscriptionArn>)[^<]+", "PendingConfirmation", member[0]) if waiting else member[0]

    text = re.sub("<member>.*?</member>", waits, text, flags=re.DOTALL)
    if parameters.get("Endpoint", [""])[0] not in aws.confirmed:
        text = re.sub("(?<=<SubscribeResult>)(\\s*<SubscriptionArn>)[^<]+", r"\1pending confirmation", text)
    return _answer(start_response, text, status=int(started[0].split()[0]))


def _operation(environ: dict[str, Any]) -> tuple[str, dict[str, list[str]]]:
    """What is asked for, by the query, JSON or REST protocol; empty for the last, whose paths say it."""
    if target := environ.get("HTTP_X_AMZ_TARGET", ""):
        return target.rpartition(".")[2], {"body": [_body(environ).decode()]}
    if "/operation/" in environ.get("PATH_INFO", ""):
        return environ["PATH_INFO"].rpartition("/")[2], {}
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        parameters = parse_qs(_body(environ).decode())
        return parameters.get("Action", [""])[0], parameters
    return "", {}


def _body(environ: dict[str, Any]) -> bytes:
    import io

    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _error(
    start_response: Callable[..., Any], environ: dict[str, Any], status: int, code: str, message: str
) -> Iterable[bytes]:
    if "/operation/" in environ.get("PATH_INFO", ""):
        data = b"\xa2" + b"".join(map(_cbor, ("__type", code, "message", message)))
        headers = [("Content-Type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
        start_response(f"{status} -", [*headers, ("Content-Length", str(len(data)))])
        return [data]
    if environ.get("HTTP_X_AMZ_TARGET"):
        body = json.dumps({"__type": code, "message": message})
        return _answer(start_response, body, "application/x-amz-json-1.1", status)
    inner = f"<Code>{code}</Code><Message>{escape(message)}</Message>"
    if "/ec2/" in environ.get("HTTP_AUTHORIZATION", ""):
        return _answer(start_response, f"<Response><Errors><Error>{inner}</Error></Errors></Response>", status=status)
    return _answer(start_response, f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>", status=status)


def _cbor(text: str) -> bytes:
    """A text as the newest of AWS's protocols has it, which CloudWatch speaks."""
    data = text.encode()
    return b"\x79" + len(data).to_bytes(2, "big") + data


def _answer(
    start_response: Callable[..., Any], body: str, kind: str = "text/xml", status: int = 200
) -> Iterable[bytes]:
    data = body.encode()
    start_response(f"{status} -", [("Content-Type", kind), ("Content-Length", str(len(data)))])
    return [data]


def _free_address(gateway: str) -> None:
    from moto.backends import get_backend

    for regions in get_backend("ec2").values():
        for backend in regions.values():
            allocations = {each.get("allocationId") for each in _addresses_of(backend, gateway)} - {None}
            for address in backend.addresses:
                if address.allocation_id in allocations:
                    address.eni = address.association_id = None


def _addresses_of(backend: Any, gateway: str) -> list[dict[str, Any]]:
    found = backend.nat_gateways.get(gateway)
    return found.address_set if found else []


def _foreign_bucket(environ: dict[str, Any]) -> bool:
    from moto.s3.models import s3_backends

    expected = environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER")
    owner = s3_backends.bucket_accounts.get(environ["PATH_INFO"].split("/")[1])
    return expected is not None and owner is not None and owner[1] != expected


def _role(arn: str) -> Any:
    from moto.backends import get_backend

    backend: Any = get_backend("iam")[arn.split(":")[4]]["global"]
    return next((role for role in backend.roles.values() if role.arn == arn), None)


def _refused_role(environ: dict[str, Any], parameters: dict[str, list[str]]) -> str:
    """Why a role is not lent. Moto lends every role, also one that is not there, whatever its trust policy says."""
    arn = parameters["RoleArn"][0]
    if arn.endswith(":role/administrator-of-the-tests"):
        return ""
    refusal = f"User: arn:aws:iam::{PLATFORM}:user/portal is not authorized to perform: sts:AssumeRole on {arn}"
    role = _role(arn)
    if role is None:
        return refusal
    given = parameters.get("ExternalId", [None])[0]
    for statement in json.loads(role.assume_role_policy_document)["Statement"]:
        wanted = statement.get("Condition", {}).get("StringEquals", {}).get("sts:ExternalId", given)
        if statement.get("Principal", {}).get("AWS") == f"arn:aws:iam::{PLATFORM}:root" and wanted == given:
            return ""
    return refusal


def connected(aws: Aws, region: str = REGION) -> Configuration:
    """A customer's account as the portal sets it up with access keys."""
    work = onboarding.begin(aws.administrator(region=region), str(uuid.uuid4()), new_external_id(), PLATFORM)
    handle: Handle = {}
    for _ in range(50):
        step = work.advance(handle)
        handle = step.handle
        assert not isinstance(step.outcome, Failed), step.outcome
        if isinstance(step.outcome, Settled):
            return work.configuration
    raise AssertionError("does not settle")
