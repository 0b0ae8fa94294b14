import json
import re
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.commands.given import of_chain
from deepscaler.commands.parser import parse
from deepscaler.launch.chain import outcome_of, plan_chain
from deepscaler.output.cells import Interval
from deepscaler.recipes.published import RECIPES
from deepscaler.runs.chain import ChainOptions, build_chain
from deepscaler.system.errors import UserError
from tests.deepscaler.runs.runs import end_run, write_evaluation

COMMAND = ["chain", "8k", "16k", "24k", "--output-dir", "/runs/chain"]


def plan(root: Path, **options: object) -> list[tuple[str, int, tuple[str, ...], int | None]]:
    """Name, GPUs, chosen steps and predecessor of every job."""
    recipes = [RECIPES[name] for name in ("8k", "16k", "24k")]
    chain = build_chain(root, recipes, [], ChainOptions(**options))  # type: ignore[arg-type]
    planned = plan_chain(chain, COMMAND, "cuda")
    for one in planned:
        assert one.jobs[0].arguments[: len(COMMAND)] == tuple(COMMAND)
    return [
        (one.jobs[0].name, one.jobs[0].num_gpus, one.jobs[0].arguments[len(COMMAND) + 1 :], one.after)
        for one in planned
    ]


def test_each_stage_has_its_own_size_and_waits_for_the_one_before(tmp_path: Path) -> None:
    assert plan(tmp_path, datasets=("aime",), gate=True) == [
        ("start", 8, ("start:evaluate",), None),
        ("train-8k", 8, ("8k:train",), 0),
        ("after-8k", 8, ("8k:merge", "8k:evaluate"), 1),
        ("train-16k", 32, ("16k:train",), 2),
        ("after-16k", 8, ("16k:merge", "16k:evaluate"), 3),
        ("train-24k", 32, ("24k:train",), 4),
        ("after-24k", 8, ("24k:merge", "24k:evaluate"), 5),
    ]


def test_what_is_done_is_left_out(tmp_path: Path) -> None:
    first = tmp_path / "1-8k"
    end_run(first, RECIPES["8k"].num_steps)
    (first / "model").mkdir()
    (first / "model/merged.json").write_text(json.dumps({"step": RECIPES["8k"].num_steps}))
    assert [name for name, *_ in plan(tmp_path)] == ["train-16k", "after-16k", "train-24k", "after-24k"]


def evaluated(root: Path, before: float, after: float) -> None:
    """Leaves the first stage as it is after its evaluation, with Pass@1 of the start model and of its own."""
    first = root / "1-8k"
    end_run(first, RECIPES["8k"].num_steps)
    (first / "model").mkdir()
    (first / "model/merged.json").write_text(json.dumps({"step": RECIPES["8k"].num_steps}))
    for folder, score in ((root / "0-base", before), (first, after)):
        write_evaluation(folder / "evaluation", aime=Interval(score, score - 0.05, score + 0.05))


def test_a_chain_that_the_gate_has_stopped_is_not_submitted_past_it(tmp_path: Path) -> None:
    evaluated(tmp_path, before=0.5, after=0.1)
    with pytest.raises(UserError, match=r"the gate has stopped the chain in .*: 8k is worse: .* leave out --gate"):
        plan(tmp_path, datasets=("aime",), gate=True)
    left = [name for name, *_ in plan(tmp_path, datasets=("aime",))]
    assert left == ["train-16k", "after-16k", "train-24k", "after-24k"]


@pytest.mark.parametrize(
    ("after", "on_doubt", "outcome", "told"),
    [
        (0.65, "stop", "done", ""),
        (0.5, "go-on", "done", ""),
        (0.5, "stop", "stopped", r"8k is in doubt: aime 50\.0 -> 50\.0 .* a drop of 5\.\d points is not ruled out"),
        (0.35, "go-on", "stopped", r"8k is worse: aime 50\.0 -> 35\.0 \(-15\.0 points, p of a drop"),
    ],
)
def test_the_gate_goes_by_what_is_shown_and_in_doubt_by_what_was_asked(
    after: float, on_doubt: str, outcome: str, told: str, tmp_path: Path
) -> None:
    evaluated(tmp_path, before=0.5, after=after)
    options = ChainOptions(datasets=("aime",), gate=True, gate_on_doubt=on_doubt)  # type: ignore[arg-type]
    chain = build_chain(tmp_path, [RECIPES["8k"]], [], options)
    found, said = outcome_of(chain, chain.steps())
    assert found == outcome
    assert re.match(told, said), said


def test_what_the_gate_does_in_doubt_goes_along_to_jobs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["chain", "8k", "16k", "--eval", "aime", "--gate", "--gate-on-doubt", "stop"]
    assert of_chain(parse(words))[-2:] == ["--gate", "--gate-on-doubt=stop"]
    assert parse(["chain", "8k", *of_chain(parse(words))]).gate_on_doubt == "stop"
    assert of_chain(parse(words[:-2]))[-1] == "--gate"
    assert main(["render", "chain", "8k", "--eval", "aime", "--gate", "--gate-on-doubt", "stop"]) == 0
    assert "--gate --gate-on-doubt=stop " in " ".join(capsys.readouterr().out.split())


def test_a_chain_that_is_done_has_nothing_to_submit(tmp_path: Path) -> None:
    for number, name in enumerate(("8k", "16k", "24k"), start=1):
        folder = tmp_path / f"{number}-{name}"
        end_run(folder, RECIPES[name].num_steps)
        (folder / "model").mkdir()
        (folder / "model/merged.json").write_text(json.dumps({"step": RECIPES[name].num_steps}))
    with pytest.raises(UserError, match="is done; train longer"):
        plan(tmp_path)
