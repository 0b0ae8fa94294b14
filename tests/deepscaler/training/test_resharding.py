"""Checkpoints of ranks that torch itself has split, resharded; tests/integration trains with what comes out."""

import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.distributed._shard import sharded_tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from deepscaler.cli import main
from deepscaler.runs.checkpoints import PREFIX, SEAL, publish, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.resharded import copies, copy_folder, remove_superseded, whole_copy
from deepscaler.system.errors import UserError
from deepscaler.system.files import locked
from deepscaler.system.processes import descendants
from deepscaler.system.stacks import state_of
from deepscaler.training import rewrite
from deepscaler.training.merge import merge
from deepscaler.training.resharding import reshard as resharding
from deepscaler.training.resharding.reshard import (
    ForeignCheckpointError,
    for_ranks,
    plan_copy,
    reshard,
    reshard_checkpoint,
)
from deepscaler.training.resharding.splits import as_rank, flat_sizes, join, read_ranks
from deepscaler.training.stalls.watcher import DEAD
from tests.deepscaler.runs.runs import make_run
from tests.places import ROOT

SHAPES = {"embed.weight": (47, 6), "layers.0.weight": (3, 4), "layers.0.bias": (2,), "layers.1.weight": (16, 5)}
"""Rows that no number of ranks divides, and fewer rows than ranks."""

MOMENTS = ("exp_avg", "exp_avg_sq")

Whole = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Torch warns of shards that are read without their process group."""
    with caplog.at_level("ERROR", "torch.distributed.device_mesh"):
        yield


def tensors(shapes: dict[str, tuple[int, ...]]) -> Whole:
    """Returns weights and moments, by name."""
    torch.manual_seed(0)
    names = [f"{kind}/{name}" for kind in ("model", *MOMENTS) for name in shapes]
    return {name: torch.randn(shapes[name.partition("/")[2]]) for name in names}


def made_in(run: RunFolder) -> list[Path]:
    """Returns what stands in the folder of copies, beside the lock."""
    return [path for path in copies(run).iterdir() if path.name != ".lock"]


def generators(rank: int) -> dict[str, Any]:
    return {
        "cpu": torch.Generator().manual_seed(rank).get_state(),
        "numpy": np.random.RandomState(rank).get_state(),
        "random": random.Random(rank).getstate(),
        "cuda": torch.zeros(16, dtype=torch.uint8),
    }


def save(root: Path, num_ranks: int, whole: Whole, *, placement: Any = None, **config: Any) -> RunFolder:
    """Writes a run whose step 40 so many ranks have saved as FSDP2 does: torch.chunk deals the rows."""
    run = make_run(root)
    step = run.attempt(1).checkpoints / f"{PREFIX}40"
    actor = step / "actor"
    (actor / "huggingface").mkdir(parents=True)
    (actor / "huggingface/config.json").write_text("{}")
    (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": num_ranks, **config}))
    torch.save({"position": 3}, step / "data.pt")
    names = [name.partition("/")[2] for name in whole if name.startswith("model/")]
    for rank in range(num_ranks):
        with as_rank(rank, num_ranks):
            mesh = init_device_mesh("cpu", (num_ranks,), mesh_dim_names=("fsdp",))

            def mine(tensor: torch.Tensor, rank: int = rank, mesh: Any = mesh) -> DTensor:
                parts = tensor.chunk(num_ranks)
                local = (parts[rank] if rank < len(parts) else tensor[:0]).clone()
                places = [placement or Shard(0)]
                sizes = {"shape": tensor.shape, "stride": tensor.stride()}
                return DTensor.from_local(local, mesh, places, run_check=False, **sizes)

            state = {
                number: {"step": torch.tensor(7.0), **{kind: mine(whole[f"{kind}/{name}"]) for kind in MOMENTS}}
                for number, name in enumerate(names)
            }
            saved = {
                "model": {name: mine(whole[f"model/{name}"]) for name in names},
                "optim": {"state": state, "param_groups": [{"lr": 1e-6, "params": list(state)}]},
                "extra_state": {"lr_scheduler": {"last_epoch": 7}, "rng": generators(rank)},
            }
            for part, content in saved.items():
                torch.save(content, actor / f"{part}_world_size_{num_ranks}_rank_{rank}.pt")
    publish(run, step, step=40, verl_step=40)
    return run


def as_torch_deals(actor: Path, num_ranks: int, whole: Whole) -> None:
    """Asserts that every rank's file holds what torch.chunk deals it, on a mesh of so many ranks."""
    names = [name.partition("/")[2] for name in whole if name.startswith("model/")]
    models, optimizers = (read_ranks(actor, part, num_ranks) for part in ("model", "optim"))
    for rank, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
        for number, name in enumerate(names):
            held = {"model": model[name], **optimizer["state"][number]}
            assert float(held.pop("step")) == 7.0
            for kind, value in held.items():
                tensor = whole[f"{kind}/{name}"]
                parts = tensor.chunk(num_ranks)
                assert isinstance(value, DTensor)
                assert value.shape == tensor.shape
                assert torch.equal(value._local_tensor, parts[rank] if rank < len(parts) else tensor[:0])
                assert value.device_mesh.device_type == "cuda"
                assert value.device_mesh.mesh.tolist() == list(range(num_ranks))
                assert value.device_mesh.mesh_dim_names == ("fsdp",)
        assert optimizer["param_groups"] == [{"lr": 1e-6, "params": list(range(len(names)))}]


