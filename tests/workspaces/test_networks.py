"""Networks of the customer's own, as pages keep them and workspaces stand in them, over HTTP against moto."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEvent
from portal.clouds.base import Network
from portal.errors import UserError
from tests.clouds.aws.cloud import Aws, connected
from tests.clouds.aws.test_own_network import good_network
from tests.factories import actor, make_aws_configuration, make_network
from tests.pages.world import Tenants
from workspaces import services, services_configurations, services_networks
from workspaces.models import CloudConfiguration, NetworkConfiguration, Workspace

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(tenants: Tenants) -> Client:
    return tenants.client("owner")


@pytest.fixture
def aws_row(offered: Aws, tenants: Tenants) -> CloudConfiguration:
    known = connected(offered)
    names = {"region": known.region, "bucket": known.bucket, "table": known.table, "role_arn": known.role_arn}
    return make_aws_configuration(tenants.acme, external_id=known.external_id, settings=names)


def form_of(row: CloudConfiguration, network: Network, **other: str) -> dict[str, str]:
    return {
        "name": "Backbone",
        "cloud_configuration": str(row.pk),
        "region": "us-east-2",
        "vpc": network.id,
        "subnets": "\n".join(network.subnets),
        "security_groups": ", ".join(network.security_groups),
        "action": "create",
        **other,
    }


def test_from_the_form_to_a_workspace(
    offered: Aws, tenants: Tenants, owner: Client, aws_row: CloudConfiguration
) -> None:
    NetworkConfiguration.objects.all().delete()
    new = reverse("workspaces:network_new", args=[tenants.acme.pk])
    network = good_network(offered.administrator().client("ec2"))
    response = owner.post(new, form_of(aws_row, network, action="validate"))
    assert response.status_code == 200
    assert all(check.passed for check in response.context["checks"])
    assert not NetworkConfiguration.objects.exists()

    assert owner.post(new, form_of(aws_row, network)).status_code == 302
    row = NetworkConfiguration.objects.get()
    assert (row.vpc, row.subnets, row.security_groups) == (network.id, network.subnets, network.security_groups)
    assert row.checks
    assert network.id in owner.get(reverse("workspaces:networks", args=[tenants.acme.pk])).content.decode()
    assert "exists" in str(owner.post(new, form_of(aws_row, network, name="BACKBONE")).context["form"].errors["name"])

    form = {"name": "Attic", "cloud_configuration": str(aws_row.pk), "region": "us-west-1", "network": str(row.pk)}
    assert owner.post(reverse("workspaces:new", args=[tenants.acme.pk]), form).status_code == 302
    workspace = Workspace.objects.get(name="Attic")
    assert workspace.region == "us-east-2", "the network's"
    assert workspace.spec().network == network
    delete = reverse("workspaces:network_delete", args=[tenants.acme.pk, row.pk])
    assert b"NetworkInUse" in owner.post(delete).content
    Workspace.objects.filter(pk=workspace.pk).update(status="TERMINATED")
    assert owner.post(delete).status_code == 302
    assert owner.post(delete).status_code == 404
    assert [event.verb for event in AuditEvent.objects.filter(object_id=str(row.pk)).order_by("pk")] == [
        "network.create",
        "network.delete",
    ]


def test_a_network_that_does_not_fit_is_not_kept(
    offered: Aws, tenants: Tenants, owner: Client, aws_row: CloudConfiguration
) -> None:
    new = reverse("workspaces:network_new", args=[tenants.acme.pk])
    before = NetworkConfiguration.objects.count()
    ec2 = offered.administrator().client("ec2")
    network = good_network(ec2)
    ec2.modify_vpc_attribute(VpcId=network.id, EnableDnsHostnames={"Value": False})
    response = owner.post(new, form_of(aws_row, network))
    assert response.status_code == 422
    page = response.content.decode()
    assert "enableDnsHostnames" in page
    assert network.id in page, "what was typed is kept"
    assert NetworkConfiguration.objects.count() == before
    for wrong in (
        {"vpc": "vpc-1; drop"},
        {"subnets": network.subnets[0]},
        {"subnets": " ".join([network.subnets[0]] * 2)},
        {"security_groups": " ".join(f"sg-0000000{number}" for number in range(6))},
        {"region": "eu-central-1"},
        {"s3": "endpoint"},
    ):
        response = owner.post(new, form_of(aws_row, network, **wrong))
        assert response.status_code == 422
        assert response.context["form"].errors[next(iter(wrong))]


def test_only_networks_of_the_configuration_itself(tenants: Tenants, owner: Client, offered: Aws) -> None:
    one, other = make_aws_configuration(tenants.acme), make_aws_configuration(tenants.acme)
    foreign = make_network(make_aws_configuration(tenants.globex))
    network = make_network(other)
    new = reverse("workspaces:new", args=[tenants.acme.pk])
    form = {"name": "Attic", "cloud_configuration": str(one.pk), "region": ""}
    for wrong in (network, foreign):
        assert owner.post(new, {**form, "network": str(wrong.pk)}).context["form"].errors["network"]
        with pytest.raises(UserError, match="NetworkGone"):
            services.create_workspace(
                actor=actor(),
                organization=tenants.acme,
                name="Attic",
                cloud_configuration=one,
                region="us-east-2",
                network=wrong,
            )
    services_networks.delete_network(actor=actor(), network=network)
    assert (
        owner.post(new, {**form, "cloud_configuration": str(other.pk), "network": str(network.pk)}).status_code == 422
    )


def test_a_configuration_with_networks_stays(tenants: Tenants) -> None:
    row = make_aws_configuration(tenants.acme)
    network = make_network(row)
    with pytest.raises(UserError, match="ConfigurationInUse"):
        services_configurations.delete_configuration(actor=actor(), configuration=row)
    services_networks.delete_network(actor=actor(), network=network)
    services_configurations.delete_configuration(actor=actor(), configuration=row)
