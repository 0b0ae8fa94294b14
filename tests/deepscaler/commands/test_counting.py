"""An option that would be ignored is refused, whatever command it is an option of."""

import shlex
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.commands.parser import parse
from tests.deepscaler.commands.leaves import LEAVES

EVALUATE = "evaluate --model M --output-dir D"
REFUSED = {
    f"{EVALUATE} --gpus 4": "--gpus 4 counts only with --on slurm or --on k8s; add one, or leave --gpus out",
    f"{EVALUATE} --gpus 8": "--gpus 8 counts only with --on slurm",  # typed, though it is the default
    f"{EVALUATE} --nodes 2 --engines 8": "--nodes 2 counts only with --on slurm",
    f"{EVALUATE} --nodes 2 --on slurm": "--nodes 2 counts only with --engines; add it, or leave --nodes out",
    f"{EVALUATE} --gpus 4 --on slurm": "--gpus 4 counts only with --engines or --shard; add one, or leave --gpus out",
    f"{EVALUATE} --gpus 4 --on slurm --engines 2 --device cpu": "--gpus 4 counts only with --device cuda",
    f"{EVALUATE} --problems-per-job 5": "--problems-per-job 5 counts only with --on slurm",
    f"{EVALUATE} --problems-per-job 5 --on slurm --engines 2": "--problems-per-job 5 counts only without --engines;"
    " leave --engines out, or leave --problems-per-job out",
    f"{EVALUATE} --problems-per-job 5 --on slurm --gather": "counts only without --gather",
    f"{EVALUATE} --device cpu": "--device cpu counts only with --engines or --on slurm or --on k8s; add one,"
    " or leave --device out",
    f"{EVALUATE} --source S --data-dir X": "--data-dir X counts only without --source",
    f"{EVALUATE} --engine transformers --gpu-memory-utilization 0.5": "counts only with --engine vllm",
    f"{EVALUATE} --engine transformers --tensor-parallel-size 2": "counts only with --engine vllm",
    f"{EVALUATE} --engines 2 --device cpu --tensor-parallel-size 2": "counts only with --device cuda",
    **{
        f"{EVALUATE} {words}": f"{words} counts only with --engine openai; add it, or leave"
        for words in (
            *("--base-url u", "--api completions", "--api-key-env K", "--concurrency 2", "--max-requests 3"),
            *("--request-timeout 9.0", "--leave-out seed"),
        )
    },
    f"{EVALUATE} --engine openai --tokenizer t": "--tokenizer t counts only with --api completions",
    **{
        f"{EVALUATE} --engine openai {words}": f"{words} counts only with --engine vllm or --engine transformers"
        for words in ("--dtype float32", "--max-num-seqs 3", "--deterministic")
    },
    **{
        f"import f --from verl --output-dir D --{name} x": f"--{name} x counts only with --from jsonl; add it, or leave"
        for name in ("response", "gold", "id", "problem")
    },
    "evaluate --model . --output-dir D --revision abc": "--revision abc counts only for a model of the hub",
    f"{EVALUATE} --site s.toml": "--site s.toml counts only with --on slurm",
    f"{EVALUATE} --dry-run=full": "--dry-run=full counts only with --on slurm or --on k8s; add one",
    "train 8k --mirror-bandwidth 50": "--mirror-bandwidth 50 counts only with --mirror; add it, or leave",
    "chain 8k --mirror-bandwidth 50": "--mirror-bandwidth 50 counts only with --mirror; add it, or leave",
    "train 8k --site s.toml": "--site s.toml counts only with --on slurm",
    "train 8k --dry-run=full": "--dry-run=full counts only with --on slurm",
    "chain 8k --site s.toml": "--site s.toml counts only with --on slurm",
    "chain 8k --dry-run=full": "--dry-run=full counts only with --on slurm",
    "chain 8k --gate": "--gate counts only with --eval; add it, or leave --gate out",
    "chain 8k --eval aime --gate-on-doubt stop": "--gate-on-doubt stop counts only with --gate; add it",
    "chain 8k --eval-options '--seed 3'": "counts only with --eval",
    "chain 8k --eval aime --eval-options '--device cpu'": "--device cpu counts only with --engines or --on slurm",
    "chain 8k --only 8k:train --on slurm": "--only 8k:train counts only with --on local",
    "doctor --nodes 2": "--nodes 2 counts only with --meet or --on slurm or --on k8s; add one, or leave --nodes out",
    "doctor --on slurm --nodes 2 --meet X": "--meet X counts only with --on local",
    "doctor --exclude-slow": "--exclude-slow counts only with --on slurm or --on k8s",
    "doctor --gpus 2": "--gpus 2 counts only with --on slurm",
    "doctor --minutes 2": "--minutes 2 counts only with --on slurm",
    "doctor --fast --image-only": "--image-only counts only without --fast; leave --fast out",
    "doctor --dry-run": "--dry-run counts only with --on slurm",
    "doctor --site s.toml": "--site s.toml counts only with --on slurm",
    "doctor --on slurm --lock X": "--lock X counts only with --on local",
    "doctor --on slurm --image-only": "--image-only counts only with --on local",
    "render --name x": "--name x counts only with a COMMAND; add one, such as train 8k, or leave --name out",
    "render --image x": "--image x counts only with a COMMAND",
    "render --site s.toml": "--site s.toml counts only with a COMMAND",
    "render --site s.toml --image x train 8k": "--image x counts only without --site; leave --site out, or",
    "quickstart --site s.toml": "--site s.toml counts only with --on slurm",
    "quickstart --dry-run=full": "--dry-run=full counts only with --on slurm",
    "render evaluate --model m/m --problems-per-job 2": "--problems-per-job 2 counts only with --on slurm",
    "view D --serve 80 --output X": "--serve 80 counts only without --output; leave --output out",
    "estimate 8k 16k --gpu h100 --run-dir D": "--run-dir D counts only for one recipe; name one, or leave",
    "estimate 8k --gpu h100 --dry-run": "--dry-run counts only with --run-dir; add it, or leave --dry-run out",
    **{
        f"publish R --repo a/b --dry-run {words}": f"{words} counts only without --dry-run; leave --dry-run out, or"
        for words in ("--private", "--revision second", "--timeout 5")
    },
    "recipes 8k --all": "--all counts only for several recipes; name another, or leave --all out",
    "recipes --sources": "--sources counts only for one recipe; name one, or leave --sources out",
    "recipes --toml": "--toml counts only for one recipe; name one, or leave --toml out",
    "data prepare arithmetic --device cpu": "--device cpu counts only with --compile; add it, or leave --device out",
    "data prepare arithmetic --source X": "--source X counts only for published sets",
    **{
        f"data prepare aime {words}": f"{words} counts only for a file or a set of the hub; name one"
        for words in (
            "--name x",
            "--problem x",
            "--answer x",
            "--id x",
            "--prompt-suffix x",
            "--drop-duplicates",
            "--no-answers",
        )
    },
}


