"""A recipe file extends a published recipe, or another file, and is checked like every other."""

import tomllib
from pathlib import Path

import pytest

from deepscaler.kubernetes.cluster.place import load_place
from deepscaler.recipes.load import load_recipe, recipe_named
from deepscaler.recipes.published import NAMES, RECIPES
from deepscaler.recipes.recipe import Profile, with_settings
from deepscaler.recipes.tables import DataOptions
from deepscaler.recipes.write import beginning, whole
from deepscaler.system.errors import UserError
from slurm.site import load_site
from tests.places import ROOT


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_a_file_says_only_what_differs(tmp_path: Path) -> None:
    file = write(tmp_path, "short.toml", 'extends = "8k"\nmax_response_length = 4096\ntemperature = 1\n')
    recipe = load_recipe(file)
    assert recipe == with_settings(RECIPES["8k"], ["name=short", "max_response_length=4096", "temperature=1"])
    assert load_recipe(file, None, ["max_response_length=2048"]).max_response_length == 2048


def test_a_file_extends_a_file_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "ours.toml", 'extends = "16k"\nlearning_rate = 2e-6\n')
    file = write(tmp_path, "mine.toml", 'extends = "base/ours.toml"\nname = "mine"\nseed = 7\n')
    monkeypatch.chdir("/")
    recipe = load_recipe(file)
    assert (recipe.name, recipe.seed, recipe.learning_rate, recipe.num_nodes) == ("mine", 7, 2e-6, 4)


