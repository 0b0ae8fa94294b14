"""A reward that cannot be computed, or an option of one that does nothing, is refused with the way out."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepscaler.cli import main
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.recipes.tables import RewardOptions
from deepscaler.system.errors import UserError


def recipe(**options: Any) -> Recipe:
    return replace(RECIPES["8k"], reward=RewardOptions(**options))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"parts": {"overlog": 1.0}}, "unknown part in reward.parts 'overlog' (did you mean 'overlong'?)"),
        ({"parts": {}}, "reward.parts is empty"),
        ({"parts": {"grader": float("nan")}}, "invalid value {'grader': nan} for reward.parts"),
        ({"parts": {"grader": 1e9}}, "at most 1000000"),
        ({"parts": {"function": 1.0}}, "reward.parts has function, which needs reward.function"),
        ({"parts": {"overlong": 1.0}}, "which needs reward.overlong_buffer"),
        ({"parts": {"length": 1.0}}, "which needs reward.length_cap"),
        ({"function": "my.py:score"}, "of no effect: reward.parts has no function; add function = 1.0"),
        ({"overlong_buffer": 100}, "of no effect: reward.parts has no overlong"),
        ({"length_cap": 100}, "of no effect: reward.parts has no length"),
        ({"parts": {"overlong": 1.0}, "overlong_buffer": 8192}, "must be below max_response_length 8192"),
        ({"parts": {"length": 1.0}, "length_cap": 9000}, "must be below max_response_length 8192"),
        ({"parts": {"function": 1.0}, "function": "my.py"}, "invalid value 'my.py' for reward.function"),
        ({"parts": {"function": 1.0}, "function": "my.txt:score"}, "expected FILE.py:NAME"),
        ({"parts": {"function": 1.0}, "function": "my.py:a b"}, "expected FILE.py:NAME"),
        ({"timeout": 0.0}, "invalid value 0.0 for reward.timeout: expected a number above 0"),
        ({"num_workers": 0}, "invalid value 0 for reward.num_workers"),
        ({"memory": 0.0}, "invalid value 0.0 for reward.memory"),
    ],
)
def test_a_reward_of_no_effect_or_no_value_is_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as error:
        recipe(**options)
    assert told in str(error.value)


def test_parts_without_the_grader_and_negative_weights_are_rewards() -> None:
    assert recipe(parts={"function": -1.0, "format": 0.0}, function="a:b/my.py:score").reward.parts["function"] == -1


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def scores(): pass", "line 1: unknown function 'score' (did you mean 'scores'?)"),
        ("def score(:", "line 1: invalid syntax"),
        ("def score(answer): pass", "unknown argument 'answer'"),
        (None, "cannot be read: No such file"),
    ],
)
@pytest.mark.parametrize("command", [["train"], ["chain"]])
def test_a_wrong_reward_file_is_one_line_before_anything_is_written(
    source: str | None, told: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, recipe = tmp_path / "my_reward.py", tmp_path / "mine.toml"
    if source is not None:
        file.write_text(source)
    recipe.write_text(
        'extends = "quickstart"\n[reward]\nfunction = "my_reward.py:score"\nparts = {grader = 1.0, function = 0.5}\n'
    )
    before = sorted(tmp_path.iterdir())
    assert main([*command, str(recipe), "--device", "cpu", "--output-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert told in " ".join(error.split())
    assert str(file) in error
    assert "Traceback" not in error
    assert sorted(tmp_path.iterdir()) == before


def test_a_pod_is_given_a_copy_of_this_machines_file_and_its_own_by_name(tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text("def score(): return 1\n")
    settings = ["--set", f"reward.function={tmp_path}/my.py:score", "--set", "reward.parts=grader=1,function=1"]
    assert main(["render", "--output", str(tmp_path / "out.yaml"), "train", "8k", *settings]) == 0
    job, files = yaml.safe_load_all((tmp_path / "out.yaml").read_text())
    assert job["spec"]["entrypoint"].startswith("exec deepscaler train /inputs/8k.toml ")
    assert files["data"]["my.py"] == "def score(): return 1\n"
    assert 'function = "/inputs/my.py:score"' in files["data"]["8k.toml"]
    settings[1] = "reward.function=/runs/my.py:score"
    assert main(["render", "--output", str(tmp_path / "out.yaml"), "train", "8k", *settings]) == 0
    assert "reward.function=/runs/my.py:score" in (tmp_path / "out.yaml").read_text()
