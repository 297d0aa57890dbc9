"""Code from git, from an address and from S3: what runs is what was asked for, and no secret stays anywhere."""

from __future__ import annotations

import base64
import hashlib
import http.server
import socketserver
import subprocess
import sys
import threading
import time
import wsgiref.simple_server
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from dulwich import porcelain
from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain
from pytest_django import Settings

from jobs import sources
from jobs.sources import Fetched
from jobs.spec import Source, SourceType
from portal.clouds.base import CloudError

TOKEN = "ghp_canary-token-never-seen"
NOBODY = 9
"""A port where nobody listens."""


@pytest.fixture(autouse=True)
def reachable(settings: Settings, tmp_path: Path) -> None:
    settings.PORTAL_HOME = tmp_path / "home"
    settings.PORTAL_PRIVATE_ADDRESSES = "on"


def fetched(source: Source, file: str, environment: dict[str, str] | None = None, commit: str = "") -> Fetched:
    """What comes of it in the end; the fetching process is waited for."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = sources.fetch("attempt", source, file, environment or {}, commit=commit)
        if found:
            return found
        threading.Event().wait(0.05)
    raise AssertionError("It does not end.")


def refusal(source: Source, file: str, environment: dict[str, str] | None = None) -> CloudError:
    with pytest.raises(CloudError) as caught:
        fetched(source, file, environment)
    assert caught.value.code == "SourceFailed"
    return caught.value


# --- git ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three commits on main, a branch, a light and an annotated tag, a link that leads out."""
    path = tmp_path / "repository"
    porcelain.init(str(path))
    for number in (1, 2, 3):
        (path / "jobs").mkdir(exist_ok=True)
        (path / "jobs" / "load.py").write_text(f"print({number})\n")
        if number == 3:
            (path / "out").symlink_to("/etc/passwd")
        porcelain.add(str(path), [str(each) for each in path.iterdir() if each.name != ".git"])
        porcelain.commit(str(path), message=b"commit", author=b"A <a@example.org>", committer=b"A <a@example.org>")
        if number == 1:
            porcelain.tag_create(str(path), b"v1", message=b"first", author=b"A <a@example.org>", annotated=True)
            porcelain.branch_create(str(path), "feature/x")
    return path


