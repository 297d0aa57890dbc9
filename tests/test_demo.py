"""The demo's own tools: what its browser refuses, what it shows, what it takes for right. `make demo` is its test as a
whole."""

from __future__ import annotations

import ast
import io
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from portal.demo import data
from portal.demo.browser import Browser, Page, PageError
from portal.demo.screen import Screen
from portal.demo.stage import Stage
from portal.demo.watch import explain, progress_of, status_of
from portal.embedded import Home, StartError

FORM = """
<h1>New thing</h1>
<form method="post" action="/things/" {attributes}>
  <input type="hidden" name="csrfmiddlewaretoken" value="token">
  <label for="a">Name <span class="optional">optional</span></label><input id="a" name="name" value="old" {name}>
  <label for="b">Size</label><select id="b" name="size">
    <option value="1">Small</option><option value="2">Big</option></select>
  <label for="c">I agree</label><input type="checkbox" id="c" name="agree" required>
  <fieldset><legend>Mode</legend>
    <label for="d1">Alone</label><input type="radio" id="d1" name="mode" value="one" checked>
    <label for="d2">Together</label><input type="radio" id="d2" name="mode" value="all">
  </fieldset>
  <label for="e">Text</label><textarea id="e" name="text">first</textarea>
  <input type="text" name="gone" value="x" disabled>
  {more}
  <button type="submit" name="action" value="check">Check</button>
  <button type="submit">Create</button>
</form>"""

Answer = Callable[[httpx.Request], httpx.Response]


