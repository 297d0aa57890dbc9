"""The shared filesystem through the function: what is said of LOCAL's, and pieces, lost answers and hurdles."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.clouds.aws import files as files_module
from portal.clouds.aws import files_handler, function
from portal.clouds.aws.errors import unreachable
from portal.clouds.aws.files import AwsFiles
from portal.clouds.aws.provider import AwsCloud
from portal.clouds.base import CloudError
from portal.clouds.local.trees import TEMPORARY
from tests.clouds.aws.cloud import CUSTOMER, REGION, Aws
from tests.clouds.aws.shim_lambda import FUNCTIONS
from tests.clouds.test_local_files import (  # the same tests, over the function
    PATHS,
    everything,
    save,
    test_a_file_is_saved_and_read,
    test_a_folder_is_deleted_with_all_in_it_even_where_it_was_closed,
    test_an_error_names_the_path_that_it_is_about,
    test_deep_folders_can_be_deleted,
    test_errors_have_stable_codes,
    test_links_are_not_followed_but_can_be_moved_replaced_and_deleted,
    test_listing_shows_folders_first_and_links_as_links,
    test_names_that_are_not_text_can_be_shown,
    test_new_names_hold_no_control_characters_but_old_ones_can_be_deleted,
    test_no_path_leads_out,
    test_reading_a_pipe_does_not_hang,
    test_what_a_killed_upload_left_is_cleaned_up_later,
)

SHARED = (
    *(test_a_file_is_saved_and_read, test_a_folder_is_deleted_with_all_in_it_even_where_it_was_closed),
    *(test_an_error_names_the_path_that_it_is_about, test_deep_folders_can_be_deleted, test_errors_have_stable_codes),
    test_links_are_not_followed_but_can_be_moved_replaced_and_deleted,
    *(test_listing_shows_folders_first_and_links_as_links, test_names_that_are_not_text_can_be_shown),
    test_new_names_hold_no_control_characters_but_old_ones_can_be_deleted,
    *(test_no_path_leads_out, test_reading_a_pipe_does_not_hang, test_what_a_killed_upload_left_is_cleaned_up_later),
)
"""Imported, and so collected here with the fixtures below."""

Refused = Callable[[str], Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """As in ``test_local_files``."""
    root = tmp_path / "bodofs"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "inner").write_text("inner")
    (root / "file").write_text("content")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "link-to-file").symlink_to(tmp_path / "outside" / "secret")
    return root


@pytest.fixture
def files(aws: Aws, root: Path, monkeypatch: pytest.MonkeyPatch) -> AwsFiles:
    """A function, without the workspace around it."""
    monkeypatch.setattr(files_module, "PAUSES", (0.0, 0.0))
    session = aws.administrator()
    name = function.function_name(str(uuid.uuid4()))
    trust = {"Statement": [{"Principal": {"Service": "lambda.amazonaws.com"}}]}
    role = session.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    answer = session.client("lambda").create_function(
        FunctionName=name, Runtime="python3.12", Handler="x.y", Role=role["Arn"], Code={"ZipFile": function.code()}
    )
    FUNCTIONS.mounts[name] = root
    return AwsFiles(session, answer["FunctionArn"])


class Trouble:
    """Stands before the invocations: ``lose`` loses the answers of these verbs once each, after they were done."""

    def __init__(self, files: AwsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[dict[str, Any]] = []
        self.lose: list[str] = []
        self.before: Callable[[dict[str, Any]], None] = lambda event: None
        real = files._invoke

        def invoke(payload: bytes) -> Any:
            event = json.loads(payload)
            self.asked.append(event)
            self.before(event)
            answer = real(payload)
            if event["do"] in self.lose:
                self.lose.remove(event["do"])
                raise unreachable("The answer was lost.")
            return answer

        monkeypatch.setattr(files, "_invoke", invoke)

    def verbs(self) -> list[str]:
        return [event["do"] for event in self.asked]


@pytest.fixture
def trouble(files: AwsFiles, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    return Trouble(files, monkeypatch)


@pytest.fixture
def piece(monkeypatch: pytest.MonkeyPatch) -> int:
    """Small pieces: the real size has a test of its own."""
    monkeypatch.setattr(files_module, "PIECE", 10)
    return 10


def test_the_real_pieces_fit_into_a_call_and_come_back_whole(files: AwsFiles, root: Path, trouble: Trouble) -> None:
    data = os.urandom(files_module.PIECE * 2 + 1000)
    assert save(files, "big", data[:5_000_000], data[5_000_000:]) == len(data)
    assert trouble.verbs() == ["part", "part", "part", "commit"]
    assert (root / "big").read_bytes() == data
    with files.open("big") as file:
        assert file.read(10) == data[:10]
        assert file.read(64 * 1024) == data[10 : 10 + 64 * 1024]
        assert file.read() == data[10 + 64 * 1024 :]


@pytest.mark.parametrize("size", [0, 9, 10, 11, 20, 25])
def test_every_size_is_saved_and_read(files: AwsFiles, root: Path, piece: int, size: int) -> None:
    data = os.urandom(size)
    assert save(files, "folder/new", *(data[at : at + 3] for at in range(0, size, 3))) == size
    assert (root / "folder" / "new").read_bytes() == data
    with files.open("folder/new") as file:
        assert file.read() == data
    assert [path.name for path in (root / "folder").iterdir() if path.name.startswith(TEMPORARY)] == []


def test_a_file_that_grows_is_read_on(files: AwsFiles, root: Path, piece: int) -> None:
    with files.open("file") as file:
        with (root / "file").open("a") as log:
            log.write(" and more of it")
        assert file.read() == b"content and more of it"


def test_a_file_that_is_replaced_while_it_is_read_is_not_mixed(
    files: AwsFiles, root: Path, piece: int, refused: Refused
) -> None:
    (root / "file").write_text("x" * 25)
    with files.open("file") as file:
        (root / "new").write_text("y" * 25)
        (root / "new").rename(root / "file")
        with refused("FileChanged"):
            file.read()


def test_an_upload_is_not_seen_before_it_is_whole_and_leaves_nothing_where_it_breaks_off(
    files: AwsFiles, root: Path, piece: int
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"n" * 25
        assert [entry.name for entry in files.list("")] == ["folder", "file", "link", "link-to-file"]
        raise ConnectionResetError("gone")

    before = everything(root)
    with pytest.raises(ConnectionResetError):
        files.save("file", chunks())
    assert everything(root) == before
    assert (root / "file").read_text() == "content"


@pytest.mark.parametrize("verb", ["part", "commit"])
def test_a_lost_answer_of_an_upload_is_found_again(
    files: AwsFiles, root: Path, piece: int, trouble: Trouble, verb: str
) -> None:
    trouble.lose = [verb]
    assert save(files, "new", b"n" * 25) == 25
    assert (root / "new").read_bytes() == b"n" * 25
    assert trouble.verbs().count(verb) == {"part": 4, "commit": 2}[verb]


def test_a_commit_whose_upload_is_gone_is_not_taken_for_done(
    files: AwsFiles, root: Path, piece: int, trouble: Trouble, refused: Refused
) -> None:
    def lost(event: dict[str, Any]) -> None:
        if event["do"] == "commit":
            (root / f"{TEMPORARY}{event['upload']}").unlink()

    trouble.before = lost
    with refused("FileNotFound"):
        save(files, "file", b"n" * 25)
    assert (root / "file").read_text() == "content"


def test_an_upload_of_which_a_part_is_missing_is_refused(
    files: AwsFiles, root: Path, piece: int, trouble: Trouble, refused: Refused
) -> None:
    def cut(event: dict[str, Any]) -> None:
        if event["do"] == "commit":
            os.truncate(root / f"{TEMPORARY}{event['upload']}", 3)

    trouble.before = cut
    with refused("UploadBroken"):
        save(files, "file", b"n" * 25)
    assert (root / "file").read_text() == "content"


def test_a_lost_answer_of_a_move_is_said_and_not_repeated(
    files: AwsFiles, root: Path, trouble: Trouble, refused: Refused
) -> None:
    trouble.lose = ["move"]
    with refused("NoAnswer") as caught:
        files.move("file", "moved")
    assert "Reload" in caught.value.hint
    assert trouble.verbs() == ["move"]
    assert (root / "moved").exists()


def test_moves_replace_nothing_also_where_the_filesystem_cannot_say_so(
    files: AwsFiles, root: Path, refused: Refused
) -> None:
    files.move("folder", "other")
    assert (root / "other" / "inner").read_text() == "inner"
    assert not (root / "folder").exists()
    (root / "empty").mkdir()
    with refused("FileExists"):
        files.move("other", "empty")
    with refused("FileExists"):
        files.move("file", "file")
    files.move("file", "other/file")
    assert (root / "other" / "file").read_text() == "content"
    with refused("PathNotAllowed"):
        files.move("other", "other/below")
    assert sorted(path.name for path in (root / "other").iterdir()) == ["file", "inner"]


HURDLES = [
    (429, "TooManyRequestsException", 2),
    (409, "ResourceConflictException", 2),
    (500, "ServiceException", 0),
]


@pytest.mark.parametrize(("status", "code", "tries"), HURDLES)
def test_what_did_not_reach_the_function_is_asked_again(
    aws: Aws, files: AwsFiles, status: int, code: str, tries: int
) -> None:
    aws.fail("Invoke", code, "Later.", status, times=tries)
    files.make_folder("new")
    assert aws.asked.count("Invoke") == tries + 1


@pytest.mark.parametrize(
    ("status", "reason", "code"),
    [
        (429, "TooManyRequestsException", "FilesNotReady"),
        (409, "ResourceConflictException", "FilesNotReady"),
        (400, "EFSMountFailureException", "FilesNotReachable"),
        (403, "AccessDeniedException", "PermissionDenied"),
        (500, "ServiceException", "ProviderUnavailable"),
    ],
)
def test_what_stands_in_the_way_is_said_plainly(
    aws: Aws, files: AwsFiles, refused: Refused, status: int, reason: str, code: str
) -> None:
    aws.fail("Invoke", reason, "AWS's words.", status, times=3)
    with refused(code) as caught:
        files.list("")
    assert caught.value.hint


def test_a_function_that_was_deleted_by_hand_is_named(aws: Aws, files: AwsFiles, refused: Refused) -> None:
    aws.administrator().client("lambda").delete_function(FunctionName=files.function)
    with refused("FilesNotReachable"):
        files.list("")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errorMessage": "Task timed out after 15.00 seconds"}', "timed out"),
        (b"[]", "no reason"),
        (b"\xff", "no reason"),
    ],
)
def test_a_function_that_broke_is_an_error_with_its_words(
    files: AwsFiles, monkeypatch: pytest.MonkeyPatch, refused: Refused, body: bytes, words: str
) -> None:
    import io

    files.list("")
    answer = {"FunctionError": "Unhandled", "Payload": io.BytesIO(body)}
    monkeypatch.setattr(files.session.client("lambda", files_module.PATIENCE).inner, "invoke", lambda **_: answer)
    with refused("FilesFailed") as caught:
        files.list("")
    assert words in caught.value.message


def test_files_of_a_workspace_that_is_not_ready_are_not_there_yet(aws: Aws, refused: Refused) -> None:
    from portal.clouds.aws.configuration import Configuration

    cloud = AwsCloud(Configuration(f"arn:aws:iam::{CUSTOMER}:role/r", "x", REGION, "b", "t"), "h", aws.address)
    for handle in ({}, {"steps": {"files-function": {"id": None}}}):
        with refused("FilesNotReady"):
            cloud.files(handle)


# --- The handler by itself --------------------------------------------------------------------------------------------


@pytest.fixture
def ask(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("PORTAL_FILES_ROOT", str(root))
    return lambda do, **parameters: files_handler.handle({"do": do, **parameters}, None)


def test_a_folder_that_is_too_large_for_an_answer_comes_in_pages(
    ask: Callable[..., Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"é{number}" for number in range(30)] + [os.fsdecode(b"caf\xe9"), "\U0001f600"]
    for name in names:
        (root / name).touch()
    monkeypatch.setattr(files_handler, "MOST_LETTERS", 500)
    found: list[str] = []
    after: str | None = ""
    pages = 0
    while after is not None:
        page = ask("list", path="", after=after)["answer"]
        assert len(json.dumps(page["entries"])) < 800
        found += [entry["name"] for entry in page["entries"]]
        after = page["after"]
        pages += 1
    assert pages > 5
    assert len(found) == len(set(found)) == len(names) + 4


def test_what_takes_long_is_gone_on_with(ask: Callable[..., Any], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (root / "folder" / str(number)).mkdir()
    monkeypatch.setattr(files_handler, "SECONDS", -1)
    assert ask("delete", path="folder") == {"answer": {"more": True}}
    assert len(ask("list", path="", after="")["answer"]["entries"]) == 1
    monkeypatch.setattr(files_handler, "SECONDS", 4)
    assert ask("delete", path="folder") == {"answer": {"more": False}}


def test_a_removal_goes_on_until_all_is_gone(files: AwsFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [{"more": True}, {"more": True}, CloudError("FileNotFound", "gone")]

    def invoke(payload: bytes) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, CloudError):
            raise answer
        return answer

    monkeypatch.setattr(files, "_invoke", invoke)
    files.delete("folder")
    assert answers == []


@pytest.mark.parametrize("upload", ["", "../../file", "x" * 16, "0123456789abcdef0", "/etc/passwd"])
def test_no_name_of_an_upload_leads_anywhere(ask: Callable[..., Any], root: Path, upload: str) -> None:
    before = everything(root)
    for parameters in (
        {"do": "part", "offset": 0, "data": "eA=="},
        {"do": "commit", "size": 1, "same": ""},
        {"do": "discard"},
    ):
        answer = ask(path="new", upload=upload, **parameters)
        assert answer["error"]["code"] == "UploadBroken"
    assert everything(root) == before


def test_a_part_is_not_written_through_a_link(ask: Callable[..., Any], root: Path) -> None:
    upload = "0123456789abcdef"
    (root / f"{TEMPORARY}{upload}").symlink_to(root.parent / "outside" / "secret")
    assert ask("part", path="new", upload=upload, offset=0, data="eA==")["error"]["code"] == "PathNotAllowed"
    assert (root.parent / "outside" / "secret").read_text() == "secret"


assert SHARED
assert PATHS
