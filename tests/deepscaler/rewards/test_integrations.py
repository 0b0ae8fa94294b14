"""The snippets of docs/grading.md work with the real packages; one that is missing is named and skipped."""

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "grading.md"
RIGHT, WRONG = r"It is \boxed{\frac{1}{2}}.", r"It is \boxed{0.4}."


def snippet(package: str) -> dict[str, Any]:
    """Returns what the document's code block for a package defines."""
    (code,) = re.findall(rf"```python {package}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    defined: dict[str, Any] = {"__name__": "snippet"}
    exec(code, defined)
    return defined


def needs(package: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed here: pip install {package}", exc_type=ImportError)


def test_the_first_example() -> None:
    from deepscaler.rewards import Grade, grade, is_equivalent  # noqa: PLC0415

    assert is_equivalent("10/4", r"\frac{5}{2}")
    assert not is_equivalent("6!", "720")
    assert grade(r"<think>...</think> \boxed{4}", "4") == Grade(correct=True, answer="4", reason="correct")


@pytest.mark.filterwarnings("ignore")
def test_verl_loads_the_reward_by_its_key() -> None:
    needs("verl")
    from omegaconf import OmegaConf  # noqa: PLC0415
    from verl.trainer.ppo.reward import get_custom_reward_fn  # noqa: PLC0415

    path, name = re.findall(r"custom_reward_function\.(?:path|name)=(\S+)", DOCUMENT.read_text(encoding="utf-8"))
    keys = {"path": path, "name": name, "reward_kwargs": {"thinking": False}}
    function = get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": keys}}))
    for response, gold, score in ((RIGHT, "0.5", 1), (RIGHT, 0.5, 1), (WRONG, ["0.5"], 0)):
        found = asyncio.run(function(data_source="any", solution_str=response, ground_truth=gold, extra_info={}))
        assert found["score"] == score


@pytest.mark.filterwarnings("ignore")
def test_trl_trains_a_step_with_the_reward(tmp_path: Path) -> None:
    needs("trl")
    from datasets import Dataset  # noqa: PLC0415
    from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: PLC0415
    from trl import GRPOConfig, GRPOTrainer  # noqa: PLC0415

    reward = snippet("trl")["reward"]
    conversation = [[{"role": "assistant", "content": RIGHT}], [{"role": "assistant", "content": WRONG}]]
    assert reward(completions=conversation, answer=["0.5", "0.5"], prompts=["", ""]) == [1.0, 0.0]
    words = ["<pad>", "<eos>", "<unk>", *"0123456789", "What", "is", "\\boxed{5}"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tiny = LlamaConfig(vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                       num_attention_heads=2, pad_token_id=0, eos_token_id=1, bos_token_id=1)  # fmt: skip
    options = GRPOConfig(output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=2, num_generations=2,
                         max_completion_length=4, report_to=[], use_cpu=True, bf16=False)  # fmt: skip
    data = Dataset.from_list([{"prompt": "What is 5", "answer": "5"}] * 2)
    trainer = GRPOTrainer(LlamaForCausalLM(tiny), reward, options, train_dataset=data, processing_class=wrapped)
    assert trainer.train().global_step == 1


@pytest.mark.filterwarnings("ignore")
def test_lighteval_computes_the_metric() -> None:
    needs("lighteval")
    from lighteval.models.model_output import ModelResponse  # noqa: PLC0415
    from lighteval.tasks.requests import Doc  # noqa: PLC0415

    metric = snippet("lighteval")["metric"]
    doc = Doc(query="?", choices=["0.5"], gold_index=0)
    scores = [metric.compute_sample(doc=doc, model_response=ModelResponse(text=[text])) for text in (RIGHT, WRONG)]
    assert scores == [{"deepscaler": 1.0}, {"deepscaler": 0.0}]
    assert metric.corpus_level_fn([1.0, 0.0]) == 0.5


@pytest.mark.filterwarnings("ignore")
def test_lm_eval_applies_the_filter() -> None:
    needs("lm_eval")
    from lm_eval.filters import build_filter_ensemble  # noqa: PLC0415

    snippet("lm_eval")
    ensemble = build_filter_ensemble("kit", [["deepscaler", {"gold": "answer"}], ["take_first", None]])
    instances = [SimpleNamespace(resps=[text], doc={"answer": "0.5"}, filtered_resps={}) for text in (RIGHT, WRONG)]
    ensemble.apply(instances)
    assert [instance.filtered_resps["kit"] for instance in instances] == ["0.5", "0.4"]
