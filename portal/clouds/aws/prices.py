"""What AWS asks for things, in US dollars, as far as it can be known.

Machines: on demand from AWS's price list (``GetProducts``), spot from what was paid last in any zone. Everything else
comes from a short table of list prices. Taxes, discounts and free allowances are not known here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from portal.clouds.aws.session import Session
from portal.clouds.base import CloudError

KEEP_SECONDS = 24 * 3600
KEEP_SPOT_SECONDS = 600
KEEP_FAILURE_SECONDS = 60
"""How long an answer is good for; AWS's price list moves a few times a year, spot prices some times a day."""

HOURS_A_DAY = 24
_DAYS_A_MONTH = Decimal(365) / 12

_HOURLY = {"nat-gateway": (Decimal("0.045"), Decimal("0.048")), "address": (Decimal("0.005"), Decimal("0.005"))}
_MONTHLY = {
    "key": (Decimal("1"), Decimal("1")),
    "filesystem": (Decimal("0.30"), Decimal("0.33")),
    "volume-gp3": (Decimal("0.08"), Decimal("0.096")),
    "volume-gp2": (Decimal("0.10"), Decimal("0.12")),
}
"""List prices of us-east-1, us-east-2 and us-west-2, and of us-west-1, as known in 2025, from AWS's pages “Amazon VPC
pricing” (NAT gateway and public IPv4 address, an hour), “AWS KMS pricing” (a key, a month), “Amazon EFS pricing”
(Standard, a GB and month) and “Amazon EBS pricing” (a GB and month)."""

_FREE = {
    *("vpc", "internet-gateway", "subnet", "route-table", "security-group", "vpc-endpoint", "mount-target", "role"),
    *("access-point", "parameter", "instance-profile", "function", "launch-template", "autoscaling-group"),
    *("placement-group", "state-document"),
}

_kept: dict[tuple[str, str, str, bool], tuple[float, Decimal | None]] = {}
_lock = threading.Lock()


def hourly(session: Session, region: str, instance_type: str, spot: bool) -> Decimal | None:
    """US dollars for an hour of one machine with Linux; None where AWS does not say. Never raises: a price that cannot
    be had keeps nobody from working. For spot, ``session`` has to be one in that region."""
    key = (session.endpoint, region, instance_type, spot)
    with _lock:
        until, price = _kept.get(key, (0.0, None))
    if until > time.monotonic():
        return price
    try:
        price = spot_price(session, instance_type) if spot else _on_demand(session, region, instance_type)
    except CloudError:
        price = None
    keep = KEEP_FAILURE_SECONDS if price is None else KEEP_SPOT_SECONDS if spot else KEEP_SECONDS
    with _lock:
        _kept[key] = (time.monotonic() + keep, price)
    return price


def daily(kind: str, region: str, gigabytes: Decimal = Decimal(0)) -> Decimal | None:
    """US dollars for a day of one thing, by list prices; None where they are not known. Rounded to hundredths of a
    cent. ``gigabytes`` counts for filesystems and volumes."""
    column = int(region == "us-west-1")
    if kind in _FREE:
        return Decimal(0)
    if kind in _HOURLY:
        return _rounded(_HOURLY[kind][column] * HOURS_A_DAY)
    if kind not in _MONTHLY:
        return None
    by_size = kind == "filesystem" or kind.startswith("volume-")
    return _rounded(_MONTHLY[kind][column] / _DAYS_A_MONTH * (gigabytes if by_size else 1))


def forget() -> None:
    """Ask again for every price."""
    with _lock:
        _kept.clear()


def _rounded(price: Decimal) -> Decimal:
    return price.quantize(Decimal("0.0001"))


def _on_demand(session: Session, region: str, instance_type: str) -> Decimal | None:
    wanted = {
        "instanceType": instance_type,
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
        "marketoption": "OnDemand",
    }
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    found = session.client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters, MaxResults=10)
    return min(_listed(found["PriceList"]), default=None)


def _listed(items: Iterable[str]) -> Iterable[Decimal]:
    """The prices for an hour in answers of the price list, whose members are texts with JSON in them."""
    for item in items:
        terms: Mapping[str, Any] = json.loads(item).get("terms", {}).get("OnDemand", {})
        for term in terms.values():
            for dimension in term.get("priceDimensions", {}).values():
                price = _decimal(dimension.get("pricePerUnit", {}).get("USD"))
                if price and dimension.get("unit") == "Hrs":
                    yield price


def spot_price(session: Session, instance_type: str) -> Decimal | None:
    """The dearest zone's, so that nobody pays more than was said; None where there is none. Raises CloudError."""
    found = session.client("ec2").describe_spot_price_history(
        InstanceTypes=[instance_type],
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime.now(UTC),
    )
    prices = (_decimal(each.get("SpotPrice")) for each in found["SpotPriceHistory"])
    return max((price for price in prices if price), default=None)


def _decimal(text: Any) -> Decimal | None:
    try:
        return Decimal(str(text))
    except InvalidOperation:
        return None
