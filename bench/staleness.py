"""Tests whether correction matters with stale weights: `python bench/staleness.py`, 15 minutes on two cores.

The script trains a small random model with verl three times: on policy, and with responses that are several updates
old, with and without the importance weights of `rollout_correction=token`. The reward is the share of different
lowercase letters among the 16 bytes of a response. A model can learn that, and a policy that collapses loses it. The
script draws docs/staleness.png.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from deepscaler.output.plotting import BLUE, INK, ORANGE, PAPER_STYLE
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import mean, quantity, read_metrics
from deepscaler.system.processes import deepscaler_command

RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "on policy": (INK, {"profile": "faithful"}),
    "late, token weights": (BLUE, {}),
    # The kit requires weights or rejection, so this run has a rejection that never applies.
    "late, no correction": (
        ORANGE,
        {"rollout_correction": "none", "rollout_rejection": "seq_mean_k3", "rejection_threshold": "1e9"},
    ),
}
PANELS = {"reward": "mean reward", "entropy": "entropy, nats", "mismatch": "KL rollout to trainer, nats"}

REWARD = """
def score(response):
    return len({letter for letter in response if "a" <= letter <= "z"}) / 16
"""
RECIPE = """
extends = "quickstart"
name = "staleness"
model = "model"
train_dataset = "numbers.jsonl"
validation_dataset = "numbers.jsonl"
num_steps = {steps}
save_every = {steps}
validate_every = {steps}
train_batch_size = 8
mini_batch_size = 2
group_size = 8
max_prompt_length = 32
max_response_length = 16
learning_rate = {learning_rate}
[signs]
cut_off = false
[data]
prompt_suffix = ""
[reward]
function = "reward.py:score"
parts = {{function = 1.0}}
"""
LATE = """
extends = "staleness.toml"
profile = "fast"
recompute_log_probs = true
fused_kernels = "none"
batches_ahead = {ahead}
rollout_correction = "token"
"""


def main() -> int:
    """Trains three times, resuming earlier work, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ahead", type=int, default=4)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--learning-rate", default="1e-3")
    parser.add_argument("--output-dir", type=Path, default=Path(tempfile.gettempdir()) / "staleness")
    parser.add_argument("--figure", type=Path, default=Path(__file__).parent.parent / "docs/staleness.png")
    given = parser.parse_args()
    root: Path = given.output_dir
    root.mkdir(parents=True, exist_ok=True)
    if not (root / "model").is_dir():
        make_model(root / "model")
    rows = [{"problem": f"Say {number}.", "answer": number} for number in range(512)]
    (root / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "reward.py").write_text(REWARD)
    (root / "staleness.toml").write_text(RECIPE.format(steps=given.steps, learning_rate=given.learning_rate))
    (root / "late.toml").write_text(LATE.format(ahead=given.ahead))
    for name, (_, changes) in RUNS.items():
        recipe = root / ("late.toml" if name.startswith("late") else "staleness.toml")
        settings = [word for field, value in changes.items() for word in ("--set", f"{field}={value}")]
        if "profile" in changes:
            settings = ["--profile", changes["profile"]]
        place = ("--device", "cpu", "--output-dir", str(folder(root, name)))
        subprocess.run(deepscaler_command(("train", str(recipe), *place, *settings)), check=True)
    draw(root, given.figure)
    for name in RUNS:
        metrics = read_metrics(RunFolder(folder(root, name)))
        shown = {**PANELS, "staleness": "age of responses"}
        ends = {label: mean(quantity(metrics, panel)[-10:]) for panel, label in shown.items()}
        print(f"{name}, last 10 steps: " + ", ".join(f"{label} {value}" for label, value in ends.items()))
    return 0


def folder(root: Path, name: str) -> Path:
    """Returns the folder of a run."""
    return root / name.replace(", ", "-").replace(" ", "-")


def make_model(target: Path) -> None:
    """Writes a model of two layers with random weights, whose tokens are bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<end>", "<pad>"]
    plain = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="<end>", pad_token="<pad>")  # noqa: S106
    tokenizer.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "max_position_embeddings": 256}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(letters), **sizes, **ends, **heads)).save_pretrained(target)
    tokenizer.save_pretrained(target)


def draw(root: Path, target: Path) -> None:
    """Draws the runs side by side."""
    import matplotlib as mpl

    with mpl.rc_context(PAPER_STYLE):
        figure = Figure(figsize=(11, 3.2), layout="constrained")
        for axes, (panel, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            for name, (colour, _) in RUNS.items():
                points = quantity(read_metrics(RunFolder(folder(root, name))), panel)
                axes.plot([step for step, _ in points], [value for _, value in points], color=colour, label=name)
            axes.set(xlabel="step", title=label)
        figure.axes[0].legend(loc="lower right")
        figure.savefig(target, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
