"""Cores, memory and a file system that are too small or too slow for a recipe are named; nothing is loaded for it."""

import json
import os
import resource
from pathlib import Path

import pytest

from deepscaler.doctor import machine
from deepscaler.doctor.finding import Finding
from deepscaler.doctor.machine import check_cores, check_memory
from deepscaler.doctor.storage import check_throughput
from deepscaler.doctor.subject import Subject
from deepscaler.recipes.load import load_recipe
from deepscaler.recipes.recipe import Recipe
from tests.deepscaler.doctor.test_gpu import A100, found, several

SMALL, HUGE = 64, 1 << 20
"""Hidden sizes of models: one of 66 thousand parameters, and one of 18 trillion, which fits nowhere."""


def recipe_of(folder: Path, hidden: int) -> Path:
    """Returns a recipe for two GPUs whose model has a size alone, and no weights."""
    counts = dict.fromkeys(("num_hidden_layers", "num_attention_heads", "num_key_value_heads"), 2)
    sizes = dict.fromkeys(("hidden_size", "intermediate_size", "vocab_size"), hidden)
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **counts, **sizes}))
    file = folder / "mine.toml"
    file.write_text(f'extends = "8k"\nmodel = "{folder}"\nnum_nodes = 1\ngpus_per_node = 2\n')
    return file


def subject_of(recipe: Recipe, folder: Path) -> Subject:
    return Subject(purpose="train", recipe=recipe, run_dir=folder)


def test_an_affinity_mask_that_leaves_too_few_cores_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask is what SLURM's cgroup and `docker --cpuset-cpus` give."""
    monkeypatch.setattr(machine, "CORES_PER_GPU", 1)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        one, two = (found(tmp_path, monkeypatch, several(A100, number))["cores"] for number in (1, 2))
    finally:
        os.sched_setaffinity(0, before)
    assert (one.status, one.evidence) == ("pass", f"1 of {os.cpu_count()} for 1 GPUs")
    assert (two.status, two.evidence) == ("warn", f"1 of {os.cpu_count()} for 2 GPUs")
    assert "ask for more CPUs" in two.fix
    assert check_cores(Subject(purpose="cpu")).status == "pass", "without GPUs nothing is wanted"


def test_a_model_that_is_too_large_for_the_host_and_the_gpus_warns_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(hidden: int) -> dict[str, Finding]:
        recipe = str(recipe_of(tmp_path / f"model-{hidden}", hidden))
        return found(tmp_path, monkeypatch, several(A100, 2), recipe=recipe)

    small, huge = told(SMALL), told(HUGE)
    for name in ("memory", "memory fit"):
        assert (small[name].status, huge[name].status) == ("pass", "warn"), huge[name]
    assert " TB wanted" in huge["memory"].evidence
    assert "ask for the node's whole memory" in huge["memory"].fix
    assert "mine fits" in small["memory fit"].evidence
    assert check_memory(Subject(purpose="cpu", recipe=load_recipe("8k"))).status == "pass", "a CPU offloads nothing"


def test_a_file_system_that_is_too_slow_for_the_checkpoints_warns(tmp_path: Path) -> None:
    """The disk of this machine is measured: it is the checkpoint that is large."""
    recipes = {hidden: load_recipe(str(recipe_of(tmp_path / f"model-{hidden}", hidden))) for hidden in (SMALL, HUGE)}
    small, huge = (check_throughput(subject_of(recipes[hidden], tmp_path)) for hidden in (SMALL, HUGE))
    assert (small.status, huge.status) == ("pass", "warn")
    assert "/s written, " in huge.evidence
    assert "a checkpoint of " in huge.evidence
    assert "save less often (save_every)" in huge.fix
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".deepscaler")] == []


def test_a_file_system_that_does_not_take_the_sample_fails(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # Python ignores its signal
        told = check_throughput(Subject(purpose="cpu", run_dir=tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (told.status, told.evidence) == ("fail", f"{tmp_path}: File too large")
    assert list(tmp_path.iterdir()) == []
