"""Nasty values in every field, query string and address: an explanation, never a server error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from tests.pages.routes import CLUSTER, ROUTES, RUN, filled
from tests.pages.test_access import address
from tests.pages.world import Tenants

NASTY = [
    *("", "a\0b", "x" * 300, "-1", "9" * 30, "1e400", "<script>alert(1)</script>", "../../etc/passwd"),
    *("\ud7ff\uffff", "a\r\nK=v'", "00000000-0000-0000-0000-000000000000", "x" * 100_000),
]
FORMS = [(name, field) for name, route in ROUTES.items() for field in route.form or {}]


@pytest.mark.parametrize(("name", "field"), FORMS)
def test_no_field_takes_the_page_down(tenants: Tenants, name: str, field: str) -> None:
    client = tenants.client("owner")
    ids = tenants.ids()
    for value in NASTY:
        form = {**filled(ROUTES[name].form or {}, ids), field: value}
        (tenants.lab.files / "job.py").write_text("print(1)\n")
        with transaction.atomic():
            response = client.post(address(name, ids), form)
            transaction.set_rollback(True)
        assert response.status_code in {200, 302, 400, 404, 409, 422}, ascii(value[:40])
        assert b"<script>alert" not in response.content


SET_UP = {"workspaces:configuration"}
"""Its form is there for setting up only, which this world's configuration is long since."""


@pytest.mark.parametrize("name", [name for name, route in ROUTES.items() if route.form and name not in SET_UP])
def test_an_empty_form_is_a_form_filled_in_wrongly(tenants: Tenants, name: str) -> None:
    """Also where nothing at all was sent: 200 would pass for done."""
    client = tenants.client("owner")
    assert client.post(address(name, tenants.ids())).status_code == 422
    assert client.post(address(name, tenants.ids()), headers={"hx-request": "true"}).status_code == 422


WRONG = [
    ("clusters:new", CLUSTER, field, value)
    for field, values in {
        "name": ["", "x" * 101, "a\u202eb", "a\0b"],
        "instances": ["-1", "0", "1001", "9" * 30, "two", "1.5", "", "1e3"],
        "auto_pause_minutes": ["-1", "10081", "9" * 30, "x", ""],
        "auto_stop_minutes": ["-1", "10081", ""],
        "tags": ["no separator", "=value", "aws:x=1", "k" * 129 + "=v", "k=" + "v" * 257, "a\0=b"],
        "instance_type": ["", "p4d.24xlarge", "local.1x\0"],
        "release": ["", "1999.1"],
        "description": ["x" * 1001, "a\0b"],
    }.items()
    for value in values
] + [
    ("jobs:new", RUN, field, value)
    for field, values in {
        "name": ["", "x" * 101],
        "cluster": ["", "x", "00000000-0000-0000-0000-000000000000"],
        "file": ["", "missing.py", "folder", "../job.py", "/etc/passwd.py", "a\0.py", "x" * 999 + ".py", "job.txt"],
        "arguments": ["'unclosed", "x" * 8193, "a\0b"],
        "environment": ["=x", "1A=x", "no separator", "PORTAL_HOME=/", "A B=x", "A=\0", "LD_PRELOAD=x", "HOME=/"],
        "mode": ["", "sudo"],
        "timeout_minutes": ["0", "-1", "10081", "9" * 30, "soon", ""],
    }.items()
    for value in values
]


@pytest.mark.parametrize(("name", "form", "field", "value"), WRONG, ids=lambda value: ascii(value)[:20])
def test_the_error_stands_beside_its_field(
    tenants: Tenants, name: str, form: dict[str, Any], field: str, value: str
) -> None:
    response = tenants.client("developer").post(
        address(name, tenants.ids()), {**filled(form, tenants.ids()), field: value}
    )
    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    text = response.content.decode()
    assert f'id="id_{field}_error"' in text
    assert 'aria-invalid="true"' in text


def test_the_form_shows_again_what_was_typed(tenants: Tenants) -> None:
    form = {**CLUSTER, "name": '"><b>', "instances": "-1", "tags": "a=<i>"}
    text = tenants.client("owner").post(address("clusters:new", tenants.ids()), form).content.decode()
    assert 'value="&quot;&gt;&lt;b&gt;"' in text
    assert "a=&lt;i&gt;" in text


@pytest.mark.parametrize("instances", ["-1", "0", "9" * 30, "x", ""])
def test_scaling_says_what_is_wrong(tenants: Tenants, instances: str) -> None:
    response = tenants.client("owner").post(address("clusters:scale", tenants.ids()), {"instances": instances})
    assert response.status_code == 422
    assert b"data-error-message" in response.content


KEYS = ("before", "after", "q", "status", "cluster", "month", "path", "file", "stream", "offset", "next", "by", "%00")
VALUES = ("%00", "tag:%00", "%ff%fe", "-99999999999999999999", "999999999999999999", "٣", "x" * 3000)
QUERIES = [
    *("&".join(f"{key}={value}" for key in KEYS) for value in VALUES),
    "before=1&after=1&q=%25_%5C&status=NOPE&month=0001-01&path=..%2f..&offset=-",
    "before=abc&month=9999-12&next=//evil.example&&&==&q[]=1&q=2",
]