def test_a_profile_in_a_file_means_what_it_means_as_a_flag(tmp_path: Path) -> None:
    file = write(tmp_path, "f.toml", 'extends = "8k"\nname = "8k"\nprofile = "fast"\n')
    assert load_recipe(file) == load_recipe("8k", "fast")
    assert load_recipe(file, "faithful") == RECIPES["8k"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group_size = 4", 'holds no extends: give extends = "8k"'),
        ('Extends = "8k"', "holds Extends = ...: give extends"),
        ("extends = 8", "holds extends = 8: give extends"),
        ('extends = "8kk"', "did you mean '8k'"),
        ('extends = "8k"\ngroupsize = 4', "did you mean 'group_size'"),
        ('extends = "8k"\n\ngroup_size = "four"', "r.toml, line 3: invalid value 'four' for group_size: expected"),
        ('extends = "8k"\ngroup_size = 1', "r.toml, line 2: recipe r: grpo compares"),
        ('name = "a"\nextends = "8k"\nseed = -1', "r.toml, line 3: invalid value -1 for seed"),
        ('name = "a"\nextends = "8kk"', "r.toml, line 2: unknown recipe '8kk'"),
        ('extends = "8k"\n[data]\n# id\nname = "q"', "r.toml, line 4: unknown recipe field 'data.name'"),
        (
            'extends = "8k"\nproblem = "q"',
            "r.toml, line 2: unknown recipe field 'problem' (did you mean 'data.problem'",
        ),
        ('extends = "8k"\nactor.x = 1', "belongs into the table [verl]"),
        ('extends = "8k"\nreward.function = 1', "r.toml, line 2: invalid value 1 for reward.function"),
        ('extends = "gone.toml"', "gone.toml cannot be read: No such file"),
        ('extends = "r.toml"', "in a circle"),
        ('extends = "8k"\nsequence_parallel_size = 8', "cannot share the 12 attention heads"),
        ("extends = ", "r.toml cannot be read"),
        ('extends = "8k"\ndata = 3', "r.toml, line 2: invalid value 3 for data: expected a table [data]"),
        ('extends = "8k"\n[data]\nproblems = "q"', "did you mean 'data.problem'"),
        ('extends = "8k"\n[data]\nweights = [1, 2]', "data.weights has 2 numbers for 1 train_dataset"),
        ('extends = "8k"\n[reward]\nparts = {grader = "x"}', "expected a table of numbers"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        load_recipe(write(tmp_path, "r.toml", text))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("profile", ["faithful", "fast"])
def test_a_recipe_is_written_whole(profile: Profile, tmp_path: Path) -> None:
    file = write(tmp_path, "mine.toml", 'extends = "24k"\noffload_actor = true\nlearning_rate = 2e-6\n')
    recipe = load_recipe(file, profile, ['model=a "b" \\ ü', 'verl.data.apply_chat_template_kwargs.x="#"'])
    assert load_recipe(write(tmp_path, "copy.toml", whole(recipe))) == recipe


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_written_whole_and_begins_others(name: str, tmp_path: Path) -> None:
    recipe = recipe_named(name)
    assert load_recipe(write(tmp_path, "copy.toml", whole(recipe))) == recipe
    begun = beginning(recipe, name)
    assert load_recipe(write(tmp_path, f"{name}.toml", begun)) == recipe
    uncommented = "\n".join(line.removeprefix("# ") if " = " in line else line for line in begun.splitlines())
    assert load_recipe(write(tmp_path, f"{name}.toml", uncommented)) == recipe


FOLDERS = ("bench", "deepscaler", "docker", "docs", "evaluation", "k8s", "slurm", "tests", "tools")
TOMLS = [*ROOT.glob("*.toml"), *(path for name in FOLDERS for path in (ROOT / name).rglob("*.toml"))]
OTHERS = {"pyproject.toml", "deepscaler/rewards/answers/vocabulary.toml"}
"""Read by Python's tools, and by the grader when it is imported."""


@pytest.mark.parametrize("path", sorted(TOMLS), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_toml_of_the_repository_is_what_its_place_says(path: Path) -> None:
    """Recipes and site files load; of every other file it is known which program reads it."""
    name = str(path.relative_to(ROOT))
    if name.startswith("slurm/sites/"):
        load_site(path)
    elif name.startswith(("k8s/sites/", "tests/integration/kubernetes/")):
        load_place(path)
    elif "extends" in tomllib.loads(path.read_text(encoding="utf-8")):
        load_recipe(str(path))
    else:
        assert name in OTHERS


def test_the_profile_is_no_mere_name() -> None:
    with pytest.raises(UserError, match="give --profile fast"):
        load_recipe("8k", None, ["profile=fast"])


def test_some_editors_begin_a_file_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xef\xbb\xbfextends = '8k'\r\nseed = 3\r\n")
    assert load_recipe(str(tmp_path / "mine.toml")).seed == 3


WHOLE = """
extends = "8k"
model = "Qwen/Qwen3-4B"
train_dataset = ["sums.jsonl", "deepscaler"]
validation_dataset = "held_out.parquet"
clip_ratio_high = 0.28

[data]
problem = "question"
weights = [0.7, 0.3]
prompt_suffix = ""

[reward]
function = "my_reward.py:score"
parts = {grader = 1, function = 0.5}

[verl]
"actor_rollout_ref.actor.optim.betas" = [0.9, 0.95]
"""


def test_tables_are_read_and_written_again(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "mine.toml", WHOLE))
    assert recipe.train_dataset == (str(tmp_path / "sums.jsonl"), "deepscaler")
    assert recipe.validation_dataset == (str(tmp_path / "held_out.parquet"),)
    assert recipe.data == DataOptions(problem="question", weights=(0.7, 0.3), prompt_suffix="")
    assert recipe.reward.function == f"{tmp_path}/my_reward.py:score"
    assert recipe.reward.parts == {"grader": 1.0, "function": 0.5}
    assert recipe.verl == {"actor_rollout_ref.actor.optim.betas": [0.9, 0.95]}
    assert load_recipe(write(tmp_path, "copy.toml", whole(recipe))) == recipe


def test_a_file_keeps_the_tables_of_the_file_it_extends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "mine.toml", WHOLE)
    later = write(tmp_path, "later.toml", 'extends = "mine.toml"\ndata.id = "key"\nverl = {"trainer.x" = true}\n')
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(later, None, ["train_dataset=a.json,aime", "reward.parts=function=2", "verl.trainer.y=[1]"])
    assert (recipe.data.problem, recipe.data.id) == ("question", "key")
    assert recipe.verl == {"actor_rollout_ref.actor.optim.betas": [0.9, 0.95], "trainer.x": True, "trainer.y": [1]}
    assert recipe.train_dataset == (str(tmp_path / "a.json"), "aime")
    assert recipe.reward.parts == {"function": 2.0}