def test_ranks_hold_what_torch_deals_them_and_come_back_as_they_were(tmp_path: Path) -> None:
    whole, said = tensors(SHAPES), list[str]()
    run = save(tmp_path, 3, whole)
    original = {path: path.read_bytes() for path in sealed(run)[0].path.rglob("*") if path.is_file()}
    made = reshard(run, 8, said.append)
    assert (made.step, made.verl_step, made.world_size) == (40, 40, 8)
    assert made.path == copy_folder(run, 40, 8)
    assert "Resharding the checkpoint of step 40, optimizer included: 3 -> 8 ranks" in said[0]
    as_torch_deals(made.path / "actor", 8, whole)
    assert torch.load(made.path / "data.pt") == {"position": 3}
    assert (made.path / "actor/huggingface/config.json").read_text() == "{}"

    rng = [one["rng"] for one in read_ranks(made.path / "actor", "extra_state", 8)]
    for rank in range(3):
        assert torch.equal(rng[rank]["cpu"], generators(rank)["cpu"]), "a rank that was there keeps its generators"
    assert len({bytes(one["cpu"].numpy()) for one in rng}) == 8, "and no new one has another's"
    assert len({str(one["random"]) for one in rng}) == 8
    assert len({bytes(one["cuda"].numpy()) for one in rng[2:]}) == 6

    assert reshard(run, 8, said.append) == made
    assert "is there" in said[-1]
    assert reshard(run, 3, said.append).path == sealed(run)[0].path, "the old number costs nothing"
    assert {path: path.read_bytes() for path in original} == original
    assert made_in(run) == [made.path]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch gives ShardedTensor up
def test_a_sharded_tensor_is_read_too(tmp_path: Path) -> None:
    whole = torch.arange(10.0).view(5, 2)
    for rank in range(2):
        with as_rank(rank, 2):
            local = whole.chunk(2)[rank]
            metadata = sharded_tensor.ShardMetadata([3 * rank, 0], list(local.shape), f"rank:{rank}/cpu")
            shard = sharded_tensor.Shard(local, metadata)
            others = [sharded_tensor.ShardMetadata([3 * r, 0], [3 - r, 2], f"rank:{r}/cpu") for r in range(2)]
            properties = sharded_tensor.metadata.TensorProperties(dtype=whole.dtype)
            told = sharded_tensor.metadata.ShardedTensorMetadata(others, whole.size(), properties)
            value = sharded_tensor.ShardedTensor._init_from_local_shards_and_global_metadata([shard], told)
            torch.save({"w": value}, tmp_path / f"model_world_size_2_rank_{rank}.pt")
    split = join(read_ranks(tmp_path, "model", 2), "model")["w"]
    assert torch.equal(split.rows(0, 5), whole)
    assert torch.equal(split.rows(2, 4), whole[2:4])


