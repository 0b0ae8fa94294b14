"""Uploads a publication to the hub: all of it in one commit, so that a reader never meets half of it.

Large files go first, each by its hash: what a killed upload has brought over is not sent again. Nothing of another
author's repository is changed, and the token is read where huggingface_hub keeps it, never from a command line.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepscaler.models.present import is_hub_id
from deepscaler.publish.manifest import FILE
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes

UNTOUCHED = (".gitattributes",)
"""Files that the hub itself puts into a new repository."""

REFUSALS = {
    401: "the hub does not know the token: `hf auth login`, or set HF_TOKEN",
    403: "the token may not write there: give one with write access, or another --repo",
    404: "it is not there, or the token may not see it: check --repo and --revision",
    409: "somebody else changed the repository at the same time: rerun the same command",
    413: "the hub refuses a file of this size: merge into smaller shards, or ask for more room",
    429: "the hub asks for fewer requests: rerun the same command later",
}

Say = Callable[[str], None]


def check_target(repo: str) -> None:
    """Raises UserError for what cannot be a repository's name; asks nobody."""
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415  seconds of import
    from huggingface_hub.utils import validate_repo_id  # noqa: PLC0415

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"invalid value {repo!r} for --repo: {' '.join(str(error).split())[:200]}") from error
    if not is_hub_id(repo):
        raise UserError(f"invalid value {repo!r} for --repo: expected ORG/NAME")


def check_access(repo: str, *, private: bool, revision: str, timeout: float) -> None:
    """Raises UserError if a publication could not be uploaded; changes nothing."""
    with told(repo):
        _open(repo, private=private, revision=revision, timeout=timeout)


def upload(folder: Path, repo: str, *, private: bool, revision: str, timeout: float, say: Say) -> str:
    """Uploads a publication, and returns the address of its commit. Resumes what a killed upload has left.

    `timeout` is how many seconds the hub may be silent before a request is tried again, and after some tries given up.
    Raises UserError in one line for whatever the hub refuses, and for a repository that no publication made.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete  # noqa: PLC0415  seconds of import

    with told(repo):
        api, here = _open(repo, private=private, revision=revision, timeout=timeout)
        # None and not False, which would make it public in an organization whose default is private.
        api.create_repo(repo, private=private or None, exist_ok=True)
        # The branch is made before the commit: create_commit refuses a revision that does not exist.
        if revision != "main":
            api.create_branch(repo, branch=revision, exist_ok=True)
        ours = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
        operations: list[Any] = [CommitOperationAdd(name, file) for name, file in ours.items()]
        size = sum(file.stat().st_size for file in ours.values())
        say(f"Uploading {len(ours)} files, {in_bytes(size)}, to {repo} ...")
        operations += [CommitOperationDelete(name) for name in here if name not in ours]
        done = api.create_commit(repo, operations, commit_message="Publish the model and its card", revision=revision)
    return str(done.commit_url)


def _open(repo: str, *, private: bool, revision: str, timeout: float) -> tuple[Any, list[str]]:
    """Returns a client of the hub, and the files of the repository. Raises UserError for what may not be changed."""
    from huggingface_hub import HfApi, get_session, get_token  # noqa: PLC0415

    if not get_token():
        raise UserError("the hub needs a token with write access: `hf auth login`, or set HF_TOKEN")
    get_session().timeout = timeout  # huggingface_hub waits for ever for a server that has gone silent
    api = HfApi()
    _check_owner(api.whoami(), repo)
    here = _files(api, repo, revision)
    if here and FILE not in here:
        raise UserError(
            f"{repo} holds {len(here)} files, such as {here[0]}, and no {FILE}: it was not made by `deepscaler"
            " publish`; give another --repo"
        )
    _check_visibility(api, repo, private=private)
    return api, here


@contextmanager
def told(repo: str) -> Iterator[None]:
    """Turns what the hub and the network refuse into one line that says what to do."""
    import httpx  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        yield
    except UserError:
        raise
    except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
        cause: BaseException | None = error
        # huggingface_hub wraps what fails in a large file in a RuntimeError without a status (_commit_api.py).
        while cause is not None and not isinstance(cause, HfHubHTTPError | httpx.HTTPError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            status = cause.response.status_code
            advice = REFUSALS.get(status, "rerun the same command: what has arrived is not sent again")
            raise UserError(f"{repo}: the hub answers {status}: {advice}") from error
        why = f"{type(cause or error).__name__}: {cause or error}"
        raise UserError(
            f"{repo}: the hub was lost ({' '.join(why.split())[:160]}); rerun the same command: what has arrived is not"
            " sent again"
        ) from error


def _check_owner(me: dict[str, Any], repo: str) -> None:
    owner = repo.partition("/")[0]
    mine = [str(me.get("name")), *(str(one.get("name")) for one in me.get("orgs", []))]
    if owner not in mine:
        raise UserError(
            f"--repo {repo} is not the token's to write: it is of {', '.join(mine)}; give one of these as ORG"
        )


def _files(api: Any, repo: str, revision: str) -> list[str]:
    """Returns what a repository holds but for the hub's own file; nothing of one that is not there yet."""
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415

    try:
        found = api.list_repo_files(repo, revision=revision)
    except RevisionNotFoundError:
        # A new branch begins as a copy of main, so that main's files are what the commit has to replace.
        return _files(api, repo, "main") if revision != "main" else []
    except RepositoryNotFoundError:
        return []
    return [name for name in found if name not in UNTOUCHED]


def _check_visibility(api: Any, repo: str, *, private: bool) -> None:
    """Raises UserError if --private would not hide what is already public."""
    from huggingface_hub.errors import RepositoryNotFoundError  # noqa: PLC0415

    if not private:
        return
    try:
        is_private = api.model_info(repo).private
    except RepositoryNotFoundError:
        return
    if not is_private:
        raise UserError(f"{repo} is public already: --private would not hide it; give another --repo, or leave it out")
