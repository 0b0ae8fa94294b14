"""What reaches the mirror, whole or not at all, whatever the bucket does."""

import hashlib
import importlib.util
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.mirror import fetch
from deepscaler.mirror import uploader as module
from deepscaler.mirror.bucket import Bucket, DamagedError, MirrorError
from deepscaler.mirror.fetch import restore
from deepscaler.mirror.hub import place
from deepscaler.mirror.layout import View, look, read_manifest, read_object, small_files
from deepscaler.mirror.uploader import Order, Uploader
from deepscaler.mirror.url import PACKAGES, check_url, check_writable
from deepscaler.runs.checkpoints import newest, sealed
from deepscaler.runs.fence import FencedError
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import read_metrics
from deepscaler.system.errors import UserError
from tests.deepscaler.mirror.conftest import Save, start_attempt
from tests.deepscaler.mirror.server import SECRET, Proxy


def uploader(run: RunFolder, url: str, attempt: int = 1) -> Uploader:
    made = Uploader(Order(run_dir=str(run.root), attempt=attempt, url=url))
    made.claim()
    return made


def bring_up_to_date(one: Uploader) -> None:
    while one.bring_up_to_date():
        pass


def same_files(first: Path, second: Path) -> bool:
    names = [sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()) for root in (first, second)]
    return names[0] == names[1] and all((first / n).read_bytes() == (second / n).read_bytes() for n in names[0])


def test_an_empty_disk_gets_the_newest_checkpoint_metrics_and_rollouts(
    run: RunFolder, anywhere: str, save: Save, tmp_path: Path
) -> None:
    for step in (20, 40, 60):
        save(run, step)
    first = uploader(run, anywhere)
    bring_up_to_date(first)
    first.close()
    assert sorted(look(place(anywhere)).whole) == [40, 60], "by the rule of the recipe: the two newest"
    fresh = RunFolder(tmp_path / "fresh")
    restore(fresh, anywhere, print)
    found = newest(fresh, print)
    assert found
    assert found.step == 60
    assert [one.step for one in sealed(fresh)] == [60], "only what is needed"
    assert same_files(found.path, run.checkpoints / "global_step_60")
    assert read_metrics(fresh) == read_metrics(run)
    assert json.loads((fresh.root / "rollouts/40.jsonl").read_text()) == {"step": 40}
    assert fresh.read_manifest() == run.read_manifest()
    assert fresh.next_attempt().number == 2
    restore(fresh, anywhere, print)  # once more changes nothing


def test_nothing_without_a_manifest_counts(run: RunFolder, anywhere: str, save: Save, tmp_path: Path) -> None:
    save(run, 20)
    bring_up_to_date(uploader(run, anywhere))
    bucket = place(anywhere)
    for name in bucket.names():
        if "global_step_20" in name:
            bucket.write(name.replace("step_20", "step_40"), bucket.read(name) or b"")
    bucket.remove(["attempts/0001/checkpoints/global_step_40/manifest.json"])
    assert list(look(bucket).whole) == [20]
    bring_up_to_date(uploader(run, anywhere))
    assert not [name for name in bucket.names() if "global_step_40" in name], "torn ones are removed"


