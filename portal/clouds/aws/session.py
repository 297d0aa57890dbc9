"""How the portal speaks to AWS: as itself, with keys that somebody entered, or in a customer's role.

Every call goes through ``Client``, so that nothing above ever sees an exception of botocore. Nothing is tried again
here: a lost answer may have made something, and the engine looks for it before it asks again (``portal.clouds.plan``).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from portal.clouds.aws.errors import no_credentials, refused, unreachable

CONNECT_SECONDS = 3
READ_SECONDS = 8
"""A step asks a handful of things, and one that gets no answer ends it: within the lease of 30 seconds on its row."""

_HOMES = {"pricing": "us-east-1"}
"""What is there in few regions and speaks of all: AWS's price list."""

ROLE_SECONDS = 3600
"""How long AWS lends a role. It is the most that a role may be lent to another role."""


@dataclass(frozen=True)
class Keys:
    """Access keys. They are never shown, also not by accident."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Role:
    """A customer's role, and the External ID without which it must not be lent."""

    arn: str
    external_id: str | None = field(repr=False)

    @property
    def account(self) -> str:
        """The twelve digits of the account that it belongs to."""
        return self.arn.split(":")[4]


class Client:
    """A client of boto3's whose operations raise ``AwsError`` and nothing else."""

    def __init__(self, service: str, inner: Any) -> None:
        self.service, self.inner = service, inner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.inner, name)

        def call(**arguments: Any) -> Any:
            with _translated(self, name):
                return method(**arguments)

        return call

    def pages(self, name: str, key: str, **arguments: Any) -> Iterator[Any]:
        """The items of all pages of a listing operation; ``key`` is the name of the list in its answer, which some
        services leave out where it is empty."""
        with _translated(self, name):
            for page in self.inner.get_paginator(name).paginate(**arguments):
                yield from page.get(key, ())


class Session:
    """The clients of one account in one region, made when first needed: the first of a service costs half a second.

    Without ``keys`` it is the portal's own identity, found where boto3 looks for it; with ``role`` that identity
    borrows the role, again and again before it runs out. ``endpoint`` replaces AWS's addresses.
    """

    def __init__(self, region: str, *, keys: Keys | None = None, role: Role | None = None, endpoint: str = "") -> None:
        self.region, self.role, self.endpoint = region, role, endpoint
        self._keys = keys
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, float], Client] = {}
        self._session: Any = None

    def client(self, service: str, patience: float | None = None) -> Client:
        """The client of a service (``ec2``, ``s3`` …). ``patience`` is how many seconds to wait for an answer, where
        the engine's lease does not limit it."""
        patience = patience or READ_SECONDS
        with self._lock:
            if (service, patience) not in self._clients:
                if self._session is None:
                    self._session = self._new_session()
                where = {"region_name": _HOMES.get(service, self.region), "endpoint_url": self.endpoint or None}
                inner = self._session.client(service, **where, config=_config(service, patience))
                self._clients[service, patience] = Client(service, inner)
            return self._clients[service, patience]

    def account(self) -> str:
        """The twelve digits of the account that this session works in. Asks AWS once."""
        if self.role:
            return self.role.account
        return str(self.client("sts").get_caller_identity()["Account"])

    def _new_session(self) -> Any:
        import boto3
        import botocore.session
        from botocore.credentials import CredentialResolver

        _quieten()
        core = botocore.session.Session()
        core.register_component("data_loader", _loader())
        if self.role:
            core.register_component("credential_provider", CredentialResolver([_lent(self.role, self)]))
        elif self._keys:
            core.set_credentials(self._keys.access_key_id, self._keys.secret_access_key, self._keys.session_token)
        return boto3.Session(botocore_session=core, region_name=self.region)


def assume(role: Role, region: str, endpoint: str = "") -> dict[str, Any]:
    """Ask for a role once, as the portal itself; the temporary keys as AWS gives them. Raises AwsError."""
    arguments = {"RoleArn": role.arn, "RoleSessionName": "bodo-platform", "DurationSeconds": ROLE_SECONDS}
    if role.external_id is not None:
        arguments["ExternalId"] = role.external_id
    answer = _own(region, endpoint).client("sts").assume_role(**arguments)
    return dict(answer["Credentials"])


@cache
def _own(region: str, endpoint: str) -> Session:
    return Session(region, endpoint=endpoint)


def _lent(role: Role, session: Session) -> Any:
    """The role's keys for botocore, which asks for new ones ten minutes before these run out."""
    from botocore.credentials import CredentialProvider, DeferredRefreshableCredentials

    def refresh() -> dict[str, str]:
        answer = assume(role, session.region, session.endpoint)
        expiry = answer["Expiration"]
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["SessionToken"],
            "expiry_time": expiry.isoformat() if isinstance(expiry, datetime) else str(expiry),
        }

    class Lent(CredentialProvider):  # type: ignore[misc]
        METHOD = "customers-role"

        def load(self) -> Any:
            return DeferredRefreshableCredentials(refresh, self.METHOD)

    return Lent()


@cache
def _loader() -> Any:
    """The descriptions of the services, several MB each, once for all sessions of a process."""
    import botocore.loaders

    return botocore.loaders.create_loader()


def _quieten() -> None:
    """Whatever level an operator logs at, now or later: in its details, botocore writes down keys, tokens, and all that
    is sent."""
    for name in ("botocore", "boto3"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.level, logging.WARNING))


def _config(service: str, patience: float) -> Any:
    from botocore.config import Config

    return Config(
        # Else links to S3 would be signed in an older way in some regions.
        **({"signature_version": "s3v4"} if service == "s3" else {}),
        connect_timeout=CONNECT_SECONDS,
        read_timeout=patience,
        retries={"total_max_attempts": 1, "mode": "standard"},
        user_agent_appid="bodo-platform",
    )


@contextmanager
def _translated(client: Client, name: str) -> Iterator[None]:
    """Turns what botocore raises into ours. A parameter of the wrong kind is a mistake of ours, and stays one."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        NoCredentialsError,
        ParamValidationError,
        PartialCredentialsError,
    )
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
        model = client.inner.meta.service_model
        operation = client.inner.meta.method_to_api_mapping.get(name, name)
        prefix = _PREFIXES.get(model.signing_name, model.signing_name)
        said = str(answer.get("Message", ""))
        raise refused(str(answer.get("Code", "")), said, prefix, operation, status) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise no_credentials(str(error)) from error
    except ParamValidationError:
        raise
    except ResponseParserError as error:  # what stands in it is some proxy's page
        raise unreachable("What answered in place of AWS was not AWS.") from error
    except (BotoCoreError, HTTPClientError) as error:
        raise unreachable(f"AWS did not answer: {error}") from error


_PREFIXES = {"tagging": "tag", "monitoring": "cloudwatch"}
"""Where permissions are named after something else than signatures."""
