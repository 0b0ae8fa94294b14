"""Writes the model card of a trained model: metadata that the hub reads, and a page for people.

---
license: mit
base_model: deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B
model-index: [...]
---
# DeepScaleR-again
...
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from deepscaler.data.sources import title
from deepscaler.models.base import Base
from deepscaler.output.cells import Interval, Rows, markdown_table, percent
from deepscaler.publish.manifest import FILE
from deepscaler.publish.origins import data_table, hub_sets, licenses
from deepscaler.recipes.load import recipe_named
from deepscaler.recipes.published import NAMES
from deepscaler.recipes.stored import stored_options
from deepscaler.runs.stages import Stage
from deepscaler.training.report.evaluations import Evaluation
from deepscaler.training.report.tables import heading, notes, progress_table, summary

CURVES = "curves.png"

PLACE_FIELDS = frozenset(("name", "model", "num_nodes", "gpus_per_node", "keep", "keep_every", "keep_best", "signs"))
"""Fields of a recipe that change no result: where it ran, and what stayed on disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that a card states."""

    repo: str
    base: Base
    model: str
    """Size of the model in words: `272 tensors, 1,777,088,000 parameters in bfloat16`."""
    weights: str
    """The identity of the weight files."""
    manifest: Mapping[str, Any]
    """deepscaler.json."""
    stages: Sequence[Stage]
    """None of a model whose training is not known."""
    evaluations: Sequence[Evaluation]
    """Evaluations of this model and of those before it."""
    results: Sequence[Mapping[str, Any]]
    """Entries of the card's model-index, of this model alone."""
    remarks: Sequence[str]


def card(facts: Facts) -> str:
    """Returns README.md. Raises ValueError if huggingface_hub refuses its metadata."""
    from huggingface_hub import ModelCard, ModelCardData  # noqa: PLC0415  seconds of import

    name = facts.repo.partition("/")[2]
    index = [{"name": name, "results": list(facts.results)}] if facts.results else None
    data = ModelCardData(
        **facts.base.license,
        # A name that the hub does not have would lead to nowhere, and a folder's would be private.
        base_model=facts.base.name if facts.base.is_of_hub else None,
        datasets=hub_sets(facts.manifest) or None,
        language=["en"],
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["math", "reinforcement-learning", "grpo", "verl", "deepscaler"] if facts.stages else ["math"],
        # The entries are ready already: `eval_results` would take them as objects of huggingface_hub's own.
        **{"model-index": index},
    )
    text = f"---\n{data.to_yaml()}\n---\n\n{_body(facts, name)}"
    ModelCard(text)  # raises what the hub would refuse when it reads it
    return text


def _body(facts: Facts, name: str) -> str:
    parts = [f"# {name}", _what(facts)]
    if facts.stages:
        parts += [f"![Reward, validation accuracy, response length and entropy over the steps]({CURVES})"]
    if facts.evaluations:
        parts += ["## Evaluation", _evaluations(facts.evaluations)]
    if facts.stages:
        parts += ["## Training", markdown_table(progress_table(list(facts.stages)))]
        parts += ["### Recipe", _recipe(facts.stages), "### Data", data_table(facts.manifest)]
    parts += [
        "## Licenses",
        licenses(facts.base, is_trained=bool(facts.stages)),
        "## How to reproduce",
        _reproduce(facts, name),
    ]
    parts += ["## Use", _use(facts.repo)]
    if said := [*facts.remarks, *(notes(list(facts.stages)) if facts.stages else [])]:
        parts += ["## Notes", "\n".join(f"- {one}" for one in said)]
    return "\n\n".join(parts) + "\n"


def _what(facts: Facts) -> str:
    base = f"[{facts.base.name}](https://huggingface.co/{facts.base.name})" if facts.base.is_of_hub else facts.base.name
    trained = f"{heading(list(facts.stages))}: {summary(list(facts.stages))}." if facts.stages else ""
    start = f"It starts from {base}." if facts.stages else "How it was trained is not recorded here."
    return f"{trained} {start} {facts.model}; weights `{facts.weights}`.".strip()


