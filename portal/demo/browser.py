"""A browser without a screen: it gets pages, follows links, fills in forms by their labels and sends them as they are.

It can do no more than a person with scripts switched off: a field that is not on the page, a choice that is not
offered or a button that is not there is an error, and hidden fields (the CSRF token is one) go back as they came.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
from bs4 import BeautifulSoup, Tag

Value = str | int | bool | Path | Sequence[Path]
_NOT_SENT = {"submit", "button", "image", "reset"}


class PageError(Exception):
    """The page is not what a person would have expected; ``page`` is what there was instead."""

    def __init__(self, message: str, page: Page | None = None) -> None:
        super().__init__(message)
        self.page = page


class Browser:
    """One person's browser: cookies, and the address of the portal."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.client = httpx.Client(
            base_url=address,
            follow_redirects=True,
            timeout=httpx.Timeout(120),
            headers={"Accept": "text/html,*/*;q=0.8", "User-Agent": "bodo-demo"},
            trust_env=False,
        )

    def get(self, address: str, *, allow: Sequence[int] = ()) -> Page:
        """A page. Raises PageError unless it is there, or its status is one of ``allow``."""
        return self._page(self.client.get(address), allow)

    def fetch(self, address: str, parameters: Mapping[str, str]) -> httpx.Response:
        """What a script of a page would fetch."""
        response = self.client.get(address, params=dict(parameters))
        if response.status_code != 200:
            raise PageError(f"{address} answered {response.status_code}.", Page(self, response))
        return response

    def send(self, form: Form, button: Tag | None) -> Page:
        """Send a form as it is filled in, with its own method, action and encoding."""
        action = urljoin(form.page.address, str(form.tag.get("action") or form.page.address))
        pairs = form.values(button)
        if str(form.tag.get("method", "get")).lower() == "get":
            return self._page(self.client.get(action, params=tuple(pairs)))
        data: dict[str, list[str]] = {}
        for name, value in pairs:
            data.setdefault(name, []).append(value)
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(form.page.address))
        headers = {"Origin": origin, "Referer": form.page.address}
        if form.tag.get("enctype") != "multipart/form-data":
            return self._page(self.client.post(action, data=data, headers=headers))
        with ExitStack() as stack:
            files = [
                (name, (path.name, stack.enter_context(path.open("rb")), "application/octet-stream"))
                for name, paths in form.files.items()
                for path in paths
            ]
            return self._page(self.client.post(action, data=data, files=files, headers=headers))

    def _page(self, response: httpx.Response, allow: Sequence[int] = ()) -> Page:
        page = Page(self, response)
        if response.status_code != 200 and response.status_code not in allow:
            raise PageError(f"{response.request.method} {response.url} answered {response.status_code}.", page)
        return page


class Page:
    """A page, or a piece of one, as it came."""

    def __init__(self, browser: Browser, response: httpx.Response) -> None:
        self.browser = browser
        self.address = str(response.url)
        self.status = response.status_code
        self.soup = BeautifulSoup(response.text, "html.parser")

    @property
    def heading(self) -> str:
        """The first heading of the page."""
        return text_of(self.soup.find("h1"))

    @property
    def messages(self) -> list[str]:
        """What the portal tells after something was done."""
        return [text_of(toast) for toast in self.soup.select(".toast")]

    @property
    def errors(self) -> list[str]:
        """Whatever says that something is wrong, once each."""
        found = self.soup.select(".errorlist li, [data-error-message], .notice.bad, .check.failed, .toast.error")
        if self.status >= 400 and not found:
            found = self.soup.select("main")
        return list(dict.fromkeys(text_of(tag) for tag in found))

    def select(self, selector: str) -> Tag:
        """The one element; PageError where there is none."""
        found = self.soup.select_one(selector)
        if found is None:
            raise PageError(f"There is no {selector} on the page “{self.heading}”.", self)
        return found

    def text(self, selector: str) -> str:
        """The text of an element, with single blanks."""
        return text_of(self.select(selector))

    def click(self, label: str) -> Page:
        """Follow a link by its text or its accessible name."""
        for link in self.soup.select("a[href]"):
            if label in (text_of(link), link.get("aria-label")):
                return self.browser.get(urljoin(self.address, str(link["href"])))
        raise PageError(f"There is no link “{label}” on the page “{self.heading}”.", self)

    def form(self, button: str, action: str = "") -> Form:
        """The form with a button of that name (and, where several have one, with ``action`` in its address)."""
        found = [
            (form, submit)
            for form in self.soup.select("form")
            for submit in form.select('button:not([aria-hidden="true"])')
            if button in (text_of(submit), submit.get("aria-label")) and submit.get("type", "submit") == "submit"
            if action in str(form.get("action"))
        ]
        if len(found) != 1:
            count = f"{len(found)} forms" if found else "no form"
            raise PageError(f"There is {count} with the button “{button}” on the page “{self.heading}”.", self)
        return Form(self, *found[0])

    def has_button(self, button: str) -> bool:
        """Whether something can be asked for now."""
        return any(text_of(tag) == button for tag in self.soup.select("form button[type=submit]"))


