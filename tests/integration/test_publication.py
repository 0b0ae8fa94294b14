"""A publication holds the model as it was, a card that the hub reads, and nothing private."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.models.model import hash_weights
from deepscaler.output.cells import Interval
from deepscaler.publish.clean import check_clean
from deepscaler.publish.manifest import FILE, read_portable
from deepscaler.publish.weights import copy_model
from deepscaler.runs.checkpoints import MERGED
from deepscaler.system.files import read_json, write_json, write_text
from tests.deepscaler.runs.runs import add_attempt, learning, make_run, write_evaluation
from tests.integration.toy import save_toy

pytestmark = pytest.mark.slow  # transformers and matplotlib are imported

TEMPLATE = "{% for message in messages %}w3 {{ message['content'] }} w4{% endfor %}"
CALLED = {"file": "mine.py", "function": "score", "sha256": "05"}
REWARD = "def score(response, gold):\n    return 1.0\n"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a model of 22,000 weights in several shards, with a chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("toy")
    save_toy(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="40KB")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def trained(root: Path, toy: Path, **manifest: Any) -> Path:
    """Returns the folder of a run that left its merged model and an evaluation of it, and much of its machine."""
    run = make_run(root, model="/home/anabel/models/start", train_dataset=("/home/anabel/sums.jsonl",))
    add_attempt(run, learning(8), host="gpu-node17", ended="2026-11-24T08:00:00+0000", outcome="finished", step=8)
    shutil.copytree(toy, run.model)
    weights = hash_weights(run.model)
    write_json(run.model / MERGED, {"step": 8, "weights": weights})
    config = read_json(run.model / "config.json")
    write_json(run.model / "config.json", {**config, "_name_or_path": "/home/anabel/models/start"})
    write_text(run.model / "notes.txt", "the password is swordfish")
    stored = read_json(run.manifest_path)
    stored["recipe"]["reward"] |= {"function": "/home/anabel/mine.py:score", "parts": {"function": 1.0}}
    stored |= {
        "model": {"name": "/home/anabel/models/start", "identity": "sha256:00"},
        "data": {"train.parquet": "01", "validation.parquet": "02", "/home/anabel/sums.jsonl": "03", "aime": "04"},
        "sets": {
            "/home/anabel/sums.jsonl": {"sha256": "03", "rows": 500, "source": "/home/anabel/sums.jsonl"},
            "aime": {"sha256": "04", "rows": 30, "source": "https://example.org/aime.json", "revision": "ab12"},
        },
        "reward": {
            "file": "mine.py",
            "function": "score",
            "sha256": "05",
            "source": "/home/anabel/mine.py",
            "text": REWARD,
        },
        "owner": "anabel",
        **manifest,
    }
    write_json(run.manifest_path, stored)
    write_evaluation(root / "evaluation", aime=Interval(0.431, 0.31, 0.56))
    report = read_json(root / "evaluation/report.json")
    told = {"temperature": 0.6, "top_p": 0.95, "max_tokens": 32_768, "seed": 0}
    write_json(root / "evaluation/report.json", {**report, "config": {"num_samples": 16, **told}})
    write_json(
        root / "evaluation/config.json",
        {
            "model": str(run.model),
            "datasets": ["aime"],
            "num_samples": 16,
            "weights": weights,
            "thinking": "yes",
            **told,
        },
    )
    return root


def published(source: Path, target: Path, *options: str) -> int:
    return main(["publish", str(source), "--repo", "lab/again", "--output-dir", str(target), "--dry-run", *options])


def test_a_run_becomes_a_folder_with_its_model_and_a_card(tmp_path: Path, toy: Path) -> None:
    from huggingface_hub import ModelCard  # noqa: PLC0415

    run = trained(tmp_path / "run", toy)
    assert published(run, tmp_path / "card", "--license", "mit", "--base-model", "deepseek-ai/base") == 0
    names = {file.name for file in (tmp_path / "card").iterdir()}
    assert {"README.md", FILE, "curves.png", "config.json", "tokenizer.json", "chat_template.jinja"} <= names
    assert "notes.txt" not in names
    assert hash_weights(tmp_path / "card") == hash_weights(toy)
    card = ModelCard.load(tmp_path / "card/README.md")
    assert (card.data.license, card.data.base_model, card.data.library_name) == (
        "mit",
        "deepseek-ai/base",
        "transformers",
    )
    [stage] = read_portable(tmp_path / "card" / FILE)["stages"]
    assert stage["model"] == {"name": "deepseek-ai/base", "identity": "sha256:00"}
    assert (stage["recipe"]["model"], stage["left_out"]) == ("deepseek-ai/base", [])
    [result] = card.data.eval_results
    assert (result.dataset_type, result.metric_type, result.metric_value) == ("aime", "pass@1", 43.1)
    assert "n 16, temperature 0.6" in result.metric_name
    assert "95% interval 31.0% to 56.0%" in result.metric_name
    for told in (
        *("| after 8k | 43.1 (31.0 to 56.0) |", "| num_steps | 8 | 1,040 |", "| sums.jsonl | 500 | `03` |"),
        *("| aime | 30 | `04` |", "deepscaler reproduce again/deepscaler.json"),
        *("a file of the author's, not published here", "(curves.png)", "verl 0.9.1", "- base model: mit"),
    ):
        assert told in card.text, told


def test_a_chain_is_published_as_its_last_trained_stage(
    tmp_path: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = tmp_path / "chain"
    trained(chain / "1-8k", toy)
    stages = [{"name": name, "directory": f"{place}-{name}"} for place, name in enumerate(("8k", "16k"), 1)]
    write_json(chain / "chain.json", {"stages": stages})
    second = make_run(chain / "2-16k", name="16k", model=str(chain / "1-8k/model"))
    assert published(chain, tmp_path / "card") == 0
    went_on = "The chain went on with 16k, which these weights have not seen."
    assert f"Note: {went_on}" in capsys.readouterr().out
    assert f"- {went_on}" in (tmp_path / "card/README.md").read_text()
    add_attempt(second, learning(4))
    assert published(chain, tmp_path / "card") == 2
    told = f"{second.root}, the last stage that was trained, has no whole checkpoint to merge: train on, or publish"
    assert told in capsys.readouterr().err
    shutil.copytree(toy, second.model)
    write_json(second.model / MERGED, {"step": 4})
    assert published(chain, tmp_path / "card") == 0
    assert [stage["name"] for stage in read_portable(tmp_path / "card" / FILE)["stages"]] == ["8k", "16k"]


def test_nothing_private_is_in_it(tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    assert published(trained(tmp_path / "run", toy), tmp_path / "card") == 0
    for file in (tmp_path / "card").iterdir():
        content = file.read_bytes()
        for private in (b"anabel", b"/home/", b"gpu-node17", str(tmp_path).encode(), b"swordfish", b"correct-horse"):
            assert private not in content, (file.name, private)


def test_the_manifest_holds_what_a_repetition_needs(tmp_path: Path, toy: Path) -> None:
    assert published(trained(tmp_path / "run", toy), tmp_path / "card") == 0
    manifest = read_portable(tmp_path / "card" / FILE)
    [stage] = manifest["stages"]
    assert manifest["weights"] == hash_weights(toy)
    assert stage["recipe"]["train_dataset"] == ["sums.jsonl"]
    assert stage["recipe"]["reward"]["function"] == "mine.py:score"
    assert stage["recipe"]["seed"] == 42
    assert stage["reward"] == {**CALLED, "text": REWARD}
    assert stage["sets"]["aime"]["revision"] == "ab12"
    assert stage["model"] == {"name": "start", "identity": "sha256:00"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FILE = '/home/anabel/golds.json'\n" + REWARD, "holds the path '/home/anabel/golds.json'"),
        (REWARD + "KEY = 'hf_" + "a" * 34 + "'\n", "holds a token or key"),
        (REWARD + "# ask gpu-node17\n", "holds the name 'gpu-node17' of a user or machine"),
        (REWARD + "# correct-horse-battery\n", "holds the value of a variable that is a secret"),
    ],
)
def test_a_reward_that_tells_too_much_is_refused_in_one_line(
    tmp_path: Path,
    toy: Path,
    text: str,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    run = trained(tmp_path / "run", toy, reward={**CALLED, "text": text})
    assert published(run, tmp_path / "card") == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert "correct-horse" not in error
    assert not (tmp_path / "card").exists()
    assert published(run, tmp_path / "card", "--without-reward") == 0
    assert "text" not in read_portable(tmp_path / "card" / FILE)["stages"][0]["reward"]


def test_mathematics_and_links_are_no_paths(tmp_path: Path) -> None:
    write_text(tmp_path / "README.md", "1/2/3, https://example.org/a/b, </think>/x, hub:a/b, a and/or b, 3 /4/ 5\n")
    check_clean(tmp_path, [])


def test_a_license_that_nothing_tells_is_unknown(tmp_path: Path, toy: Path) -> None:
    assert published(toy, tmp_path / "card") == 0
    text = (tmp_path / "card/README.md").read_text()
    assert "\nlicense: unknown\n" in text
    assert "base_model" not in text
    assert "How it was trained is not recorded here." in text
    told = tmp_path / "told"
    shutil.copytree(toy, told)
    write_text(told / "README.md", "---\nlicense: apache-2.0\n---\n")
    assert published(told, tmp_path / "second") == 0
    assert "\nlicense: apache-2.0\n" in (tmp_path / "second/README.md").read_text()


def test_weights_that_are_not_whole_are_refused(tmp_path: Path, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refusal(name: str) -> str:
        assert published(tmp_path / name, tmp_path / "card") == 2
        return capsys.readouterr().err

    for name in ("shard", "torn", "index", "shape", "bin"):
        shutil.copytree(toy, tmp_path / name)
    first, *_ = sorted((tmp_path / "shard").glob("*.safetensors"))
    first.unlink()
    assert "hold other tensors: merge the model again" in refusal("shard")
    torn = tmp_path / "torn" / first.name
    torn.write_bytes(torn.read_bytes()[:-100])
    assert "is not a whole safetensors file" in refusal("torn")
    (tmp_path / "index/model.safetensors.index.json").unlink()
    assert "holds several safetensors files and no model.safetensors.index.json" in refusal("index")
    config = read_json(tmp_path / "shape/config.json")
    write_json(tmp_path / "shape/config.json", {**config, "intermediate_size": 50})
    assert "are not those of its config.json" in refusal("shape")
    for file in (tmp_path / "bin").glob("*.safetensors"):
        file.unlink()
    assert "is not a model in safetensors" in refusal("bin")


def test_a_copy_that_differs_in_one_bit_is_noticed(
    tmp_path: Path, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def copy_badly(source: Path, target: Path) -> None:
        copy_model(source, target)
        [file, *_] = sorted(target.glob("*.safetensors"))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)

    monkeypatch.setattr("deepscaler.publish.folder.copy_model", copy_badly)
    assert published(toy, tmp_path / "card") == 2
    assert "differs from it in" in capsys.readouterr().err


def test_a_model_that_was_changed_after_the_merge_and_strange_evaluations_are_refused(
    tmp_path: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained(tmp_path / "run", toy)
    other = tmp_path / "other"
    shutil.copytree(run / "evaluation", other)
    config = read_json(other / "config.json")
    write_json(other / "config.json", {**config, "weights": "sha256:other"})
    assert published(run, tmp_path / "card", "--evaluation", str(other)) == 2
    assert "evaluated other weights (sha256:other)" in capsys.readouterr().err
    shutil.copytree(other, run / "evaluation", dirs_exist_ok=True)
    assert published(run, tmp_path / "card") == 0
    assert "The evaluation after 8k is of an earlier model of this run" in (tmp_path / "card/README.md").read_text()
    merged = read_json(run / "model" / MERGED)
    write_json(run / "model" / MERGED, {**merged, "weights": "sha256:before"})
    assert published(run, tmp_path / "card") == 2
    assert "is not what was merged (sha256:before)" in capsys.readouterr().err


def test_a_folder_of_somebody_elses_is_not_replaced(
    tmp_path: Path, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(tmp_path / "card/mine.txt", "mine")
    assert published(toy, tmp_path / "card") == 2
    assert "holds something other than a publication" in capsys.readouterr().err
    assert (tmp_path / "card/mine.txt").is_file()


def test_the_same_run_gives_the_same_files(tmp_path: Path, toy: Path) -> None:
    run = trained(tmp_path / "run", toy)
    contents = []
    for _ in range(2):
        assert published(run, tmp_path / "card") == 0
        contents.append({file.name: file.read_bytes() for file in (tmp_path / "card").iterdir()})
    assert contents[0] == contents[1], "what has been uploaded is not uploaded again"
