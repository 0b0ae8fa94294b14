"""Publishing a run or a chain takes what its owner means, or says what to give."""

from pathlib import Path

import pytest

from deepscaler.publish import folder
from deepscaler.publish.folder import Asked, Source, find_source, write_folder
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from tests.deepscaler.runs.runs import add_attempt, learning, make_chain, make_run, seal_checkpoint


def merge(run: Path) -> None:
    write_json(run / "model/merged.json", {"step": 4})


def test_a_chain_is_published_as_its_last_trained_stage_which_is_merged_first(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    merge(chain / "1-8k")
    seal_checkpoint(chain / "2-16k", 4)
    make_run(chain / "3-24k", name="24k")
    last = Source(model=chain / "2-16k/model", training=chain, run=chain / "2-16k")
    assert find_source(chain) == last
    merge(chain / "2-16k")
    assert find_source(chain) == last


def test_a_last_stage_without_a_model_is_named_and_an_earlier_one_only_taken_by_its_name(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    with pytest.raises(UserError, match=r"/2-16k, the last stage that was trained, has no whole checkpoint.*train on$"):
        find_source(chain)
    merge(chain / "1-8k")
    with pytest.raises(UserError, match=r"train on, or publish the stage before it: .*/1-8k$"):
        find_source(chain)
    first = Source(model=chain / "1-8k/model", training=chain, run=chain / "1-8k")
    assert find_source(chain / "1-8k") == find_source(chain / "1-8k/model") == first


def test_a_run_beside_a_chain_is_published_by_itself(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    add_attempt(make_run(chain / "other"), learning(2))
    assert find_source(chain / "other").training == chain / "other"


def test_a_publication_leaves_another_one_that_is_at_work_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, asked = Source(model=tmp_path, training=None, run=None), Asked(repo="lab/one")
    begun: list[Path] = []

    def copy_while_another_begins(_: Path, made: Path) -> None:
        begun.append(made)
        if len(begun) == 1:
            with pytest.raises(UserError, match=r"another process is writing a publication in .*/publish: wait for it"):
                write_folder(source, tmp_path / "publish/two", asked, print)
        assert begun[0].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "copy_model", copy_while_another_begins)
    with pytest.raises(KeyboardInterrupt):
        write_folder(source, tmp_path / "publish/one", asked, print)
    assert [path.name for path in (tmp_path / "publish").iterdir()] == [".lock"]
