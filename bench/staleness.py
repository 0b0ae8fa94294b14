"""Does correction matter where weights are late? `python bench/staleness.py --ahead 4`, half an hour on two cores.

Two trainings of a small random model by verl, alike but for the importance weights of `rollout_correction=token`. Both
ask for batches ahead, so responses are by some updates older than the weights that learn from them. The reward is the
share of e among the letters of a response, which such a model can learn. Draws both to docs/staleness.png.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from deepscaler.models.smollm import small_model
from deepscaler.output.plotting import BLUE, ORANGE, PAPER_STYLE
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.metrics import mean, quantity, read_metrics
from deepscaler.system.processes import deepscaler_command

RUNS = {
    "token weights": {"rollout_correction": "token"},
    "no correction": {"rollout_rejection": "seq_mean_k3", "rejection_threshold": "1e9"},  # which rejects nothing
}
PANELS = {"reward": "mean reward", "mismatch": "KL rollout to trainer, nats", "staleness": "age of responses, updates"}

REWARD = """
def score(response, **known):
    letters = [letter for letter in response.lower() if letter.isalpha()]
    return letters.count("e") / max(1, len(letters))
"""
RECIPE = """
extends = "quickstart"
profile = "fast"
name = "staleness"
model = "{model}"
num_steps = {steps}
save_every = {steps}
validate_every = {steps}
train_batch_size = 8
mini_batch_size = 2
group_size = 8
max_response_length = 16
learning_rate = 1e-3
recompute_log_probs = true
fused_kernels = "none"
filter_groups = false
batches_ahead = {ahead}
rollout_correction = "token"
[reward]
function = "reward.py:score"
parts = {{function = 1.0}}
"""


def main() -> int:
    """Trains twice, resuming what is there, and draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ahead", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--output-dir", type=Path, default=Path(tempfile.gettempdir()) / "staleness")
    parser.add_argument("--figure", type=Path, default=Path(__file__).parent.parent / "docs/staleness.png")
    given = parser.parse_args()
    root: Path = given.output_dir
    root.mkdir(parents=True, exist_ok=True)
    if not (root / "model").is_dir():
        make_model(root / "model")
    (root / "reward.py").write_text(REWARD)
    recipe = root / "staleness.toml"
    recipe.write_text(RECIPE.format(model=root / "model", steps=given.steps, ahead=given.ahead))
    for name, changes in RUNS.items():
        settings = {"rollout_correction": "none"} | changes
        words = [word for field, value in settings.items() for word in ("--set", f"{field}={value}")]
        place = ("--device", "cpu", "--output-dir", str(folder(root, name)))
        subprocess.run(deepscaler_command(("train", str(recipe), *place, *words)), check=True)
    draw(root, given.figure)
    for name in RUNS:
        metrics = read_metrics(RunFolder(folder(root, name)))
        ends = {panel: mean(quantity(metrics, panel)[-10:]) for panel in PANELS}
        print(f"{name}, last 10 steps: " + ", ".join(f"{PANELS[panel]} {value}" for panel, value in ends.items()))
    return 0


def folder(root: Path, name: str) -> Path:
    """Returns where a run is."""
    return root / name.replace(" ", "-")


def make_model(target: Path) -> None:
    """Writes three million random parameters with the small model's tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(small_model(print))
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "max_position_embeddings": 2048}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes, **ends, **heads)).save_pretrained(target)
    tokenizer.save_pretrained(target)


def draw(root: Path, target: Path) -> None:
    """Draws the runs side by side."""
    import matplotlib as mpl

    with mpl.rc_context(PAPER_STYLE):
        figure = Figure(figsize=(11, 3.2), layout="constrained")
        for axes, (panel, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
            for name, colour in zip(RUNS, (BLUE, ORANGE), strict=True):
                points = quantity(read_metrics(RunFolder(folder(root, name))), panel)
                axes.plot([step for step, _ in points], [value for _, value in points], color=colour, label=name)
            axes.set(xlabel="step", title=label)
        figure.axes[0].legend()
        figure.savefig(target, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
