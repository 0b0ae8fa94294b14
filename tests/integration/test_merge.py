"""A run that trained an adapter gives one merged model, verified against base and adapter, and the adapter beside."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from deepscaler.runs.checkpoints import publish
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from deepscaler.training.merge import merge
from tests.deepscaler.models.adapted import ALPHA, RANK, adapted_model
from tests.integration.toy import save_tokenizer

pytestmark = pytest.mark.slow  # verl's merger takes half a minute to start


def save_as_verl(run: RunFolder, model: Any, step: int = 10) -> None:
    """Writes a sealed checkpoint of one rank as verl leaves it."""
    path = run.attempt(1).checkpoints / f"global_step_{step}"
    actor = path / "actor"
    (actor / "huggingface").mkdir(parents=True)
    torch.save(model.state_dict(), actor / "model_world_size_1_rank_0.pt")
    for part in ("optim", "extra_state"):
        torch.save({}, actor / f"{part}_world_size_1_rank_0.pt")
    torch.save({}, path / "data.pt")
    write_json(actor / "fsdp_config.json", {"FSDP_version": 2, "world_size": 1})
    write_json(actor / "lora_train_meta.json", {"r": RANK, "lora_alpha": ALPHA, "task_type": "CAUSAL_LM"})
    config = model.base_model.model.config
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(actor / "huggingface")
    save_tokenizer(actor / "huggingface", 64)
    write_json(run.manifest_path, {"recipe": {"lora_rank": RANK, "lora_alpha": ALPHA}})
    publish(run, path, step=step, verl_step=step)


def test_an_adapter_is_merged_and_verified(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    run, model = RunFolder(tmp_path), adapted_model(deviation=0.5)
    save_as_verl(run, model)
    folder = merge(run, Console())
    tokens = torch.arange(16).unsqueeze(0)
    with torch.inference_mode():
        wanted = model(input_ids=tokens).logits
        base = model.get_base_model()
        with model.disable_adapter():
            without = base(input_ids=tokens).logits
        found = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)(input_ids=tokens).logits
    error = float((found - wanted).abs().max() / wanted.abs().max())
    assert error < 0.02, "bfloat16 rounds"
    assert float((found - without).abs().max() / wanted.abs().max()) > 10 * error, "the adapter is in it"
    assert json.loads((folder / "lora_adapter/adapter_config.json").read_text())["lora_alpha"] == ALPHA
    assert (folder / "lora_adapter/adapter_model.safetensors").is_file()
    assert "Merged and verified" in capfd.readouterr().out


def test_a_scale_that_verl_got_wrong_is_noticed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    save_as_verl(run, adapted_model(deviation=0.5))
    write_json(run.manifest_path, {"recipe": {"lora_rank": RANK, "lora_alpha": 2 * ALPHA}})
    with pytest.raises(UserError, match="the merged model is not the checkpoint"):
        merge(run, Console())
