"""What the portal may ask about prices."""

from __future__ import annotations

from portal.clouds.aws.grants import Grant, actions

PRICES = (
    Grant(
        "Prices",
        "say what machines cost",
        (*actions("pricing", "GetProducts"), *actions("ec2", "DescribeSpotPriceHistory")),
    ),
)
