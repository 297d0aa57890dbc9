"""A git repository over https: one commit, without its history, its submodules and its .git directory."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import urllib3
from dulwich.client import HttpGitClient, HTTPUnauthorized
from dulwich.errors import GitProtocolError, HangupException, NotGitRepository
from dulwich.index import build_index_from_tree
from dulwich.objects import Commit, Tag
from dulwich.repo import Repo

from jobs.fetching import digests
from jobs.fetching.order import FetchError, Order, Outcome
from portal import outbound

_SHA = re.compile(r"[0-9a-f]{7,40}")


def fetch(order: Order) -> Outcome:
    """Check the commit out into the order's directory. Raises FetchError."""
    address = urlsplit(order.location)
    target = Path(order.directory)
    store = target.with_name(f"{target.name}.git")
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir(parents=True)
    repo = Repo.init_bare(str(store))
    port = f":{address.port}" if address.port else ""
    client = HttpGitClient(
        f"{address.scheme}://{address.hostname}{port}/",
        pool_manager=outbound.pool_manager(private=order.private),
        username=order.username or ("token" if order.token else None),
        password=order.token or None,
        quiet=True,
    )
    try:
        commit = _fetch(client, address.path.encode(), repo, order)
        tree = repo[commit]
        assert isinstance(tree, Commit)
        build_index_from_tree(str(target), str(store / "index"), repo.object_store, tree.tree)
    except HTTPUnauthorized:
        hint = "Check the user and the token of the source; the token needs the right to read the repository."
        raise FetchError("The repository refused the user or the token.", hint) from None
    except NotGitRepository:
        raise FetchError(
            f"There is no repository at {order.location}.", "Check the address; a private one needs a user and a token."
        ) from None
    except (GitProtocolError, HangupException) as error:
        raise FetchError(f"The repository did not answer as git does: {error}", permanent=False) from None
    except urllib3.exceptions.HTTPError as error:
        raise FetchError(f"{address.hostname} cannot be reached: {error}", permanent=False) from None
    finally:
        repo.close()
        shutil.rmtree(store, ignore_errors=True)
    if not (target / order.file).is_file():
        raise FetchError(f"{order.file} is not in the repository at {commit.decode()[:12]}.", "Check the file's path.")
    return Outcome(order.file, commit.decode(), digests.of_tree(target))


def _fetch(client: Any, path: bytes, repo: Repo, order: Order) -> bytes:
    """Bring one commit into the repository, and say which it is."""
    refs: dict[bytes, bytes] = client.get_refs(path).refs
    wanted = _resolve(refs, order)
    if wanted is not None:
        try:
            client.fetch(path, repo, determine_wants=lambda *_, **__: [wanted], depth=1)
        except GitProtocolError:
            if wanted in refs.values():
                raise
        else:
            return _peel(repo, wanted)
    # An abbreviated commit, or a server that gives branches and tags only: bring them all, and look.
    client.fetch(path, repo, determine_wants=lambda *_, **__: sorted(set(refs.values())))
    start = (order.commit or order.reference).encode()
    found = [sha for sha in repo.object_store.iter_prefix(start) if isinstance(repo[sha], Commit)]
    if len(found) != 1:
        what = "is not one commit only" if found else "is not in it"
        raise FetchError(f"{order.reference} {what}.", "Give a branch, a tag or a whole commit.")
    return bytes(found[0])


def _resolve(refs: dict[bytes, bytes], order: Order) -> bytes | None:
    """The commit or tag of a reference; None for an abbreviated commit. Raises FetchError for what is not there."""
    if order.commit:
        return order.commit.encode()
    name = order.reference.encode()
    if not name:
        head = refs.get(b"HEAD")
        if head is None:
            raise FetchError("The repository is empty.", "Push something to it first.")
        return head
    for candidate in (b"refs/heads/" + name, b"refs/tags/" + name, name):
        if candidate in refs:
            return refs[candidate]
    if _SHA.fullmatch(order.reference):
        return name if len(name) == 40 else None
    raise FetchError(
        f"The repository has no branch or tag {order.reference}.",
        "Check the reference; leave it empty for the default.",
    )


def _peel(repo: Repo, sha: bytes) -> bytes:
    """The commit that an annotated tag leads to."""
    found = repo[sha]
    while isinstance(found, Tag):
        sha = found.object[1]
        found = repo[sha]
    if not isinstance(found, Commit):
        raise FetchError("The reference leads to no commit.", "Give a branch, a tag or a commit.")
    return sha
