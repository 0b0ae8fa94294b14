"""What shards drew becomes one evaluation: every sample once, of this evaluation only, from known attempts."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from deepscaler.data.problem import Problem
from deepscaler.system.errors import UserError
from evaluation.engines.gather import done_keys, gather, require_complete
from evaluation.folder import EvaluationFolder
from evaluation.report.write import write_report
from evaluation.samples import SampleStore, read_samples
from tests.evaluation.conftest import CONFIG, ENDS, PROBLEMS, PROMPTS, make_sample

IDS = {"aime": [problem.id for problem in PROBLEMS]}
ATTEMPT = {"started": "2026-01-01", "command": "deepscaler evaluate", "versions": {}, "git_revision": ""}


def begin(whole: EvaluationFolder, index: int, problems: list[Problem], **changed: Any) -> EvaluationFolder:
    """A complete shard of two, drawn on a machine of its own."""
    shard = EvaluationFolder(whole.root / "shards" / f"aime-{index}-of-2")
    shard.bind({**CONFIG, "shard": f"{index}/2", **changed})
    shard.write_problems("aime", problems, PROMPTS)
    with SampleStore(shard.samples_path("aime")) as store:
        for problem in problems:
            number = int(problem.id.removeprefix("aime/"))
            for sample, text in enumerate(ENDS[number]):
                store.append(make_sample(number, sample, text))
    engine = {"name": "vllm", "max_model_len": 1000 + index}
    attempt = {**ATTEMPT, "engine": engine, "hardware": {"cpu": f"processor {index}"}}
    datasets = {"aime": {"problems_sha256": "of the shard", "prepared_sha256": "11"}}
    told = {"engine": engine, "datasets": datasets, "attempts": [attempt]}
    shard.provenance_path.write_text(json.dumps(told))
    return shard


@pytest.fixture
def whole(tmp_path: Path) -> EvaluationFolder:
    folder = EvaluationFolder(tmp_path / "run")
    folder.bind(CONFIG)
    folder.write_problems("aime", PROBLEMS, PROMPTS)
    begin(folder, 0, PROBLEMS[::2])
    begin(folder, 1, PROBLEMS[1::2])
    return folder


def test_every_sample_is_there_once_and_gathering_again_changes_nothing(whole: EvaluationFolder) -> None:
    assert gather(whole) == 12
    before = whole.samples_path("aime").read_bytes(), whole.provenance_path.read_bytes()
    assert before[0].count(b"\n") == len(done_keys(whole, "aime")) == 12
    require_complete(whole, IDS, dict.fromkeys(IDS, 4))
    assert gather(whole) == 0
    assert (whole.samples_path("aime").read_bytes(), whole.provenance_path.read_bytes()) == before


def test_a_gathering_killed_at_any_sample_goes_on(whole: EvaluationFolder) -> None:
    gather(whole)
    path = whole.samples_path("aime")
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    for kept in range(len(lines)):
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][:9])
        assert gather(whole) == len(lines) - kept
        assert path.read_bytes() == content


def test_a_sample_that_is_there_stays_and_a_torn_one_is_passed_over(whole: EvaluationFolder) -> None:
    with SampleStore(whole.samples_path("aime")) as store:
        store.append(make_sample(1, 0, "</think> the first"))
    shard = whole.root / "shards/aime-1-of-2/samples/aime.jsonl"
    shard.write_bytes(shard.read_bytes()[:-5])
    assert gather(whole) == 10
    texts = {sample.key: sample.text for sample in read_samples(whole.samples_path("aime"))}
    assert texts["aime/1", 0] == "</think> the first"
    assert ("aime/2", 3) not in texts


def test_a_shard_that_is_lost_or_not_begun_is_told_as_missing_samples(whole: EvaluationFolder) -> None:
    (whole.root / "shards/aime-1-of-2/config.json").unlink()
    gather(whole)
    with pytest.raises(
        UserError, match=r"and its 1 shards are not complete: aime lacks 4 of 12 samples; rerun the lost"
    ):
        require_complete(whole, IDS, dict.fromkeys(IDS, 4))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"temperature": 0.7}, "temperature: 0.6 -> 0.7"),
        ({"weights": "sha256:11"}, "weights: 'sha256:00' -> 'sha256:11'"),
        ({"seed": 1, "max_tokens": 99}, "max_tokens: 100 -> 99; seed: 0 -> 1"),
    ],
)
def test_a_shard_of_another_evaluation_is_refused_and_nothing_is_taken(
    whole: EvaluationFolder, changed: dict[str, Any], message: str
) -> None:
    shard = whole.root / "shards/aime-1-of-2"
    (shard / "config.json").write_text(json.dumps({**CONFIG, "shard": "1/2", **changed}))
    with pytest.raises(UserError, match=f"{shard} is a shard of another evaluation .{message}"):
        gather(whole)
    assert not whole.samples_path("aime").exists()
    assert not whole.provenance_path.exists()


def test_a_shard_with_other_prompts_is_refused(whole: EvaluationFolder) -> None:
    path = whole.root / "shards/aime-1-of-2/problems/aime.jsonl"
    problem = json.loads(path.read_text())
    path.write_text(json.dumps({**problem, "prompt_sha256": "00"}) + "\n")
    with pytest.raises(UserError, match=r"another evaluation .the problems or prompts of aime"):
        gather(whole)


def test_a_data_set_that_is_not_asked_for_is_left_where_it_is(whole: EvaluationFolder) -> None:
    shard = EvaluationFolder(whole.root / "shards/amc-0-of-1")
    shard.bind({**CONFIG, "datasets": ["amc"], "shard": "0/1"})
    shard.write_problems("amc", [], {})
    assert gather(whole) == 12
    assert not whole.samples_path("amc").exists()


def test_where_every_shard_was_drawn_is_kept_and_differences_are_reported(whole: EvaluationFolder) -> None:
    gather(whole)
    provenance = whole.read_provenance()
    assert [attempt["shard"] for attempt in provenance["attempts"]] == ["aime-0-of-2", "aime-1-of-2"]
    assert provenance["datasets"]["aime"]["prepared_sha256"] == "11"
    assert provenance["datasets"]["aime"]["problems_sha256"] != "of the shard"
    report = write_report(whole.root, Console(file=io.StringIO()))
    assert "The samples were drawn in 2 attempts that differ in hardware." in report.warnings


def test_a_report_of_a_shard_says_that_it_is_a_part(whole: EvaluationFolder) -> None:
    report = write_report(whole.root / "shards/aime-0-of-2", Console(file=io.StringIO()))
    assert "Shard 0/2 covers only a part of each benchmark's problems." in report.warnings


def test_a_shard_and_a_whole_do_not_share_a_folder(whole: EvaluationFolder) -> None:
    with pytest.raises(UserError, match="shard: '' -> '0/2'"):
        whole.bind({**CONFIG, "shard": "0/2"})
    with pytest.raises(UserError, match="shard: '0/2' -> ''"):
        whole.shards()[0].bind(CONFIG)