@pytest.fixture
def git_server(repository: Path) -> Iterator[str]:
    """Git over http with a password, as dulwich serves it."""
    served: dict[str, Any] = {"/team/repo.git": Repo(str(repository))}
    inner = make_wsgi_chain(DictBackend(served))
    expected = "Basic " + base64.b64encode(f"ada:{TOKEN}".encode()).decode()

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if environ.get("HTTP_AUTHORIZATION") != expected:
            start("401 Unauthorized", [("WWW-Authenticate", "Basic realm=git")])
            return [b""]
        return inner(environ, start)

    class Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
        daemon_threads = True

    class Handler(wsgiref.simple_server.WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = wsgiref.simple_server.make_server("127.0.0.1", 0, guarded, Server, Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/team/repo.git"
    server.shutdown()
    thread.join()
    server.server_close()


def git(location: str, reference: str = "", **how: str) -> Source:
    return Source(SourceType.GIT, location, reference, **{"username": "ada", "token": TOKEN, **how})


def commits(repository: Path) -> list[str]:
    with Repo(str(repository)) as repo:
        return [entry.commit.id.decode() for entry in repo.get_walker()][::-1]


@pytest.mark.parametrize(("reference", "number"), [("", 3), ("master", 3), ("feature/x", 1), ("v1", 1)])
def test_git_by_branch_and_tag(repository: Path, git_server: str, reference: str, number: int) -> None:
    head = porcelain.active_branch(str(repository)).decode()
    found = fetched(git(git_server, head if reference == "master" else reference), "jobs/load.py")
    assert (found.directory / "jobs/load.py").read_text() == f"print({number})\n"
    assert found.commit == commits(repository)[number - 1]
    assert len(found.digest) == 64


@pytest.mark.parametrize("length", [40, 12])
def test_git_by_commit_whole_or_abbreviated(repository: Path, git_server: str, length: int) -> None:
    sha = commits(repository)[1]
    found = fetched(git(git_server, sha[:length]), "jobs/load.py")
    assert (found.commit, (found.directory / "jobs/load.py").read_text()) == (sha, "print(2)\n")


def test_an_attempt_that_fetches_again_gets_the_same_commit(repository: Path, git_server: str) -> None:
    """Another machine's worker takes over: the branch may have moved on."""
    first = commits(repository)[0]
    assert fetched(git(git_server), "jobs/load.py", commit=first).commit == first


def test_no_secret_and_no_history_stays(git_server: str, settings: Settings) -> None:
    fetched(git(git_server), "jobs/load.py")
    for path in Path(settings.PORTAL_HOME).rglob("*"):
        assert path.name not in {".git", "config"}
        if path.is_file() and not path.is_symlink():
            assert TOKEN.encode() not in path.read_bytes(), path


def test_the_token_is_in_no_process_list_and_no_environment(git_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    real = subprocess.Popen

    def watched(command: Any, **options: Any) -> Any:
        started.append((command, options["env"]))
        return real(command, **options)

    monkeypatch.setattr("jobs.sources.subprocess.Popen", watched)
    fetched(git(git_server), "jobs/load.py")
    assert TOKEN not in str(started)


@pytest.mark.parametrize(
    ("changes", "file", "said"),
    [
        ({"token": "wrong"}, "jobs/load.py", "refused the user or the token"),
        ({"token": "", "username": ""}, "jobs/load.py", "refused the user or the token"),
        ({"reference": "nowhere"}, "jobs/load.py", "no branch or tag nowhere"),
        ({"reference": "0123456789" * 4}, "jobs/load.py", "0123456789"),
        ({}, "jobs/other.py", "jobs/other.py is not in the repository"),
    ],
)
def test_what_cannot_be_had_is_said(git_server: str, changes: dict[str, str], file: str, said: str) -> None:
    error = refusal(git(git_server, **changes), file)
    assert said in error.message
    assert TOKEN not in str(error)


def test_no_repository_and_no_server(git_server: str) -> None:
    assert "no repository" in refusal(git(git_server.replace("team", "other")), "x.py").message
    sources.discard("attempt")
    error = refusal(git("http://127.0.0.1:9/team/repo.git"), "x.py")
    assert not error.permanent  # the network may come back


# --- an address -----------------------------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server with a few answers."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/away.py":
                self.send_error(404)
            elif self.path == "/busy.py":
                self.send_error(503)
            elif self.path.startswith("/astray.py"):  # to where nobody listens, with a signature of its own
                self.send_response(302)
                self.send_header("Location", f"http://127.0.0.1:{NOBODY}/job.py?X-Amz-Signature=canary'2")
                self.end_headers()
            elif self.path == "/to.py":
                self.send_response(302)
                self.send_header("Location", "/job.py?x=1")
                self.end_headers()
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"x" * (3 << 20) if self.path == "/big.py" else b"print('web')\n")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["/job.py", "/to.py", "/a/..%2f..%2fjob.py", "/j%C3%B6b.py?token=x"])
def test_a_file_from_an_address(web: str, path: str) -> None:
    found = fetched(Source(SourceType.URL, web + path), "")
    assert (found.directory / found.file).read_bytes() == b"print('web')\n"
    assert found.digest == hashlib.sha256(b"print('web')\n").hexdigest()
    assert "/" not in found.file
    assert [entry.name for entry in found.directory.iterdir()] == [found.file]


def test_no_signature_of_an_address_is_in_a_message(web: str, git_server: str) -> None:
    here = refusal(Source(SourceType.URL, f"http://127.0.0.1:{NOBODY}/job.py?sig=1 canary&more"), "")
    assert "cannot be reached" in here.message
    assert "/job.py?…" in here.message
    sources.discard("attempt")
    there = refusal(Source(SourceType.URL, f"{web}/astray.py?sig=canary"), "")
    assert "/job.py?…" in there.message
    sources.discard("attempt")
    nothing = refusal(git(f"{git_server.replace('repo', 'other')}?sig=1 canary"), "jobs/load.py")
    assert "There is no repository" in nothing.message
    for error in (here, there, nothing):
        assert "canary" not in f"{error.message}{error.hint}"


def test_answers_of_an_address(web: str, settings: Settings) -> None:
    assert refusal(Source(SourceType.URL, f"{web}/away.py"), "").permanent
    sources.discard("attempt")
    busy = refusal(Source(SourceType.URL, f"{web}/busy.py"), "")
    assert ("503" in busy.message, busy.permanent) == (True, False)
    settings.PORTAL_SOURCE_LIMIT_MB = 1
    assert "larger than 1 MB" in refusal(Source(SourceType.URL, f"{web}/big.py"), "").message


@pytest.mark.parametrize("kind", [SourceType.URL, SourceType.GIT])
def test_private_addresses_are_for_the_operator_to_allow(web: str, settings: Settings, kind: SourceType) -> None:
    settings.PORTAL_PRIVATE_ADDRESSES = ""
    for address in (f"{web}/job.py", f"{web.replace('http', 'https')}/job.py"):
        error = refusal(Source(kind, address), "job.py")
        assert "private network" in error.message or "https" in error.message
        sources.discard("attempt")


# --- S3 -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-portals-own")  # must never be used
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-portals-own")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    settings.PORTAL_S3_ENDPOINT = "http://{}:{}".format(*server.get_host_and_port())
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=settings.PORTAL_S3_ENDPOINT)
    client.create_bucket(Bucket="jobs")
    for key in ("etl/load.py", "etl/lib/helpers.py", "etl-other/x.py", "etl"):
        client.put_object(Bucket="jobs", Key=key, Body=key.encode())
    yield client
    server.stop()