class Form:
    """A form, as it is being filled in."""

    def __init__(self, page: Page, tag: Tag, button: Tag) -> None:
        self.page, self.tag, self.button = page, tag, button
        self.files: dict[str, list[Path]] = {}

    def __setitem__(self, label: str, value: Value) -> None:
        """Fill in one field, found by its label or its name. Raises PageError where the page has no such field."""
        fields = self._fields(label)
        field, kind = fields[0], _kind(fields[0])
        if kind == "file":
            paths = [value] if isinstance(value, Path) else value
            assert isinstance(paths, Sequence)
            self.files[str(field["name"])] = [path for path in paths if isinstance(path, Path)]
        elif kind == "checkbox":
            _mark(field, "checked", bool(value))
        elif kind == "radio":
            _choose(self, fields, str(value), "checked", self._label_of)
        elif field.name == "select":
            _choose(self, field.select("option"), str(value), "selected", text_of)
        elif field.name == "textarea":
            field.string = str(value)
        else:
            field["value"] = str(value)

    def submit(self) -> Page:
        """Press the button."""
        return self.page.browser.send(self, self.button)

    def values(self, button: Tag | None) -> list[tuple[str, str]]:
        """What a browser would send, in the order of the page. Raises PageError where it would refuse to."""
        pairs: list[tuple[str, str]] = []
        for field in self.tag.select("input[name], select[name], textarea[name]"):
            kind, name = _kind(field), str(field["name"])
            if kind in _NOT_SENT or field.has_attr("disabled"):
                continue
            if kind == "file":
                if field.has_attr("required") and not self.files.get(name):
                    raise PageError(f"No file is chosen for “{name}”.", self.page)
                continue
            if kind in {"checkbox", "radio"}:
                checked = self.tag.select(f'input[name="{name}"][checked]')
                if field.has_attr("required") and not checked:
                    raise PageError(f"“{self._label_of(field)}” has to be ticked.", self.page)
                values = [str(field.get("value", "on"))] if field.has_attr("checked") else []
            elif field.name == "select":
                values = [str(option.get("value", text_of(option))) for option in field.select("option[selected]")]
                if not values and not field.has_attr("multiple"):
                    values = [str(option.get("value", text_of(option))) for option in field.select("option")[:1]]
            else:
                values = [field.get_text() if field.name == "textarea" else str(field.get("value", ""))]
            if field.has_attr("required") and kind not in {"checkbox", "radio"} and not "".join(values):
                raise PageError(f"“{self._label_of(field)}” has to be filled in.", self.page)
            pairs += [(name, value) for value in values]
        if button is not None and button.get("name"):
            pairs.append((str(button["name"]), str(button.get("value", ""))))
        return pairs

    def _fields(self, label: str) -> list[Tag]:
        fields = [
            field
            for field in self.tag.select("input, select, textarea")
            if _kind(field) not in {*_NOT_SENT, "hidden"}
            and not field.has_attr("disabled")
            and label in (field.get("name"), self._label_of(field), self._legend_of(field))
        ]
        if not fields:
            offered = [str(field.get("name")) for field in self.tag.select("input, select, textarea")]
            raise PageError(f"There is no field “{label}” in the form; it has {', '.join(offered)}.", self.page)
        return fields

    def _label_of(self, field: Tag) -> str:
        label = self.tag.find("label", attrs={"for": str(field.get("id"))}) if field.get("id") else None
        label = label or field.find_parent("label")
        if label is None:
            return str(field.get("aria-label", field.get("name")))
        optional = text_of(label.select_one(".optional"))
        return text_of(label).removesuffix(optional).strip()

    @staticmethod
    def _legend_of(field: Tag) -> str | None:
        fieldset = field.find_parent("fieldset")
        return text_of(fieldset.find("legend")) if fieldset else None


class Changes:
    """What an open page hears by itself: the names of changed things, from the stream of events that it names.

    It listens in a thread, and connects again when the stream ends, as a browser does.
    """

    def __init__(self, page: Page) -> None:
        self.heard = 0
        self._address = urljoin(page.address, str(page.select("[data-events]")["data-events"]))
        self._client = httpx.Client(
            cookies=page.browser.client.cookies, timeout=httpx.Timeout(10, read=20), trust_env=False
        )
        self._news = threading.Condition()
        self._ended = False
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        with suppress(OSError):  # a thread that waits for data is woken by nothing else
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._client.close()

    def wait(self, known: int, seconds: float) -> int:
        """Until something changed since ``known`` changes, or for so long; returns how many there were by then."""
        with self._news:
            self._news.wait_for(lambda: self.heard > known, seconds)
            return self.heard

    def _listen(self) -> None:
        while not self._ended:
            try:
                with self._client.stream("GET", self._address) as response:
                    self._socket = response.extensions["network_stream"].get_extra_info("socket")
                    for line in response.iter_lines():
                        if self._ended:
                            return
                        if line == "event: changed":
                            with self._news:
                                self.heard += 1
                                self._news.notify_all()
            except httpx.HTTPError:
                time.sleep(0.2)


def text_of(tag: Tag | None) -> str:
    """The text of an element as a person reads it, with single blanks."""
    return " ".join(tag.get_text(" ").split()) if tag is not None else ""


def _kind(field: Tag) -> str:
    return str(field.get("type", "text")).lower() if field.name == "input" else field.name


def _mark(tag: Tag, attribute: str, on: bool) -> None:
    if on:
        tag[attribute] = ""
    elif tag.has_attr(attribute):
        del tag[attribute]


def _choose(form: Form, options: Sequence[Tag], wanted: str, attribute: str, label: Callable[[Tag], str]) -> None:
    chosen = [option for option in options if wanted in (option.get("value"), label(option))]
    if not chosen:
        offered = ", ".join(label(option) for option in options)
        raise PageError(f"“{wanted}” is not offered; there are: {offered}.", form.page)
    for option in options:
        _mark(option, attribute, option is chosen[0])


def poll(seconds: float, pause: float = 0.2) -> Iterator[float]:
    """Seconds gone by, again and again until ``seconds`` are over."""
    began = time.monotonic()
    while (gone := time.monotonic() - began) < seconds:
        yield gone
        time.sleep(pause)
