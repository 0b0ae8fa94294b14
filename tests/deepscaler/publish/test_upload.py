"""A publication arrives whole or not at all, whatever the hub, the network or a kill does to its upload."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deepscaler.publish.manifest import FILE
from deepscaler.system.files import write_json
from tests.deepscaler.publish.hub import TOKEN, Hub, Repo, running_hub
from tests.places import ROOT

SCRIPT = """
import sys
from pathlib import Path
from deepscaler.publish.upload import check_target, upload
from deepscaler.system.errors import UserError
folder, repo, private, revision, timeout = sys.argv[1:]
try:
    check_target(repo)
    print(upload(Path(folder), repo, private=private == "yes", revision=revision, timeout=float(timeout), say=print))
except UserError as error:
    sys.exit(f"deepscaler: {error}")
"""
SIZES = {"model-00001-of-00003.safetensors": 300_000, "model-00002-of-00003.safetensors": 310_000}
SIZES |= {"model-00003-of-00003.safetensors": 320_000, "config.json": 300}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a publication of four random files: an upload reads none of them."""
    folder = tmp_path_factory.mktemp("publication")
    for name, size in SIZES.items():
        (folder / name).write_bytes(os.urandom(size))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# toy\n")
    write_json(folder / FILE, {"schema": 1, "stages": []})
    return folder


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


def begin(
    hub: Hub,
    folder: Path,
    repo: str = "ana/toy",
    *,
    private: str = "no",
    revision: str = "main",
    timeout: float = 20,
    token: str = TOKEN,
) -> "subprocess.Popen[str]":
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))},
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",  # this hub has LFS alone
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), repo, private, revision, str(timeout)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def refused(process: "subprocess.Popen[str]") -> str:
    """Returns the one line in which an upload was refused."""
    code, _, err = ended(process)
    assert code == 1
    told = [line for line in err.splitlines() if line.startswith("deepscaler: ")]
    assert len(told) == 1, err
    assert "Traceback" not in err
    return told[0]


def arrived(hub: Hub, folder: Path, repo: str = "ana/toy", branch: str = "main") -> bool:
    """Returns whether every file of a publication is there, byte by byte, and nothing else."""
    there = {name: text for name, text in hub.repos[repo].branches[branch].items() if name != ".gitattributes"}
    return there == {file.name: file.read_bytes() for file in folder.iterdir()}


def test_files_arrive_byte_by_byte_in_one_commit_and_again_change_nothing(hub: Hub, folder: Path) -> None:
    code, out, err = ended(begin(hub, folder))
    assert code == 0, err
    assert "Uploading 6 files, 930.4 kB, to ana/toy" in out
    assert out.splitlines()[-1] == f"{hub.url}/ana/toy/commit/{hub.oid('ana/toy')}"
    assert arrived(hub, folder)
    assert hub.repos["ana/toy"].commits == 1
    sent = len(hub.received)
    assert ended(begin(hub, folder))[0] == 0
    assert len(hub.received) == sent, "large files that are there are not sent again"
    assert arrived(hub, folder)


def test_an_organization_a_private_repository_and_a_branch(hub: Hub, folder: Path) -> None:
    assert ended(begin(hub, folder, "lab/toy", private="yes", revision="second"))[0] == 0
    assert hub.repos["lab/toy"].private
    assert arrived(hub, folder, "lab/toy", "second")
    assert not arrived(hub, folder, "lab/toy", "main")


def test_what_an_earlier_publication_left_is_removed_in_the_same_commit(hub: Hub, folder: Path) -> None:
    old = {"model.safetensors": b"old", FILE: b"{}", ".gitattributes": b"*\n"}
    hub.repos["ana/toy"] = Repo(branches={"main": old})
    assert ended(begin(hub, folder))[0] == 0
    assert arrived(hub, folder)