def test_no_query_string_takes_a_page_down(tenants: Tenants) -> None:
    client, ids = tenants.client("owner"), tenants.ids()
    for name in [name for name, route in ROUTES.items() if route.get]:
        where = address(name, ids).partition("?")[0]
        for query in QUERIES:
            response = client.get(f"{where}?{query}")
            assert response.status_code in {200, 302, 400, 404, 409, 422}, f"{name} {query}"
            assert response.status_code != 302 or "evil" not in response["Location"], name


@pytest.mark.parametrize("role", ["owner", "anonymous"])
@pytest.mark.parametrize(
    "path",
    [
        *("/o/1/people/", "/o/not-a-uuid/people/", "/w/%00/", "/w/%ff/files/", "/o//people/", "/w/" + "a" * 5000 + "/"),
        *("/O/{organization}/people/", "/w/{workspace}/clusters/{cluster}/%00/", "/w/{workspace}/nowhere/"),
        "/w/{workspace}/clusters/00000000-0000-0000-0000-000000000000/",
    ],
)
def test_broken_addresses_are_not_found(tenants: Tenants, path: str, role: str) -> None:
    response = tenants.client(role).get(path.format(**tenants.ids()))
    assert response.status_code == (302 if role == "anonymous" and "00000000-0000" in path else 404)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=y", b'--y\r\nContent-Disposition: form-data; name="name"\r\n\r\n'),
        ("multipart/form-data; boundary=\xff", b"x"),
        ("application/x-www-form-urlencoded; charset=utf-16", b"name=x"),
        ("application/x-www-form-urlencoded", b"name=%ff%fe%00"),
        ("application/x-www-form-urlencoded", b"&".join(b"f%d=1" % number for number in range(2000))),
        ("application/x-www-form-urlencoded", b"name=" + b"x" * (3 << 20)),
        ("application/json", b"{"),
        ("", b""),
    ],
)
def test_broken_bodies_are_explained(tenants: Tenants, content_type: str, body: bytes) -> None:
    client = tenants.client("owner", raise_request_exception=False)
    for name in ("workspaces:settings", "workspaces:files_upload"):
        response = client.generic("POST", address(name, tenants.ids()), body, content_type=content_type)
        assert response.status_code in {400, 413, 422}
        assert b"<h1" in response.content


@pytest.mark.parametrize("header", ["Cookie", "Referer", "Accept-Language", "Accept", "HX-Current-URL", "HX-Request"])
def test_broken_headers_are_no_server_errors(tenants: Tenants, header: str) -> None:
    client = tenants.client("owner", raise_request_exception=False)
    client.cookies["messages"] = "forged"
    for value in ("\x00", "ÿ" * 200, "%00", "x" * 5000, 'sessionid="aaaaaaaaaa\\000aaaaaaaaaaaaaaaaaaaaa"'):
        response = client.get(address("workspaces:list", tenants.ids()), headers={header: value})
        assert response.status_code in {200, 302, 400}, value[:20]


def test_a_forged_session_is_no_server_error(tenants: Tenants) -> None:
    """PostgreSQL refuses NUL with an error of its own."""
    client = Client(raise_request_exception=False)
    where = reverse("workspaces:list", args=[tenants.acme.pk])
    response = client.get(where, headers={"cookie": 'sessionid="aaaaaaaaaaaaaaaa\\000aaaaaaaaaaaaaaa"'})
    assert response.status_code == 400


def test_a_directory_for_a_configuration_must_be_one(tenants: Tenants, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "out").symlink_to("/usr/share")
    (tmp_path / "in").symlink_to(tmp_path / "acme" / "lab")
    client = tenants.client("owner")
    bad = ["..", "relative", "~", "/", "/etc", f"{tmp_path}", f"{tmp_path}/", f"{tmp_path}/..", f"{tmp_path}/x/../../y"]
    bad += [f"{tmp_path}/circle", f"{tmp_path}/circle/x", f"{tmp_path}/out", f"{tmp_path}/out/x", f"{tmp_path}/in"]
    bad += [f"{tmp_path}/acme", f"{tmp_path}/acme/x", f"{tmp_path}/globex", f"{tmp_path}/a\nb", f"{tmp_path}/a\0b"]
    bad += [f"{tmp_path}/" + "x" * 256, "/" + "x/" * 500, f"{tmp_path}/" + "é" * 200, "//etc", f"{tmp_path}x/y"]
    for directory in bad:
        for action in ("validate", "create"):
            form = {"name": "New", "directory": directory, "action": action}
            response = client.post(address("workspaces:configuration_new", tenants.ids()), form)
            assert response.status_code == 422, ascii(directory)
            assert "directory" in response.context["form"].errors
    assert tenants.acme.cloud_configurations.count() == 1
    good = {"name": "New", "directory": f"{tmp_path}/new", "action": "create"}
    assert client.post(address("workspaces:configuration_new", tenants.ids()), good).status_code == 302