class Site:
    """Pages without a server; keeps what was asked for."""

    def __init__(self, body: str, answer: Answer | None = None) -> None:
        self.body, self.answer = body, answer
        self.requests: list[httpx.Request] = []
        self.browser = Browser("http://portal.test")
        self.browser.client = httpx.Client(
            base_url="http://portal.test", transport=httpx.MockTransport(self._answer), follow_redirects=True
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.method == "POST" and self.answer:
            return self.answer(request)
        return httpx.Response(200, html=self.body)

    @property
    def page(self) -> Page:
        return self.browser.get("/things/new/")

    @property
    def sent(self) -> str:
        return self.requests[-1].read().decode()


def site(*, attributes: str = "", name: str = "", more: str = "", answer: Answer | None = None) -> Site:
    return Site(FORM.format(attributes=attributes, name=name, more=more), answer)


def test_a_form_is_sent_as_a_browser_would() -> None:
    here = site()
    form = here.page.form("Check")
    form["Name"] = "Ångström & Söhne"
    form["Size"] = "Big"
    form["I agree"] = True
    form["mode"] = "Together"
    form["Text"] = "second"
    form.submit()
    assert httpx.QueryParams(here.sent).multi_items() == [
        ("csrfmiddlewaretoken", "token"),
        ("name", "Ångström & Söhne"),
        ("size", "2"),
        ("agree", "on"),
        ("mode", "all"),
        ("text", "second"),
        ("action", "check"),
    ]
    assert here.requests[-1].url == "http://portal.test/things/"
    assert here.requests[-1].headers["Origin"] == "http://portal.test"


def test_what_is_not_filled_in_goes_as_it_came_and_only_the_pressed_button_is_sent() -> None:
    here = site()
    form = here.page.form("Create")
    form["agree"] = True
    form.submit()
    sent = httpx.QueryParams(here.sent)
    assert (sent["name"], sent["size"], sent["mode"], sent["text"]) == ("old", "1", "one", "first")
    assert "action" not in sent
    assert "gone" not in sent


@pytest.mark.parametrize(
    ("label", "value", "message"),
    [
        ("Colour", "red", "no field “Colour”"),
        ("csrfmiddlewaretoken", "mine", "no field"),
        ("gone", "x", "no field"),
        ("Size", "Huge", "“Huge” is not offered; there are: Small, Big"),
        ("mode", "Apart", "“Apart” is not offered; there are: Alone, Together"),
    ],
)
def test_nothing_can_be_filled_in_that_the_page_does_not_offer(label: str, value: str, message: str) -> None:
    form = site().page.form("Create")
    with pytest.raises(PageError, match=message):
        form[label] = value


def test_a_form_with_something_missing_is_not_sent() -> None:
    here = site(name="required")
    form = here.page.form("Create")
    form["Name"] = ""
    with pytest.raises(PageError, match="“Name” has to be filled in"):
        form.submit()
    form["Name"] = "x"
    with pytest.raises(PageError, match="“I agree” has to be ticked"):
        form.submit()
    assert [request.method for request in here.requests] == ["GET"]


def test_files_are_uploaded(tmp_path: Path) -> None:
    here = site(attributes='enctype="multipart/form-data"', more='<input type="file" name="file" multiple required>')
    files = [tmp_path / "a.py", tmp_path / "b.csv"]
    for file in files:
        file.write_text(f"in {file.name}")
    form = here.page.form("Create")
    form["agree"] = True
    with pytest.raises(PageError, match="No file is chosen"):
        form.submit()
    form["file"] = files
    form.submit()
    assert here.requests[-1].headers["Content-Type"].startswith("multipart/form-data")
    assert 'name="csrfmiddlewaretoken"' in here.sent
    assert 'name="file"; filename="b.csv"' in here.sent
    assert "in a.py" in here.sent


def test_a_refusal_says_what_the_page_says() -> None:
    body = '<h1>New thing</h1><ul class="errorlist"><li>Taken.</li></ul><p data-error-message>Not now.</p>'
    here = site(answer=lambda request: httpx.Response(422, html=body))
    form = here.page.form("Create")
    form["agree"] = True
    with pytest.raises(PageError) as refused:
        form.submit()
    assert explain(refused.value) == [
        "POST http://portal.test/things/ answered 422.",
        "at http://portal.test/things/ (HTTP 422), “New thing”",
        "the page says: Taken.",
        "the page says: Not now.",
    ]


def test_buttons_and_links_have_to_be_there() -> None:
    page = site().page
    assert page.has_button("Create")
    assert not page.has_button("Delete")
    with pytest.raises(PageError, match="no form with the button “Delete”"):
        page.form("Delete")
    with pytest.raises(PageError, match="no link “Next”"):
        page.click("Next")


def test_status_and_progress_are_read_from_the_page() -> None:
    page = Site(
        '<h1>c</h1><span data-status="INPROGRESS">INPROGRESS</span><div class="progress-label"><span>Installing</span>'
        '</div><progress max="1" value="0.250">25 %</progress>'
    ).page
    assert status_of(page.soup) == "INPROGRESS"
    assert progress_of(page) == ("Installing", 0.25)


def test_progress_without_a_terminal_is_a_line_for_each_tenth() -> None:
    stream = io.StringIO()
    with Screen(stream).step("Install") as step:
        for part in (0.0, 0.04, 0.11, 0.12, 0.19, 0.35, 0.99):
            step.progress("fetching", part)
    lines = stream.getvalue().splitlines()
    assert lines[:4] == ["  … Install", "     11%  fetching", "     35%  fetching", "     99%  fetching"]
    assert lines[4].startswith("  ✓ Install ")


def test_a_step_that_fails_is_marked() -> None:
    stream = io.StringIO()
    with pytest.raises(PageError), Screen(stream).step("Try"):
        raise PageError("no")
    assert stream.getvalue().startswith("  ✗ Try ")


def test_right_answers_leave_out_what_is_missing(tmp_path: Path) -> None:
    flights, airlines = tmp_path / "flights.csv", tmp_path / "airlines.csv"
    flights.write_text("carrier,dep_delay\nAA,10\nAA,-3\nAA,NA\nBB,\nBB,1\n")
    airlines.write_text("carrier,name\nAA,Alpha Air\nBB,Beta\n")
    assert data.carriers(flights, airlines) == {
        "AA": data.Carrier(3, 3.5, "Alpha Air"),
        "BB": data.Carrier(2, 1.0, "Beta"),
    }


def test_the_examples_are_programs() -> None:
    examples = sorted(data.EXAMPLES.glob("*.py"))
    assert [path.name for path in examples] == ["flights.py", "ten_million_rows.py"]
    for path in examples:
        assert ast.get_docstring(ast.parse(path.read_text()))


def test_a_real_portal_lends_the_demo_nothing_but_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_HOME", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://production")
    monkeypatch.setenv("EMAIL_HOST", "mail.example.com")
    monkeypatch.setenv("PORTAL_SIGNUP_OPEN", "0")
    environment = Stage(8123)._environment()
    assert not {"DATABASE_URL", "EMAIL_HOST", "PORTAL_SIGNUP_OPEN"} & set(environment)
    assert environment["PORTAL_HOME"] == str(tmp_path / "demo")
    assert environment["PORTAL_MACHINE_ROOT"] == str(tmp_path / "machine")


def test_a_second_demo_is_told_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTAL_HOME", str(tmp_path))
    with Home(tmp_path / "demo").lock():
        (tmp_path / "demo" / "run" / "launcher.json").write_text('{"pid": 1, "address": "http://127.0.0.1:8001"}')
        with pytest.raises(StartError, match=r"already runs at http://127\.0\.0\.1:8001"):
            Stage(8123).start()
