"""AWS's price list, which moto lacks."""

from __future__ import annotations

import json
from typing import Any

from tests.clouds.aws import cloud
from tests.clouds.aws.cloud import Aws, Reply

PRICES = {("us-east-2", "c6i.xlarge"): "0.1700000000", ("us-west-1", "c6i.xlarge"): "0.2120000000"}
"""Dollars for an hour, by region and type."""


def price_list(aws: Aws, operation: str, parameters: dict[str, list[str]], environ: dict[str, Any]) -> Reply | None:
    """What GetProducts answers: each member a text with JSON in it, the upfront fee of a reservation among them."""
    if operation != "GetProducts":
        return None
    assert "/us-east-1/pricing/" in environ["HTTP_AUTHORIZATION"], "there is no price list elsewhere"
    asked = json.loads(parameters["body"][0])
    assert asked["ServiceCode"] == "AmazonEC2"
    wanted = {each["Field"]: each["Value"] for each in asked["Filters"] if each["Type"] == "TERM_MATCH"}
    price = PRICES.get((wanted["regionCode"], wanted["instanceType"]))
    found = []
    if price:
        hour = {"unit": "Hrs", "pricePerUnit": {"USD": price}}
        free = {"unit": "Hrs", "pricePerUnit": {"USD": "0.0000000000"}}
        fee = {"unit": "Quantity", "pricePerUnit": {"USD": "0.01"}}
        terms = {"OnDemand": {"SKU.JRTC": {"priceDimensions": {"a": free, "b": hour, "c": fee}}}}
        found.append(json.dumps({"product": {"attributes": wanted}, "terms": terms}))
    return json.dumps({"FormatVersion": "aws_v1", "PriceList": found}), "application/x-amz-json-1.1", 200


cloud.CORRECTIONS.append(price_list)
