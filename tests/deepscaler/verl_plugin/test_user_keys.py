"""Keys of verl's in [verl] reach verl as they are, or are refused in one line before anything is written."""

from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.recipes.published import RECIPES
from deepscaler.recipes.recipe import Recipe
from deepscaler.verl_plugin import compose
from deepscaler.verl_plugin.compose import LATER, complaint_of_verl
from deepscaler.verl_plugin.overrides import to_arguments, to_overrides
from deepscaler.verl_plugin.user_keys import PATHS, decided_keys, known_keys, wrong_keys
from tests.places import ROOT

ACTOR = "actor_rollout_ref.actor"


def with_verl(**keys: Any) -> Recipe:
    return replace(RECIPES["8k"], verl=keys)


def test_the_table_of_keys_is_that_of_the_installed_verl() -> None:
    spec = spec_from_file_location("verl_keys", ROOT / "tools/verl_keys.py")
    assert spec is not None
    assert spec.loader is not None
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (ROOT / "deepscaler/verl_plugin/verl_keys.txt").read_text() == tool.table(), "python tools/verl_keys.py"


def test_every_key_of_ours_is_in_the_table() -> None:
    """So that a user's key is judged by the same table as ours; what Hydra must add is below a free or null one."""
    for device in ("cuda", "cpu"):
        for key in to_overrides(RECIPES["quickstart"], PATHS, device):
            assert key.startswith("+") or key in known_keys(), key


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (f"{ACTOR}.optim.bettas", [0.9, 0.95], f"unknown verl key '{ACTOR}.optim.bettas' (did you mean"),
        ("optim.betas", [0.9, 0.95], f"did you mean '{ACTOR}.optim.betas'?"),
        ("no.such.thing", 1, "see verl's trainer/config/ppo_trainer.yaml"),
        ("data.train_batch_size", 3, "set the field train_batch_size instead"),
        (f"{ACTOR}.clip_ratio_high", 0.3, "set the field clip_ratio_high instead"),
        (f"{ACTOR}.use_kl_loss", True, "set the field kl_coefficient instead"),
        ("data.train_files", ["x"], "set the field train_dataset"),
        ("actor_rollout_ref.model.path", "x", "set the field model"),
        ("trainer.default_local_dir", "/x", "the kit gives each attempt a folder"),
        ("trainer.logger", ["console"], "give --wandb"),
        (f"{ACTOR}.checkpoint.save_contents", ["model"], "the kit seals, resumes from and merges"),
        ("ray_kwargs.ray_init.num_cpus", 3, "the launcher starts Ray"),
        ("reward.custom_reward_function.path", "x.py", "set reward.function in [reward]"),
        ("data.shuffle", "yes", "expected true or false, as verl's default there"),
        ("data.seed.x", 3, "follows from the recipe"),
        (f"{ACTOR}.optim.betas", "0.9", "expected a list"),
        ("+data.shuffle", False, "write 'data.shuffle', the kit adds what Hydra needs"),
        ("data shuffle", False, "expected names with dots between them"),
        (f"{ACTOR}.optim.betas", [object()], "expected numbers, texts, true, false or lists"),
    ],
)
def test_a_wrong_key_is_named_with_what_to_do(key: str, value: Any, told: str) -> None:
    ((found, why),) = wrong_keys(with_verl(**{key: value}))
    assert found == key
    assert told in why
    assert "\n" not in why


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({}, 0),
        ({"seeded_responses": False}, 1),
        ({"profile": "fast", "asynchronous_rollout": True, "rollout_correction": "token"}, 1),
    ],
)
def test_samples_of_one_seed_are_refused(changes: dict[str, Any], problems: int) -> None:
    recipe = replace(with_verl(**{"actor_rollout_ref.rollout.full_determinism": True}), **changes)
    found = list(wrong_keys(recipe))
    assert len(found) == problems
    assert all("seeded_responses" in why for _, why in found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{ACTOR}.optim.betas", [0.9, 0.95]),
        ("data.shuffle", False),
        ("actor_rollout_ref.rollout.top_p", 0.95),
        ("actor_rollout_ref.rollout.enforce_eager", True),
        ("actor_rollout_ref.rollout.engine_kwargs.vllm.max_num_seqs", 64),
        ("actor_rollout_ref.model.override_config.attention_dropout", 0.1),
        (f"{ACTOR}.optim.override_optimizer_config.eps", 1e-6),
        (f"{ACTOR}.fsdp_config.mixed_precision.param_dtype", "bf16"),
        ("actor_rollout_ref.rollout.max_num_batched_tokens", "null"),
        ("data.tokenizer", "a ${b} \\ 'c'"),
    ],
)
def test_a_right_key_is_what_verl_composes(key: str, value: Any) -> None:
    from hydra import compose as hydra_compose  # noqa: PLC0415
    from hydra import initialize_config_dir  # noqa: PLC0415

    recipe = with_verl(**{key: value})
    assert list(wrong_keys(recipe)) == []
    folder = ROOT / ".venv/lib"
    (config,) = folder.glob("python3.*/site-packages/verl/trainer/config")
    with initialize_config_dir(str(config), version_base=None):
        found: Any = hydra_compose("ppo_trainer", to_arguments(to_overrides(recipe, PATHS)))
    for part in key.split("."):
        found = found[part]
    assert found == (None if value == "null" else value)


def test_nested_tables_are_dotted_keys() -> None:
    nested = replace(RECIPES["8k"], verl={"data": {"shuffle": False, "apply_chat_template_kwargs": {"x": 1}}})
    assert nested.verl == {"data.shuffle": False, "data.apply_chat_template_kwargs.x": 1}


def test_a_key_of_the_kit_gives_way_to_a_users() -> None:
    overrides = to_overrides(with_verl(**{"actor_rollout_ref.rollout.top_p": 0.9}), PATHS)
    assert [value for key, value in overrides.items() if key.lstrip("+") == "actor_rollout_ref.rollout.top_p"] == [0.9]


def test_what_follows_from_the_recipe_is_found_without_a_list() -> None:
    decided = decided_keys(RECIPES["8k"])
    assert decided["actor_rollout_ref.rollout.n"] == ["group_size"]
    assert decided["actor_rollout_ref.rollout.max_model_len"] == ["max_prompt_length", "max_response_length"]
    assert "data.shuffle" not in decided


def test_without_verl_its_own_check_is_said_to_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "is_installed", lambda: False)
    assert complaint_of_verl(with_verl(**{"data.shuffle": False})) == ("", LATER)


def test_verl_refuses_what_the_table_cannot_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The real verl, in a child: a key and a value that are right by themselves, and ask for another one."""
    file = tmp_path / "mine.toml"
    file.write_text(f'extends = "8k"\n[verl]\n"{ACTOR}.optim.betas" = [0.9, 0.95]\n"{ACTOR}.optim.wrong" = 1\n')
    assert main(["train", str(file), "--dry-run", "--output-dir", str(tmp_path / "run")]) == 2
    assert f"{file}, line 4: unknown verl key '{ACTOR}.optim.wrong'" in capsys.readouterr().err
    complaint, note = complaint_of_verl(with_verl(**{f"{ACTOR}.use_dynamic_bsz": False}))
    assert "verl refuses this configuration" in complaint
    assert note == ""
    assert "\n" not in complaint
    assert not (tmp_path / "run").exists()