def test_what_is_killed_while_it_is_made_leaves_nothing_that_counts(tmp_path: Path) -> None:
    run = save(tmp_path, 2, tensors(SHAPES))
    code = (
        "import sys; from pathlib import Path; from deepscaler.runs.folder import RunFolder;"
        "from deepscaler.training.resharding import reshard as r;"
        "r.python_command = lambda *w: ['sh', '-c', 'mkdir -p \"$3\"; sleep 600', *w];"  # all but the end
        "r.reshard(RunFolder(Path(sys.argv[1])), 4, print)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], start_new_session=True)
    deadline = time.monotonic() + 240
    while not list(copies(run).glob(".making-*/*/actor")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    below = descendants(process.pid)
    assert below
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while any(state_of(pid) not in DEAD for pid in below):
        assert time.monotonic() < deadline, "what reads the checkpoint goes on without its command"
        time.sleep(0.05)
    checkpoint = sealed(run)[0]
    assert whole_copy(run, checkpoint, 4) is None
    assert [path.name[:8] for path in made_in(run)] == [".making-"]
    assert reshard(run, 4, print).world_size == 4
    assert [path.name for path in made_in(run)] == ["global_step_40-of-4"]


def begin_and_wait(root: Path, num_ranks: int, go: Path) -> "subprocess.Popen[bytes]":
    """Starts a command that reshards for real, but only once a file is there; returns once it is at work."""
    code = (
        "import sys; from pathlib import Path; from deepscaler.runs.folder import RunFolder;"
        "from deepscaler.training.resharding import reshard as r; whole = r.python_command;"
        f"wait = 'while ! test -e {go}; do sleep 0.05; done; exec \"$@\"';"
        "r.python_command = lambda *w: ['sh', '-c', wait, 'sh', *whole(*w)];"
        f"r.reshard(RunFolder(Path(sys.argv[1])), {num_ranks}, print)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(root)])
    deadline = time.monotonic() + 240
    while not list(copies(RunFolder(root)).glob(".making-*/*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_a_second_one_waits_for_the_first_and_takes_its_copy(tmp_path: Path) -> None:
    run, said, go = save(tmp_path, 2, tensors(SHAPES)), list[str](), tmp_path / "go"

    def say(line: str) -> None:
        said.append(line)
        go.touch()

    with begin_and_wait(tmp_path, 4, go) as first:
        copy = for_ranks(run, sealed(run)[0], 4, say)
        assert first.wait(120) == 0, "what it was making was left alone"
    assert copy == whole_copy(run, sealed(run)[0], 4)
    assert said == [f"Another process is resharding {run.root}: waiting for it ..."]
    assert [path.name for path in made_in(run)] == ["global_step_40-of-4"]


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = save(tmp_path, 2, tensors({"w": (4, 4)}))
    monkeypatch.setattr(resharding, "python_command", lambda *_: ["sh", "-c", "exec sleep 600"])
    monkeypatch.setattr(rewrite, "DEADLINE", 0.5)
    with pytest.raises(UserError, match=r"resharding .*global_step_40 \(.* kB\) has not ended after 0 s: check"):
        reshard(run, 4, print)
    assert made_in(run) == []
    monkeypatch.setattr(rewrite, "SLOWEST", sum(sealed(run)[0].sizes.values()) / 2)
    begun = time.monotonic()
    with pytest.raises(UserError, match="has not ended after 2 s"):
        reshard(run, 4, print)
    assert time.monotonic() - begun > 1.9, "a large checkpoint has more time"
    monkeypatch.setattr("deepscaler.system.files.LOCK_PATIENCE", 0.5)
    with locked(copies(run), UserError("")), pytest.raises(UserError, match=r"another process is resharding .* wait"):
        reshard(run, 4, print)
    with locked(run.checkpoints, UserError("")), pytest.raises(UserError, match=r"another process is merging .* wait"):
        merge(run, Console())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_training_that_saves_meanwhile_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run = save(tmp_path, 2, tensors({"w": (4, 4)}))
    if moment == "before":  # between the choice and the hold, while another command had its turn
        monkeypatch.setattr(resharding, "_check_room", lambda *_: shutil.rmtree(sealed(run)[0].path))
    else:
        seal = resharding.seal_into

        def seal_and_save(*given: Any, **named: Any) -> Path:
            made = seal(*given, **named)
            remove_superseded(run, 60)
            return made

        monkeypatch.setattr(resharding, "seal_into", seal_and_save)
    with pytest.raises(UserError, match=r"removed .*when a newer checkpoint was saved.*: rerun the same command"):
        reshard_checkpoint(run, sealed(run)[0], 4, print)


def test_a_damaged_copy_is_made_again(tmp_path: Path) -> None:
    run = save(tmp_path, 2, tensors(SHAPES))
    made = reshard(run, 1, print)
    shard = made.path / "actor/optim_world_size_1_rank_0.pt"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert whole_copy(run, sealed(run)[0], 1) is None
    assert reshard(run, 1, print) == made
    assert whole_copy(run, sealed(run)[0], 1) == made


def test_a_copy_of_another_checkpoint_of_its_step_is_made_again(tmp_path: Path) -> None:
    run = save(tmp_path, 2, tensors(SHAPES))
    made = reshard(run, 1, print)
    assert made.identity == sealed(run)[0].identity != ""
    seal = sealed(run)[0].path / SEAL  # as if the step had been lost and saved again
    seal.write_text(json.dumps({**json.loads(seal.read_text()), "id": "another"}))
    assert whole_copy(run, sealed(run)[0], 1) is None
    assert reshard(run, 1, print).identity == "another"


def test_a_form_that_is_not_known_is_said_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    said: list[str] = []
    run = save(tmp_path / "columns", 2, tensors({"w": (4, 4)}), placement=Shard(1))
    with pytest.raises(
        ForeignCheckpointError, match=r"model\.w is placed as S\(1\)|model\.w is placed as Shard\(dim=1\)"
    ):
        reshard(run, 4, said.append)
    checkpoint = sealed(run)[0]
    assert for_ranks(run, checkpoint, 4, said.append) == checkpoint
    assert "cannot be resharded" in said[-1]
    assert made_in(run) == []

    other = save(tmp_path / "other", 2, tensors(SHAPES), FSDP_version=3)
    assert plan_copy(other, sealed(other)[0], 4) == sealed(other)[0]
    with pytest.raises(ForeignCheckpointError, match="it is of FSDP 3, known are 1 and 2"):
        reshard(other, 4, said.append)

    same = save(
        tmp_path / "same",
        2,
        tensors(SHAPES),
    )
    assert plan_copy(same, sealed(same)[0], 4).path == copy_folder(same, 40, 4)


def test_responses_in_flight_are_read_by_as_many_parts_as_wrote_them(tmp_path: Path) -> None:
    run = save(tmp_path, 2, tensors({"w": (4, 4)}))
    (sealed(run)[0].path / "transfer_queue").mkdir()
    with pytest.raises(ForeignCheckpointError, match="were saved in 4 parts, 8 ranks would read 8"):
        reshard(run, 8, print)


def test_what_every_rank_holds_whole_stays_whole(tmp_path: Path) -> None:
    with as_rank(0, 1):
        mesh = init_device_mesh("cpu", (1,), mesh_dim_names=("fsdp",))
        value = DTensor.from_local(torch.ones(3), mesh, [Replicate()], run_check=False)
    assert torch.equal(join([{"w": value}], "model")["w"], torch.ones(3))


def test_units_of_fsdp1_are_told_by_names() -> None:
    shapes = {
        "model.embed_tokens.weight": (96, 4),
        "model.layers.0.q.base_layer.weight": (4, 4),
        "model.layers.0.q.lora_A.default.weight": (2, 4),
        "model.layers.0.q.lora_B.default.weight": (4, 2),
        "model.layers.1.q.base_layer.weight": (4, 4),
        "model.layers.1.q.lora_A.default.weight": (2, 4),
        "model.layers.1.q.lora_B.default.weight": (4, 2),
        "model.norm.weight": (4,),
        "lm_head.weight": (96, 4),
    }
    made = {name: torch.empty(shape) for name, shape in shapes.items()}
    assert flat_sizes(made) == [{772, 388}, {16}, {8}, {8}, {16}, {8}, {8}], "a tied head counts once"


def test_the_next_checkpoint_removes_copies_of_older_ones(tmp_path: Path) -> None:
    run = save(tmp_path, 2, tensors({"w": (4, 4)}))
    made = reshard(run, 1, print)
    remove_superseded(run, 40)
    assert made.path.exists()
    remove_superseded(run, 41)
    assert not made.path.exists()


def test_a_disk_without_room_is_said_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = save(tmp_path, 2, tensors({"w": (4, 4)}))
    monkeypatch.setattr(resharding, "free_bytes", lambda _: 10)
    with pytest.raises(
        UserError, match=r"has 10 bytes free, a copy of step 40 .* free some space, or train with 2 ranks"
    ):
        reshard(run, 4, print)


def test_the_command_says_what_it_would_do_and_does_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = save(tmp_path, 2, tensors({"w": (4, 4)}))
    assert main(["reshard", str(tmp_path), "--ranks", "4", "--dry-run"]) == 0
    assert "(2 ranks, " in (told := capsys.readouterr().out)
    assert f"-> {copy_folder(run, 40, 4)}" in told
    assert not copies(run).exists()
    assert main(["reshard", str(tmp_path), "--ranks", "4"]) == 0
    assert "Resharded, and equal to the last bit" in capsys.readouterr().out
    assert main(["reshard", str(tmp_path), "--ranks", "4", "--dry-run"]) == 0
    assert "(there already)" in capsys.readouterr().out
    assert main(["reshard", str(tmp_path), "--ranks", "2", "--dry-run"]) == 0
    assert "is of 2 ranks: nothing to do" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["reshard", str(tmp_path), "--ranks", "0"])
    assert "expected an integer of at least 1" in capsys.readouterr().err
    assert main(["reshard", str(make_run(tmp_path / "none").root), "--ranks", "4"]) == 2
    assert "no whole checkpoint" in capsys.readouterr().err


def fsdp1(folder: Path, begin: Path | str, num_ranks: int, num_steps: int = 1) -> list[float]:
    """Returns the losses of steps; what comes out is in the folder."""
    words = [str(folder), str(begin), str(num_ranks), str(num_steps)]
    command = [sys.executable, "-m", "tests.deepscaler.training.fsdp1", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


def moved(begin: Path, target: Path, num_ranks: int) -> Path:
    """Reshards a checkpoint of FSDP1 by the kit's own process."""
    command = [
        sys.executable,
        "-m",
        "deepscaler.training.resharding.write",
        str(begin / "actor"),
        str(target / "actor"),
    ]
    done = subprocess.run([*command, str(num_ranks), "cpu"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"foreign": ""}
    return target


def test_fsdp1_goes_on_with_other_numbers_of_ranks_as_if_never_moved(tmp_path: Path) -> None:
    stayed = fsdp1(tmp_path / "stayed", "-", 1, num_steps=4)
    losses, at = fsdp1(tmp_path / "0", "-", 2), tmp_path / "0/2"
    for step, num_ranks in enumerate((1, 3, 2), 1):
        copy = moved(at, tmp_path / f"copy-{step}", num_ranks)
        losses += fsdp1(tmp_path / str(step), copy, num_ranks)
        at = tmp_path / f"{step}/{num_ranks}"
    assert losses == pytest.approx(stayed, abs=1e-5)
    assert min(abs(one - other) for one, other in itertools.pairwise(stayed)) > 1e-3


PEAK = """
import os, sys
from deepscaler.training.resharding import write
statm, most = os.open("/proc/self/statm", os.O_RDONLY), 0
def look(frame, event, _):
    global most
    if event.endswith("return"):
        _, resident, shared = map(int, os.pread(statm, 99, 0).split()[:3])
        most = max(most, resident - shared)
sys.setprofile(look)
write.main()
sys.setprofile(None)
print(most * os.sysconf("SC_PAGE_SIZE"))
"""


def peak_of(words: list[str]) -> int:
    """Returns the most bytes of memory of its own that a resharding held.

    It looks at itself whenever a function returns: whoever looks from time to time may look away at the peak.
    """
    done = subprocess.run([sys.executable, "-c", PEAK, *words], capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout.splitlines()[-1])


def test_memory_holds_one_new_ranks_share(tmp_path: Path) -> None:
    size = 8 * 4_000_000
    shapes = {f"layers.{number}.weight": (500, 1000) for number in range(8)}
    runs = {name: save(tmp_path / name, 8, tensors(given)) for name, given in (("large", shapes), ("small", SHAPES))}
    peaks = {}
    for name, run in runs.items():
        words = [str(sealed(run)[0].path / "actor"), str(tmp_path / f"{name}-16"), "16", "cpu"]
        peaks[name] = peak_of(words)
    taken = peaks["large"] - peaks["small"]
    print(f"{taken / 1e6:.0f} MB for a {size / 1e6:.0f} MB optimizer, 8 -> 16 ranks")
    assert taken < 0.5 * size, "a share is a sixteenth, the largest tensor an eighth of the weights"