def test_a_repository_that_no_publication_made_is_left_alone(hub: Hub, folder: Path) -> None:
    theirs = {"README.md": b"mine", "weights.bin": b"1"}
    hub.repos["ana/toy"] = Repo(branches={"main": dict(theirs)})
    assert "it was not made by `deepscaler publish`; give another --repo" in refused(begin(hub, folder))
    assert hub.repos["ana/toy"].branches["main"] == theirs
    assert hub.received == []


@pytest.mark.parametrize(
    ("repo", "options", "told"),
    [
        ("bob/toy", {}, "--repo bob/toy is not the token's to write: it is of ana, lab"),
        ("toy", {}, "expected ORG/NAME"),
        ("ana/to..y", {}, "invalid value 'ana/to..y' for --repo"),
        ("ana/toy", {"token": "hf_wrong"}, "the hub answers 401: the hub does not know the token"),
        ("ana/toy", {"token": ""}, "the hub needs a token with write access"),
        ("ana/open", {"private": "yes"}, "ana/open is public already: --private would not hide it"),
    ],
)
def test_what_may_not_be_written_is_refused_before_anything_is_sent(
    hub: Hub, folder: Path, repo: str, options: dict[str, str], told: str
) -> None:
    hub.repos["ana/open"] = Repo()
    assert told in refused(begin(hub, folder, repo, **options))  # type: ignore[arg-type]
    assert hub.received == []
    assert hub.repos.keys() == {"ana/open"}


@pytest.mark.parametrize(
    ("part", "status", "told"),
    [
        ("/api/repos/create", 403, "403: the token may not write there"),
        ("/preupload/", 403, "403: the token may not write there"),
        ("/lfs/", 413, "413: the hub refuses a file of this size"),
        ("/lfs/", 403, "403: the token may not write there"),
        ("/commit/", 409, "409: somebody else changed the repository"),
    ],
)
def test_a_refusal_is_one_line_and_nothing_half_is_to_be_seen(
    hub: Hub, folder: Path, part: str, status: int, told: str
) -> None:
    hub.refuse[part] = status
    assert told in refused(begin(hub, folder))
    assert [repo for repo in hub.repos.values() if repo.commits] == []
    hub.refuse.clear()
    assert ended(begin(hub, folder))[0] == 0, "the same command goes on"
    assert arrived(hub, folder)


def test_a_connection_that_is_cut_in_the_middle_is_tried_again(hub: Hub, folder: Path) -> None:
    hub.cut["/lfs/"] = 2
    code, _, err = ended(begin(hub, folder))
    assert code == 0, err
    assert arrived(hub, folder)
    assert len(hub.received) == 5


def test_a_hub_that_stalls_is_given_up_in_bounded_time(hub: Hub, folder: Path) -> None:
    hub.stall = "/commit/"
    started = time.monotonic()
    assert "the hub was lost (ReadTimeout" in refused(begin(hub, folder, timeout=2))
    assert time.monotonic() - started < 200  # seconds; without a bound it would be for ever
    hub.stall = ""
    sent = len(hub.received)
    assert ended(begin(hub, folder))[0] == 0
    assert len(hub.received) == sent
    assert arrived(hub, folder)


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_upload_that_is_killed_in_its_middle_goes_on(hub: Hub, folder: Path) -> None:
    hub.stall = "/commit/"  # so that none comes before the kill
    hub.bytes_per_second = 400_000
    first = begin(hub, folder)
    wait_until(lambda: bool(hub.received))
    first.send_signal(signal.SIGKILL)
    first.communicate()
    hub.objects.clear()  # whatever of them had time to arrive
    second = begin(hub, folder)
    wait_until(lambda: len(hub.objects) >= 1)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    hub.stall = ""
    there, sent = set(hub.objects), len(hub.received)
    assert there
    assert not hub.repos["ana/toy"].commits, "nothing half is to be seen"
    hub.bytes_per_second = 0
    assert ended(begin(hub, folder))[0] == 0
    assert {oid for oid, _ in hub.received[sent:]}.isdisjoint(there), "what has arrived is not sent again"
    assert arrived(hub, folder)