def conditional() -> set[tuple[str, str]]:
    """Command and flag of every option that says where it counts."""
    return {
        (words, action.option_strings[0])
        for words, parser in LEAVES.items()
        for action in parser._actions
        if getattr(action, "conditions", [])
    }


@pytest.mark.parametrize("line", REFUSED)
def test_an_option_that_would_be_ignored_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(line))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert REFUSED[line] in error
    assert error.count("\n") == 1


def test_every_option_with_a_condition_is_tried_above() -> None:
    tried = {
        (words, flag) for words, flag in conditional() for line in REFUSED if line.startswith(words) and flag in line
    }
    elsewhere = {("report", "--grader"), ("report", "--published")}  # below
    elsewhere |= {("data check", "--source")}  # as in `data prepare`
    of_evaluate = {("data score", flag) for words, flag in conditional() if words == "evaluate"}
    assert conditional() - tried - of_evaluate == elsewhere


@pytest.mark.parametrize(
    "line",
    [
        f"{EVALUATE} --on slurm --engines 8 --nodes 2 --gpus 4",
        f"{EVALUATE} --on slurm --shard 0/2 --gpus 4",
        f"{EVALUATE} --on slurm --device cpu --problems-per-job 5",
        f"{EVALUATE} --engines 2 --device cpu",
        f"{EVALUATE} --gather --max-num-seqs 3 --gpu-memory-utilization 0.5",  # the command of the shards, and --gather
        "chain 8k --only 8k:train",
        "chain 8k --eval aime --eval-options '--seed 3' --gate --gate-on-doubt stop --on slurm --dry-run=full",
        "doctor --on slurm --nodes 2 --gpus 1 --minutes 2 --output-dir X --exclude-slow --fast --dry-run",
        "doctor --nodes 2 --meet X --fast --json",
        "doctor --lock X --image-only",
        "doctor --recipe 8k --output-dir X --fast --json",
        "data prepare arithmetic aime --source X",
    ],
)
def test_an_option_that_counts_is_taken(line: str) -> None:
    parse(shlex.split(line))


def test_what_a_file_says_counts_too(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text("engines = 2\n")
    assert parse(["evaluate", "--config", str(file), "--device", "cpu"]).device == "cpu"


@pytest.mark.parametrize("text", ['device = "cpu"', 'engine = "transformers"\ngpu_memory_utilization = 0.5'])
def test_what_a_file_says_is_refused_where_it_does_not_count(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "e.toml"
    file.write_text(text)
    with pytest.raises(SystemExit, match="2"):
        parse(["evaluate", "--config", str(file)])
    assert "counts only with" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options", ["--model x", "--output-dir x", "--datasets amc", "--dry-run", "--gather", "--help"]
)
def test_what_a_chain_decides_is_refused_in_its_evaluations(
    options: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["chain", "8k", "--eval", "aime", "--eval-options", f"{options} --seed 1", "--dry-run"]
    assert main([*words, "--output-dir", str(tmp_path / "out")]) == 2
    assert f"--eval-options {'takes no' if options == '--help' else 'must not hold'}" in capsys.readouterr().err


def test_a_chain_asks_no_server_for_models_that_it_has_just_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--eval-options=--engine openai --base-url http://gpu7/v1"
    assert main(["chain", "8k", "--eval", "aime", options, "--dry-run", "--output-dir", str(tmp_path / "out")]) == 2
    assert "--eval-options cannot hold --engine openai: no server has the models" in capsys.readouterr().err


def test_a_place_that_cannot_be_typed_has_machines() -> None:
    line = "evaluate --model M --nodes 3 --gpus 4"
    assert parse(line.split(), on="k8s").nodes == 3


@pytest.mark.parametrize(("flag", "value"), [("--grader", "deepscaler"), ("--published", "all")])
def test_another_grader_or_protocol_is_for_evaluations(
    flag: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(tmp_path), flag, value])
    assert f"{flag} {value} counts only for an evaluation; give its folder" in capsys.readouterr().err