KEYS = {"AWS_ACCESS_KEY_ID": "AKIARUN", "AWS_SECRET_ACCESS_KEY": "the-runs-own"}


def test_all_below_a_prefix(bucket: Any) -> None:
    found = fetched(Source(SourceType.S3, "s3://jobs/etl/", "us-east-1"), "load.py", KEYS)
    names = sorted(path.relative_to(found.directory).as_posix() for path in found.directory.rglob("*.py"))
    assert names == ["lib/helpers.py", "load.py"]
    assert (found.directory / "load.py").read_text() == "etl/load.py"


def test_the_portals_own_credentials_are_not_handed_on(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []
    real = subprocess.Popen

    def watched(command: Any, **options: Any) -> Any:
        given.append(options["env"])
        return real(command, **options)

    monkeypatch.setattr("jobs.sources.subprocess.Popen", watched)
    fetched(Source(SourceType.S3, "s3://jobs/etl/", "us-east-1"), "load.py", KEYS)
    assert "the-portals-own" not in str(given)
    assert not any(name.startswith("AWS_") for name in given[0])


def test_one_object(bucket: Any) -> None:
    found = fetched(Source(SourceType.S3, "s3://jobs/etl/load.py", "us-east-1"), "", KEYS)
    assert (found.file, found.digest) == ("load.py", hashlib.sha256(b"etl/load.py").hexdigest())


@pytest.mark.parametrize(
    ("location", "file", "said"),
    [
        ("s3://nowhere/etl/", "load.py", "no such bucket"),
        ("s3://jobs/nothing/", "load.py", "nothing at"),
        ("s3://jobs/etl/", "other.py", "other.py is not at"),
    ],
)
def test_what_is_not_in_s3_is_said(bucket: Any, location: str, file: str, said: str) -> None:
    assert said in refusal(Source(SourceType.S3, location, "us-east-1"), file, KEYS).message


def test_a_key_that_leads_out_is_refused(bucket: Any, settings: Settings) -> None:
    bucket.put_object(Bucket="jobs", Key="bad/../../../escaped.py", Body=b"x")
    assert "cannot be a file's path" in refusal(Source(SourceType.S3, "s3://jobs/bad/"), "x.py", KEYS).message
    assert not list(Path(settings.PORTAL_HOME).parent.rglob("escaped.py"))


# --- crashes --------------------------------------------------------------------------------------------------------


def test_only_one_fetches_at_a_time_and_a_killed_one_is_followed_by_another(
    web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    real = subprocess.Popen
    hang = [sys.executable, "-c", "import sys, time; sys.stdin.read(); time.sleep(600)"]

    def watched(command: Any, **options: Any) -> Any:
        started.append(real(hang if len(started) < 2 else command, **options))
        return started[-1]

    monkeypatch.setattr("jobs.sources.subprocess.Popen", watched)
    source = Source(SourceType.URL, f"{web}/job.py")
    for _ in range(5):
        assert sources.fetch("attempt", source, "", {}) is None
    assert len(started) == 1
    for number in (0, 1):
        started[number].kill()
        started[number].wait()
        sources.fetch("attempt", source, "", {})
    assert fetched(source, "").file == "job.py"
    assert len(started) == 3


def test_one_that_dies_again_and_again_is_given_up(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def dying(command: Any, **options: Any) -> Any:
        return real([sys.executable, "-c", "import sys; sys.stdin.read()"], **options)

    monkeypatch.setattr("jobs.sources.subprocess.Popen", dying)
    assert "interrupted" in refusal(Source(SourceType.URL, f"{web}/job.py"), "").message