def test_what_is_not_as_its_manifest_tells_is_refused(
    run: RunFolder, anywhere: str, save: Save, tmp_path: Path
) -> None:
    save(run, 20)
    one = uploader(run, anywhere)
    bring_up_to_date(one)
    one.close()
    bucket = place(anywhere)
    stored = look(bucket).whole[20]
    name = f"{stored.folder}/actor/optim_world_size_1_rank_0.pt"
    content = bytearray(bucket.read(name) or b"")
    content[len(content) // 2] ^= 1
    bucket.write(name, bytes(content))
    fresh = RunFolder(tmp_path / "fresh")
    with pytest.raises(UserError, match="is not what its manifest tells"):
        restore(fresh, anywhere, print)
    assert sealed(fresh) == []
    assert not fresh.is_run, "so that training does not start over silently"


def test_a_steps_numbers_come_before_its_checkpoint_counts(
    run: RunFolder, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    one = uploader(run, url)

    def look_while_a_step_is_saved(bucket: Bucket) -> View:
        if not sealed(run):
            save(run, 20)
        return look(bucket)

    monkeypatch.setattr(module, "look", look_while_a_step_is_saved)
    one.bring_up_to_date()
    assert list(look(place(url)).whole) == [20]
    one.close()  # and a kill right here
    fresh = RunFolder(tmp_path / "fresh")
    restore(fresh, url, print)
    assert read_metrics(fresh) == read_metrics(run) != {}
    assert (fresh.root / "rollouts/20.jsonl").is_file()


def test_a_start_waits_for_its_mirror_once(
    run: RunFolder, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    save(run, 20)
    bring_up_to_date(uploader(run, url))
    names, read = Bucket.names, Bucket.read
    monkeypatch.setattr(fetch, "PATIENCE", 1.0)
    monkeypatch.setattr(Bucket, "prepare", lambda _: time.sleep(0.6))
    monkeypatch.setattr(Bucket, "names", lambda bucket: (time.sleep(0.6), names(bucket))[1])
    monkeypatch.setattr(Bucket, "read", lambda bucket, name: (time.sleep(0.6), read(bucket, name))[1])
    with pytest.raises(UserError, match="does not answer within 1 s; without it, nobody knows"):
        restore(RunFolder(tmp_path / "fresh"), url, print)
    said: list[str] = []
    restore(run, url, said.append)
    assert "WARNING: the mirror cannot be reached" in said[0]


def test_a_run_that_its_disk_has_starts_whatever_the_rest_of_its_mirror_says(
    run: RunFolder, save: Save, tmp_path: Path
) -> None:
    url = f"file://{tmp_path}/bucket/8k"
    save(run, 20)
    one = uploader(run, url)
    bring_up_to_date(one)
    one.close()
    place(url).write("attempts/0001/files.json", b"")
    restore(run, url, print)
    with pytest.raises(UserError, match=r"files\.json holds no JSON object"):
        restore(RunFolder(tmp_path / "fresh"), url, print)


def test_a_zombie_overwrites_and_outlives_nothing(run: RunFolder, anywhere: str, save: Save, tmp_path: Path) -> None:
    for step in (20, 40):
        save(run, step)
    old = uploader(run, anywhere)
    bring_up_to_date(old)
    old.close()
    other = RunFolder(tmp_path / "other")
    restore(other, anywhere, print)
    start_attempt(other, 2, resumed_step=40)
    new = uploader(other, anywhere, attempt=2)
    save(run, 60)
    with pytest.raises(FencedError, match="attempt 2 has taken over"):
        old.bring_up_to_date()
    bucket = place(anywhere)
    assert sorted(look(bucket).whole) == [20, 40]
    # the worst moment: it had looked just before
    name = look(bucket).whole[40].folder.replace("step_40", "step_60")
    manifest = read_manifest(bucket, look(bucket).whole[40])
    for file in manifest:
        bucket.write(f"{name}/{file}", b"zombie")
    bucket.write(f"{name}/manifest.json", json.dumps({"files": manifest}).encode())
    assert sorted(look(bucket).whole) == [20, 40]
    save(other, 60)
    bring_up_to_date(new)
    assert look(bucket).whole[60].attempt == 2
    assert not [one for one in bucket.names() if one.startswith("attempts/0001/checkpoints/global_step_60")]
    third = start_attempt(RunFolder(tmp_path / "third"), 2, resumed_step=40)
    (third.root / "mirror.json").write_text(json.dumps({"url": anywhere, "run": old._state.run}))
    with pytest.raises(FencedError, match="2 of another start"):
        uploader(third, anywhere, attempt=2)


def test_a_bucket_holds_one_run(run: RunFolder, anywhere: str, save: Save, tmp_path: Path) -> None:
    save(run, 20)
    bring_up_to_date(uploader(run, anywhere))
    other = start_attempt(RunFolder(tmp_path / "other"), 1)
    with pytest.raises(UserError, match="the mirror of another run"):
        uploader(other, anywhere)
    with pytest.raises(UserError, match="the mirror of another run"):
        restore(other, anywhere, print)


def test_no_sign_of_life_comes_after_the_end(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = uploader(run, f"file://{tmp_path}/bucket")
    write, sent = Bucket.write, threading.Event()

    def write_late(bucket: Bucket, name: str, content: bytes) -> None:
        if threading.current_thread() is not threading.main_thread():
            sent.set()
            time.sleep(0.5)
        write(bucket, name, content)

    monkeypatch.setattr(Bucket, "write", write_late)
    monkeypatch.setattr(Bucket, "beat", 0.1)
    thread = threading.Thread(target=one.keep_beating, daemon=True)
    thread.start()
    assert sent.wait(10)
    one.close()
    thread.join(2)
    [claim] = [name for name in one._bucket.names() if "claim" in name]
    assert (read_object(one._bucket, claim) or {})["ended"]


def test_a_kill_right_after_the_first_write_leaves_the_runs_own_mirror(
    run: RunFolder, anywhere: str, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(run, 20)
    kind = type(place(anywhere))
    write = kind.write

    def write_and_die(bucket: Bucket, name: str, content: bytes) -> None:
        write(bucket, name, content)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(kind, "write", write_and_die)
        with pytest.raises(KeyboardInterrupt):
            uploader(run, anywhere)
    restore(run, anywhere, print)
    bring_up_to_date(uploader(run, anywhere))
    assert list(look(place(anywhere)).whole) == [20]


def test_best_and_regular_checkpoints_stay_in_the_mirror_too(run: RunFolder, anywhere: str, save: Save) -> None:
    manifest = run.read_manifest()
    manifest["recipe"] |= {"keep": 1, "keep_every": 40, "keep_best": 0}
    run.manifest_path.write_text(json.dumps(manifest))
    one = uploader(run, anywhere)
    for step in (20, 40, 60, 80, 100):
        save(run, step)
        bring_up_to_date(one)
    assert sorted(look(place(anywhere)).whole) == [40, 80, 100]


def test_small_files_before_one_that_could_not_be_sent_are_not_forgotten(
    run: RunFolder, save: Save, tmp_path: Path
) -> None:
    save(run, 20)
    url = f"file://{tmp_path}/bucket/8k"
    one = uploader(run, url)
    digest = hashlib.sha256((run.root / "rollouts/20.jsonl").read_bytes()).hexdigest()
    in_the_way = tmp_path / f"bucket/8k/attempts/0001/files/rollouts/20.jsonl-{digest[:8]}.part"
    in_the_way.mkdir(parents=True)
    with pytest.raises(MirrorError, match="IsADirectoryError"):
        one.bring_up_to_date()
    in_the_way.rmdir()
    bring_up_to_date(one)
    files = small_files(place(url), look(place(url)))
    assert {"run.json", "attempts/0001/metrics.jsonl", "rollouts/20.jsonl"} <= files.keys()


@pytest.mark.parametrize("fault", ["403", "503", "cut"])
def test_a_bucket_that_fails_is_said_without_secrets_and_tried_again(
    run: RunFolder, url: str, proxy: Proxy, save: Save, fault: str
) -> None:
    save(run, 20)
    one = uploader(run, url)
    proxy.fault = fault  # type: ignore[assignment]
    proxy.drop()
    with pytest.raises(MirrorError) as caught:
        bring_up_to_date(one)
    assert SECRET not in str(caught.value)
    assert url in str(caught.value)
    proxy.fault = ""
    assert look(Bucket(url)).whole == {}
    bring_up_to_date(one)
    assert list(look(Bucket(url)).whole) == [20]


def test_a_download_that_is_cut_costs_no_steps(
    run: RunFolder, url: str, proxy: Proxy, save: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (20, 40):
        save(run, step, 100_000)
    one = uploader(run, url)
    bring_up_to_date(one)
    one.close()
    fetch_checkpoint = fetch.fetch_checkpoint

    def cut(*given: Any) -> None:
        proxy.fault = "cut"
        proxy.drop()
        fetch_checkpoint(*given)

    fresh = RunFolder(tmp_path / "fresh")
    with monkeypatch.context() as patched:
        patched.setattr(fetch, "fetch_checkpoint", cut)
        with pytest.raises(MirrorError, match="global_step_40") as caught:
            restore(fresh, url, print)
    assert not isinstance(caught.value, DamagedError)
    assert sealed(fresh) == []
    proxy.fault = ""
    restore(fresh, url, print)
    assert [checkpoint.step for checkpoint in sealed(fresh)] == [40]


def test_an_upload_is_as_slow_as_it_is_told(run: RunFolder, anywhere: str, save: Save) -> None:
    save(run, 20)
    order = Order(run_dir=str(run.root), attempt=1, url=anywhere, bandwidth=400_000)
    one = Uploader(order)
    one.claim()
    size = sum(sealed(run)[0].sizes.values())
    began = time.monotonic()
    bring_up_to_date(one)
    assert time.monotonic() - began > 0.9 * size / 400_000 > 2


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("bucket/8k", "expected SCHEME://BUCKET/PREFIX"),
        ("s3://", "expected SCHEME://BUCKET/PREFIX"),
        ("s4://bucket", "unknown kind of bucket 's4' (did you mean 's3'?)"),
        ("s3://key:secret@bucket/8k", "credentials come from the environment"),
        ("s3://bucket/8k?secret=1", "holds credentials or a query"),
    ],
)
def test_a_url_is_a_place_and_nothing_else(given: str, why: str) -> None:
    with pytest.raises(UserError) as caught:
        check_url(given)
    assert why in str(caught.value)
    assert "secret@" not in str(caught.value)
    assert check_url("abfs://container@account.dfs.core.windows.net/8k/").endswith("/8k")


@pytest.mark.parametrize("given", ["lab", "datasets/lab", "spaces/lab/8k", "buckets/lab/8k", "lab/8k@v1/runs"])
def test_only_a_repositorys_folder_is_mirrored_to(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["train", "8k"], ["chain", "8k", "16k"]):
        with pytest.raises(SystemExit) as ended:
            main([*command, "--mirror", f"hf://{given}", "--dry-run"])
        assert ended.value.code == 2
        told = capsys.readouterr().err.splitlines()[-1]
        assert f"hf://{given} cannot be a --mirror: give hf://ORG/NAME/PREFIX" in told


def test_a_place_that_is_written_to_is_named_as_fsspec_names_it() -> None:
    for url in ("hf://lab/8k/", "hf://lab/8k/runs/1", "hf://datasets/lab/8k", "hf://models/lab/8k/x"):
        assert check_writable(url) == url.rstrip("/")
    for scheme in PACKAGES.keys() - {"hf"}:
        assert check_writable(f"{scheme}://bucket/8k/") == f"{scheme}://bucket/8k"


@pytest.mark.parametrize(("scheme", "package"), [("gs", "gcsfs"), ("az", "adlfs"), ("abfs", "adlfs"), ("s3", "s3fs")])
def test_a_package_that_is_missing_is_named(
    run: RunFolder, scheme: str, package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    url = f"{scheme}://bucket/8k"
    for command in ("report", "merge", "publish"):
        assert main([command, url, *(["--repo", "lab/8k", "--dry-run"] if command == "publish" else [])]) == 2
        [told] = capsys.readouterr().err.splitlines()
        assert f"{url} needs the package {package}: pip install fsspec {package}" in told
    with pytest.raises(UserError, match=f"needs the package {package}"):
        restore(run, url, print)
    with pytest.raises(UserError, match=f"needs the package {package}"):
        uploader(run, url)