def _evaluations(evaluations: Sequence[Evaluation]) -> str:
    names = list(dict.fromkeys(name for one in evaluations for name in one.benchmarks))
    rows: Rows = [["Pass@1 in percent, 95% interval", *map(title, names)]]
    for one in evaluations:
        cells = [_interval(one.benchmarks[name]) if name in one.benchmarks else "-" for name in names]
        rows.append([one.name, *cells])
    protocols = {
        ", ".join(f"{key} {value}" for key, value in one.protocol.items() if value is not None): None
        for one in evaluations
    }
    told = "; ".join(protocols)
    return f"{markdown_table(rows)}\n\nIntervals are clustered by problem. Protocol: {told}."


def _interval(one: Interval) -> str:
    return f"{percent(one.value)} ({percent(one.low)} to {percent(one.high)})"


def _recipe(stages: Sequence[Stage]) -> str:
    """Returns a table of what differs from the published recipe of the same name, or from the nearest one."""
    texts = []
    for stage in stages:
        stored = stored_options(stage.recipe)
        # A run holds its recipe as it was resolved, and files that `reproduce` or a run writes all extend `8k`. What an
        # author's file extended has the fewest differences, unless the file changed most of it.
        is_own = stage.recipe["name"] not in NAMES
        base = min(NAMES, key=lambda one: len(_differing(stored, one))) if is_own else stage.recipe["name"]
        theirs, differing = _published(base), _differing(stored, base)
        nearest = ", the nearest one" if is_own else ""
        head = f"`{stage.name}` (profile {stage.profile}), beside the published recipe `{base}`{nearest}:"
        rows = [
            ["field", "here", base],
            *([name, _shown(stored.get(name)), _shown(theirs.get(name))] for name in differing),
        ]
        texts.append(f"{head}\n\n{markdown_table(rows)}" if differing else f"{head} no deviation.")
        sizes = (
            "num_steps",
            "train_batch_size",
            "group_size",
            "max_response_length",
            "learning_rate",
            "temperature",
            "seed",
        )
        told = ", ".join(f"{name} {_shown(stored[name])}" for name in sizes)
        machines = f"{stage.recipe.get('num_nodes')} x {stage.recipe.get('gpus_per_node')}"
        ranks = "GPUs" if stage.manifest.get("device") == "cuda" else "CPU ranks"
        texts.append(f"{told}; {machines} {ranks}. Every field is in [{FILE}]({FILE}).")
    return "\n\n".join(texts)


@cache
def _published(name: str) -> dict[str, Any]:
    return stored_options(asdict(recipe_named(name)))


def _differing(stored: Mapping[str, Any], name: str) -> list[str]:
    """Returns the fields in which a recipe differs from a published one, but for those that change no result."""
    theirs = _published(name)
    return [one for one in {**theirs, **stored} if one not in PLACE_FIELDS and stored.get(one) != theirs.get(one)]


def _reproduce(facts: Facts, name: str) -> str:
    if not facts.stages:
        return "Its training is not recorded, so it cannot be reproduced from this card."
    versions = facts.manifest["stages"][-1].get("versions", {})
    told = ", ".join(f"{package} {version}" for package, version in versions.items())
    revision = facts.manifest["stages"][-1].get("git_revision") or "unknown"
    return (
        "```\n"
        f"hf download {facts.repo} {FILE} --local-dir {name}\n"
        f"deepscaler reproduce {name}/{FILE} --output-dir outputs/{name}\n"
        "```\n\n"
        f"lists what differs on your machine, then trains the same again. Made with deepscaler"
        f" {facts.manifest['kit']} (revision {revision}); {told}."
    )


def _use(repo: str) -> str:
    return (
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{repo}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{repo}", dtype="auto")\n'
        # Escaped twice: once for this text, once for the Python in the card.
        'chat = [{"role": "user", "content": "What is 2 + 3? Put it into \\\\boxed{}."}]\n'
        "told = {'add_generation_prompt': True, 'return_tensors': 'pt', 'return_dict': True}\n"
        "inputs = tokenizer.apply_chat_template(chat, **told)\n"
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=1024)[0]))\n"
        "```"
    )


def _shown(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else str(value)
    # Not isinstance: a bool is an int, and True would be shown as 1.
    return f"{value:,}" if type(value) is int else text
