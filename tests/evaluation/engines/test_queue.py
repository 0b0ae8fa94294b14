"""Engines pull from one queue: every sample goes to exactly one of them, whoever dies, and long ones go first."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepscaler.system.errors import UserError
from evaluation.engines import queue as queue_module
from evaluation.engines.backlog import CHUNK, CHUNKS_LEFT, Backlog, chunk_size, fair_share
from evaluation.engines.pulse import Pulse
from evaluation.engines.queue import Claims, Queue
from evaluation.requests import Key, Request, to_request
from evaluation.samples import Sample

KEYS = [(f"p/{problem}", number) for problem in range(40) for number in range(4)]


def request(key: Key) -> Request:
    return to_request(key, (1,), max_tokens=8, context=16, run_seed=0)


def sample_of(request: Request) -> Sample:
    return Sample(
        problem_id=request.problem_id,
        sample=request.sample,
        text="",
        prompt_tokens=1,
        response_tokens=8,
        finish_reason="stop",
        seed=request.seed,
        started=0.0,
        finished=1.0,
    )


@given(st.sets(st.sampled_from(KEYS)), st.integers(1, 9))
def test_every_sample_is_handed_out_once(keys: set[Key], num_engines: int) -> None:
    backlog, drawn = Backlog(keys, num_engines), []
    while piece := backlog.next_chunk():
        drawn += piece
    assert sorted(drawn) == sorted(keys)
    assert len(backlog) == 0


def test_pieces_shrink_to_single_samples_towards_the_end() -> None:
    sizes = [chunk_size(left, 4) for left in range(20_000, 0, -1)]
    assert sizes[0] == CHUNK
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-2 * 4 * CHUNKS_LEFT + 1 :] == [1] * (2 * 4 * CHUNKS_LEFT - 1)


def test_the_longest_by_what_has_come_back_is_drawn_first_and_what_is_out_counts_as_long() -> None:
    backlog = Backlog([(problem, number) for problem in ("short", "long", "silent") for number in range(3)])
    probes = backlog.take(3)
    assert sorted(problem for problem, _ in probes) == ["long", "short", "silent"]
    backlog.drawn("short", 10)
    backlog.drawn("long", 900)
    assert [problem for problem, _ in backlog.take(6)] == ["silent", "silent", "long", "long", "short", "short"]


def test_lengths_of_earlier_starts_count() -> None:
    lengths = {("short", 0): 5, ("long", 0): 50}
    backlog = Backlog([("short", 1), ("long", 1)], lengths=lengths)
    assert backlog.take(2) == [("long", 1), ("short", 1)]


def test_the_first_engine_leaves_others_their_share(tmp_path: Path) -> None:
    queue = Queue(tmp_path / "queue", 4)
    queue.add(KEYS)
    (tmp_path / "claimed").mkdir()
    claims = Claims(tmp_path / "queue", tmp_path / "claimed", request, Pulse(tmp_path / "alive"))
    share = fair_share(len(KEYS), 4)
    first = list(claims)
    while len(first) < share:
        queue.fill()
        first += claims
    assert len(first) == share == 40
    queue.fill()
    assert not list(claims)
    claims.drawn(sample_of(first[0]))
    assert len(list(claims)) == 1


def test_engines_that_claim_at_once_draw_every_sample_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_module, "POLL", 0.001)
    queue = Queue(tmp_path / "queue", 4)
    queue.add(KEYS)
    drawn: list[list[Key]] = [[] for _ in range(4)]

    def draw(index: int) -> None:
        claimed = tmp_path / f"claimed-{index}"
        claimed.mkdir()
        claims = Claims(tmp_path / "queue", claimed, request, Pulse(tmp_path / "alive"))
        while claims.wait():
            for one in claims:
                drawn[index].append((one.problem_id, one.sample))
                claims.drawn(sample_of(one))

    threads = [threading.Thread(target=draw, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    while queue.backlog:
        queue.fill()
    queue.close()
    for thread in threads:
        thread.join(60)
    assert sorted(key for keys in drawn for key in keys) == sorted(KEYS)


def test_what_a_dead_engine_claimed_and_did_not_draw_goes_back(tmp_path: Path) -> None:
    queue, claimed = Queue(tmp_path / "queue", 1), tmp_path / "claimed"
    claimed.mkdir()
    queue.add(KEYS[:6])
    dead = Claims(tmp_path / "queue", claimed, request, Pulse(tmp_path / "alive"))
    taken = [next(dead) for _ in range(2)]
    assert queue.drawn((taken[0].problem_id, taken[0].sample), 8)
    assert not queue.drawn((taken[0].problem_id, taken[0].sample), 8), "a sample counts once"
    queue.put_back(claimed)
    left = [json.loads(path.read_text())["samples"] for path in (tmp_path / "queue").glob("*.json")]
    there = [(str(problem), int(number)) for piece in left for problem, number in piece]
    there += queue.backlog.take(9)
    assert set(there) == queue.unseen == set(KEYS[:6]) - {(taken[0].problem_id, taken[0].sample)}
    assert len(there) == 5
    assert not list(claimed.iterdir())


def test_what_an_engine_holds_is_what_it_claimed_and_has_not_drawn(tmp_path: Path) -> None:
    queue, claimed = Queue(tmp_path / "queue", 1), tmp_path / "claimed"
    claimed.mkdir()
    queue.add(KEYS[:2])
    late, early = sorted((tmp_path / "queue").glob("*.json"))
    content = late.read_text()
    (claimed / late.name).write_text("")  # its bytes come later
    early.rename(claimed / early.name)
    assert queue.held(claimed) == (2, 1)
    (claimed / late.name).write_text(content)
    assert queue.held(claimed) == (2, 2)
    assert queue.drawn(KEYS[0], 8)
    assert queue.held(claimed) == (2, 1)


def test_a_claim_whose_answer_was_lost_is_drawn(tmp_path: Path) -> None:
    queue, claimed = Queue(tmp_path / "queue", 1), tmp_path / "claimed"
    claimed.mkdir()
    queue.add(KEYS[:1])
    claims = Claims(tmp_path / "queue", claimed, request, Pulse(tmp_path / "alive"))
    (piece,) = (tmp_path / "queue").glob("*.json")
    piece.rename(claimed / piece.name)
    assert claims.wait()
    assert [one.problem_id for one in claims] == ["p/0"]


def test_an_engine_without_a_queue_ends_with_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the command that handed out the work has ended; rerun it"):
        Claims(tmp_path / "queue", tmp_path, request, Pulse(tmp_path / "alive")).wait()
