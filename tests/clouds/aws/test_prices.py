"""Prices: asked once, never in anybody's way."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from portal.clouds.aws import prices
from portal.clouds.aws.prices import daily, hourly
from tests.clouds.aws import shim_prices as shim_prices
from tests.clouds.aws.cloud import REGION, Aws


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    prices.forget()
    yield
    prices.forget()


def test_a_price_on_demand_is_asked_once(aws: Aws) -> None:
    session = aws.administrator()
    assert hourly(session, REGION, "c6i.xlarge", False) == Decimal("0.17")
    assert hourly(session, REGION, "c6i.xlarge", False) == Decimal("0.17")
    assert aws.asked.count("GetProducts") == 1
    assert hourly(session, "us-west-1", "c6i.xlarge", False) == Decimal("0.212")


def test_a_spot_price_is_the_dearest_zones(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    session = aws.administrator()
    price = hourly(session, REGION, "c6i.xlarge", True)
    assert price
    history = [{"SpotPrice": "0.05"}, {"SpotPrice": "0.07"}, {"SpotPrice": "?"}]
    inner = session.client("ec2").inner
    monkeypatch.setattr(inner, "describe_spot_price_history", lambda **_: {"SpotPriceHistory": history})
    prices.forget()
    assert hourly(session, REGION, "c6i.xlarge", True) == Decimal("0.07")


def test_a_price_that_cannot_be_had_is_none_and_not_asked_for_at_once_again(aws: Aws) -> None:
    session = aws.administrator()
    assert hourly(session, REGION, "x9.huge", False) is None
    prices.forget()
    aws.fail("GetProducts", "AccessDeniedException")
    assert hourly(session, REGION, "c6i.xlarge", False) is None
    assert hourly(session, REGION, "c6i.xlarge", False) is None
    assert aws.asked.count("GetProducts") == 2


@pytest.mark.parametrize(
    ("kind", "region", "gigabytes", "price"),
    [
        ("nat-gateway", "us-east-2", 0, "1.0800"),
        ("nat-gateway", "us-west-1", 0, "1.1520"),
        ("address", "us-east-2", 0, "0.1200"),
        ("key", "us-east-2", 0, "0.0329"),
        ("filesystem", "us-east-2", 100, "0.9863"),
        ("volume-gp3", "us-east-2", 100, "0.2630"),
        ("vpc", "us-east-2", 0, "0"),
    ],
)
def test_list_prices(kind: str, region: str, gigabytes: int, price: str) -> None:
    assert daily(kind, region, Decimal(gigabytes)) == Decimal(price)


def test_what_is_not_in_the_table_has_no_price() -> None:
    assert daily("volume-io2", REGION, Decimal(10)) is None
