"""Every sample arrives once from a server that limits, fails, breaks off, hangs or lies; the key goes nowhere else."""

import asyncio
import json
import resource
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import pytest

from deepscaler.cli import main
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.engines import endpoint, manners
from evaluation.engines.endpoint import EndpointEngine
from evaluation.engines.stream import MOST_NAMES
from evaluation.folder import EvaluationFolder
from evaluation.requests import EngineError, Request
from evaluation.samples import Sample, read_samples
from tests.evaluation.engines.server import (
    Server,
    endless,
    endless_refusal,
    event,
    half,
    hanging,
    serving,
    status,
    stream,
    text,
    usage,
)

KEY = "sk-secret-of-a-user"
BUSY = 60.0
"""Seconds that a busy machine may take for what takes none."""

MESSAGES = ({"role": "user", "content": "What is 1 + 1?"},)


def requests(count: int) -> list[Request]:
    return [
        Request(problem_id="p", sample=n, prompt_token_ids=(), max_tokens=50, seed=n, messages=MESSAGES)
        for n in range(count)
    ]


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Sample]]:
    """Draws from a server with hardly any wait between tries."""
    monkeypatch.setattr(endpoint, "backoff", lambda misses: 0.01)
    monkeypatch.setenv("TEST_KEY", KEY)

    def run(server: Server, count: int = 1, **options: Any) -> list[Sample]:
        config = EvaluationConfig(
            model="m", output_dir=Path("out"), engine="openai", base_url=server.url, **{"concurrency": 4, **options}
        )
        return list(EndpointEngine(config, lambda _: None).generate(requests(count)))

    return run


Draw = Callable[..., list[Sample]]


def test_a_sample_is_what_was_asked_and_answered(draw: Draw) -> None:
    with serving(text(r"\boxed{2}", "length")) as server:
        [sample] = draw(server, temperature=0.7, top_p=0.9, api_key_env="TEST_KEY")
    assert (sample.text, sample.finish_reason) == (r"\boxed{2}", "length")
    assert (sample.prompt_tokens, sample.response_tokens) == (7, 3)
    [asked] = server.asked
    assert asked["path"] == "/v1/chat/completions"
    assert asked["messages"] == list(MESSAGES)
    wanted = {"model": "m", "temperature": 0.7, "top_p": 0.9, "max_tokens": 50, "seed": 0, "stream": True}
    assert {name: asked[name] for name in wanted} == wanted
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_token_ids_go_to_the_other_api(draw: Draw) -> None:
    config = {"api": "completions", "model": "m", "output_dir": Path("out"), "engine": "openai"}
    with serving(stream(event(text="one "), event(text="two", finish_reason="stop"))) as server:
        engine = EndpointEngine(EvaluationConfig(base_url=server.url, **config), print)  # type: ignore[arg-type]
        asked = Request(problem_id="p", sample=0, prompt_token_ids=(5, 6), max_tokens=9, seed=3)
        [sample] = list(engine.generate([asked]))
    assert (sample.text, sample.prompt_tokens, sample.response_tokens) == ("one two", 2, 0)
    assert (server.asked[0]["path"], server.asked[0]["prompt"]) == ("/v1/completions", [5, 6])
    assert engine.describe()["answered_as"] == ["m-2"]


def test_a_server_that_names_itself_differently_each_time_fills_no_memory() -> None:
    numbers = count()

    def renamed(handler: Any) -> None:
        told = [
            b"data: " + json.dumps({"model": f"m-{next(numbers)}", "choices": []}).encode() + b"\n\n"
            for _ in range(200)
        ]
        stream(*told, event(delta={"content": "x"}, finish_reason="stop"))(handler)

    with serving(renamed) as server:
        config = EvaluationConfig(model="m", output_dir=Path("o"), engine="openai", base_url=server.url, concurrency=1)
        engine = EndpointEngine(config, print)
        assert len(list(engine.generate(requests(4)))) == 4
    found = engine.describe()
    assert len(found["answered_as"]) == MOST_NAMES  # type: ignore[arg-type]
    assert found["answers_with_other_names"] == 3


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_that_a_server_took_apart_is_joined_again(field: str, draw: Draw) -> None:
    thought = event(delta={field: "hm, "}), event(delta={field: "2"})
    end = event(delta={}, finish_reason="stop")
    counts = usage(prompt_tokens=7, completion_tokens=3, total_tokens=30)
    cut_off = event(delta={}, finish_reason="length")
    with serving(
        stream(*thought, event(delta={"content": "It is 2."}), end, counts), stream(*thought, cut_off)
    ) as server:
        whole, cut = draw(server, 2, concurrency=1)
    assert whole.text == "<think>hm, 2</think>It is 2."
    assert whole.response_tokens == 23  # a server that counts thinking apart
    assert cut.text == "<think>hm, 2"


def test_a_server_that_does_not_stream_is_understood(draw: Draw) -> None:
    body = {"choices": [{"message": {"content": "2", "reasoning": "hm"}, "finish_reason": "stop"}]}
    with serving(status(200, json.dumps(body).encode(), Content_Type="application/json")) as server:
        [sample] = draw(server)
    assert sample.text == "<think>hm</think>2"


@pytest.mark.parametrize(
    "broken",
    {
        "500": status(500, b"oops"),
        "503": status(503),
        "half a body": half,
        "no finish": stream(event(delta={"content": "ha"})),
        "no JSON": stream(b"data: {nope\n\n"),
        "other JSON": stream(b'data: ["x"]\n\n'),
        "other choices": stream(b'data: {"choices": {"a": 1}}\n\n'),
        "deep JSON": stream(b"data: " + b"[" * 100_000 + b"\n\n"),
        "error inside": stream(event(delta={"content": "h"}), b'data: {"error": {"message": "engine died"}}\n\n'),
        "aborted": text("half", "abort"),
        "out of room": text("half", "insufficient_system_resource"),
        "an error": text("half", "error"),
        "a number": stream(event(delta={"content": "half"}, finish_reason=1)),
        "a list": stream(event(delta={"content": "half"}, finish_reason=["stop"])),
        "no bytes": lambda handler: None,
        "endless line": endless,
        "endless refusal": endless_refusal,
    }.items(),
    ids=lambda case: case[0],
)
def test_what_may_pass_is_asked_again(broken: tuple[str, Any], draw: Draw) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with serving(broken[1], text("fine")) as server:
        assert [sample.text for sample in draw(server)] == ["fine"]
    assert len(server.asked) == 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 << 10


@pytest.mark.parametrize(
    ("told", "kept"),
    [("stop", "stop"), ("eos", "stop"), ("content_filter", "stop"), ("tool_calls", "stop"), ("length", "length")],
)
def test_what_the_model_or_its_limit_ended_is_kept(told: str, kept: str, draw: Draw) -> None:
    with serving(text("whole", told)) as server:
        [sample] = draw(server)
    assert (sample.text, sample.finish_reason, len(server.asked)) == ("whole", kept, 1)


def test_a_response_that_never_ends_by_itself_is_not_saved_and_its_reason_is_told(draw: Draw) -> None:
    told = r"failed 12 times in a row .last: the server ended the answer after 4 characters with finish_reason abort.;"
    with serving(text("half", "abort")) as server, pytest.raises(EngineError, match=told):
        draw(server)


@pytest.mark.parametrize(
    "stalled", [hanging(False), hanging(True), hanging(True, drip=b": keep-alive\n\n")], ids=["mute", "stalled", "drip"]
)
def test_a_server_that_hangs_is_left_in_time(stalled: Any, draw: Draw) -> None:
    with serving(stalled, text("fine")) as server:
        assert [sample.text for sample in draw(server, request_timeout=2.0)] == ["fine"]


def test_silence_ends_a_request_before_its_deadline(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_SILENCE", 2.0)
    with serving(hanging(True), text("fine")) as server:
        started = time.monotonic()
        assert [sample.text for sample in draw(server)] == ["fine"]
    assert time.monotonic() - started < BUSY


def test_a_server_that_is_gone_ends_it_with_the_reason_and_is_a_failure_that_may_pass(draw: Draw) -> None:
    with serving(status(503, b'{"error": {"message": "model is \\u001b[31mloading"}}')) as server:
        with pytest.raises(EngineError, match=r"failed 12 times in a row .*503: model is \?\[31mloading"):
            draw(server, concurrency=1)
        assert len(server.asked) == manners.MISSES
    with pytest.raises(EngineError, match="failed 12 times in a row"):
        draw(server)  # nobody listens there any more


def test_one_that_never_answers_ends_after_three_deadlines(draw: Draw) -> None:
    with (
        serving(hanging(False)) as server,
        pytest.raises(EngineError, match=r"failed 3 times in a row .*no answer in 0 s"),
    ):
        draw(server, request_timeout=0.3)
    assert len(server.asked) == 3


def test_one_sample_that_always_fails_keeps_no_other_back(draw: Draw) -> None:
    def choosy(handler: Any) -> None:
        (status(500, b"no") if handler.asked["seed"] == 1 else text("fine"))(handler)

    drawn: list[Sample] = []
    with serving(choosy) as server:
        config = EvaluationConfig(model="m", output_dir=Path("o"), engine="openai", base_url=server.url, concurrency=2)
        with pytest.raises(EngineError, match=r"1 samples failed repeatedly .last: .*500: no.; the others are saved"):
            drawn.extend(EndpointEngine(config, print).generate(requests(4)))
    assert sorted(sample.sample for sample in drawn) == [0, 2, 3]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (
            status(401, f'{{"error": {{"message": "Incorrect API key {KEY}"}}}}'.encode()),
            r"401: Incorrect API key \*\*\*;",
        ),
        (
            status(404, b'{"message": "The model m does not exist."}'),
            "404: The model m does not exist.; check that --base-url",
        ),
        (status(400, b'{"error": {"message": "seed is not supported"}}'), "400: seed is not supported; omit"),
        (status(400, b"<html>" + b"y" * 5000), r"400: <html>y+\.\.\.;"),
        (status(429, b'{"error": {"code": "insufficient_quota", "message": "pay"}}'), "429: pay; the account's quota"),
    ],
)
def test_what_will_not_pass_ends_it_at_once_in_the_servers_words(refusal: Any, told: str, draw: Draw) -> None:
    with serving(refusal) as server, pytest.raises(UserError, match=told) as raised:
        draw(server, api_key_env="TEST_KEY", concurrency=1)
    assert len(server.asked) == 1
    assert KEY not in str(raised.value)
    assert len(str(raised.value)) < 600
    assert "\n" not in str(raised.value)


def test_a_redirect_is_not_followed(draw: Draw) -> None:
    with serving(text("stolen")) as thief:
        redirect = status(307, b"", Location=f"{thief.url}/chat/completions")
        with serving(redirect) as server, pytest.raises(UserError, match=f"it redirects to {thief.url}"):
            draw(server, api_key_env="TEST_KEY")
    assert thief.asked == []


def test_no_key_of_the_environment_is_sent_unasked(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, KEY)
    with serving(text("fine")) as server:
        draw(server)
    assert KEY not in json.dumps(server.headers)
    assert "authorization" not in server.headers[0]


def test_a_variable_without_a_key_is_named(draw: Draw) -> None:
    with pytest.raises(UserError, match="--api-key-env UNSET_KEY: that variable is not set"):
        draw(Server([], url="http://127.0.0.1:9/v1"), api_key_env="UNSET_KEY")


def test_a_server_that_asks_to_wait_gets_no_request_meanwhile(draw: Draw) -> None:
    with serving(status(429, b"", Retry_After="1"), text("fine")) as server:
        started = time.monotonic()
        assert len(draw(server, 3, concurrency=1)) == 3
    assert 1 <= time.monotonic() - started < BUSY
    spent = {"X_RateLimit_Remaining_Requests": "0", "X_RateLimit_Reset_Requests": "1s"}
    with serving(text("first", **spent), text("fine")) as server:
        started = time.monotonic()
        assert len(draw(server, 2, concurrency=1)) == 2
    assert 1 <= time.monotonic() - started < BUSY


def test_a_wait_of_an_hour_ends_the_command(draw: Draw) -> None:
    told = "asks to wait 3,600 s: drawn samples are saved"
    with serving(status(429, b"", Retry_After="3600")) as server, pytest.raises(UserError, match=told):
        draw(server)


HOUR = {"X_RateLimit_Remaining_Requests": "0", "X_RateLimit_Reset_Requests": "1h"}


@pytest.mark.parametrize(
    ("first", "options", "num_drawn", "told"),
    [
        (text("first"), {"max_requests": 8}, 8, "--max-requests 8 are sent, and samples are missing"),
        (status(429, b"", Retry_After="3600"), {}, 7, "asks to wait 3,600 s: drawn samples are saved"),
        (text("first", **HOUR), {}, 8, "asks to wait 3,600 s: drawn samples are saved"),
        (status(400, b"no seed"), {}, 7, "400: no seed; omit"),
    ],
    ids=["budget", "429", "200", "400"],
)
def test_whatever_ends_it_the_answers_in_flight_are_kept(
    first: Any, options: dict[str, Any], num_drawn: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answers one of eight requests at once, and the others after that one has ended the command."""
    monkeypatch.setattr(endpoint, "backoff", lambda misses: 0.01)
    together, first_come, lines = Barrier(8), Lock(), []

    def one_of_eight(handler: Any) -> None:
        together.wait(BUSY)
        if first_come.acquire(blocking=False):
            return first(handler)
        deadline = time.monotonic() + BUSY
        while not any("no more requests" in line for line in lines) and time.monotonic() < deadline:
            time.sleep(0.01)
        return text("late")(handler)

    drawn: list[Sample] = []
    with serving(one_of_eight) as server:
        config = EvaluationConfig(
            model="m", output_dir=Path("out"), engine="openai", base_url=server.url, concurrency=8, **options
        )
        with pytest.raises(UserError, match=told):
            drawn.extend(EndpointEngine(config, lines.append).generate(requests(20)))
    assert len(server.asked) == 8
    assert len(drawn) == num_drawn
    [line] = [line for line in lines if line.startswith("Sending no more requests: ")]
    assert "Waiting for 7 open ones" in line


def test_an_answer_that_spends_the_limit_and_is_the_last_one_ends_nothing(draw: Draw) -> None:
    with serving(text("first"), text("last", **HOUR)) as server:
        assert len(draw(server, 2, concurrency=1)) == 2


def test_a_task_that_waits_notices_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_and_end() -> bool:
        pace = manners.Pace(0)
        pace.hold(500)
        waiting = asyncio.create_task(pace.admit())
        await asyncio.sleep(0)
        pace.close(EngineError("gone"))
        return await waiting

    monkeypatch.setattr(manners, "PAUSE", 0.01)
    started = time.monotonic()
    assert not asyncio.run(wait_and_end())
    assert time.monotonic() - started < BUSY


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("20", 20),
        ("1.5", 1.5),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h2m", 3720),
        ("soon", 0),
        ("", 0),
        ("-3", 0),
        ("nan", 0),
    ],
)
def test_a_wait_is_read_in_every_form(told: str, seconds: float) -> None:
    assert manners.seconds_of(told) == pytest.approx(seconds)


def test_a_wait_may_be_a_date_or_a_time() -> None:
    later = time.time() + 100
    assert manners.seconds_of(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(later))) == pytest.approx(
        100, abs=BUSY
    )
    assert manners.seconds_of(str(later)) == pytest.approx(100, abs=BUSY)
    assert manners.seconds_of(str(int(later * 1000))) == pytest.approx(100, abs=BUSY)


def test_the_budget_counts_repeated_requests_and_says_how_to_go_on(draw: Draw) -> None:
    with serving(text("fine"), status(503), text("fine")) as server:
        with pytest.raises(UserError, match=r"--max-requests 4 are sent, and samples are missing; .* the same command"):
            draw(server, 9, max_requests=4, concurrency=1)
        assert len(server.asked) == 4


def test_requests_go_out_side_by_side_within_the_bound(draw: Draw) -> None:
    together, lock, at_work, most = Barrier(4), Lock(), [0], [0]

    def slow(handler: Any) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        together.wait(BUSY)  # until four are there
        with lock:
            at_work[0] -= 1
        text("fine")(handler)

    with serving(slow) as server:
        drawn = draw(server, 8, concurrency=4)
    assert sorted(sample.sample for sample in drawn) == list(range(8))
    assert most == [4]


def test_a_stop_in_the_middle_leaves_no_request_behind(draw: Draw) -> None:
    config = {"model": "m", "output_dir": Path("out"), "engine": "openai", "concurrency": 2}
    with serving(text("fine"), hanging(True)) as server:
        drawing = EndpointEngine(EvaluationConfig(base_url=server.url, **config), print).generate(requests(5))  # type: ignore[arg-type]
        assert next(drawing).text == "fine"
        started = time.monotonic()
        drawing.close()  # type: ignore[attr-defined]
    assert time.monotonic() - started < BUSY


def test_parameters_that_a_server_refuses_are_left_out(draw: Draw) -> None:
    with serving(text("fine")) as server:
        draw(server, leave_out=("seed", "max_tokens"))
    assert not {"seed", "max_tokens"} & set(server.asked[0])


ARITHMETIC = "evaluate --model m --engine openai --datasets aime --limit 2 --num-samples 2 --output-dir"


def evaluated(server: Server, out: Path, data: Path, *more: str) -> int:
    words = [*ARITHMETIC.split(), str(out), "--source", str(data), "--base-url", server.url, *more]
    return main(words)


def test_an_evaluation_of_a_server_resumes_and_finds_out_whether_its_model_thinks(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    thought = text(r"hm</think> \boxed{204}")
    with serving(thought) as server:
        assert evaluated(server, out, shared_data, "--max-requests", "3", "--concurrency", "1") == 2
        assert "--max-requests 3 are sent, and samples are missing" in capsys.readouterr().err
        assert evaluated(server, out, shared_data, "--max-requests", "3") == 0
        assert len(server.asked) == 4
        shown = capsys.readouterr().out
    assert "Drawing 1 more samples; 3 are saved." in shown
    folder = EvaluationFolder(out)
    config = folder.read_config()
    assert (config["weights"], config["thinking"], config["api"]) == ("endpoint:127.0.0.1:m", "yes", "chat")
    report = json.loads((out / "report.json").read_text())
    assert report["benchmarks"]["aime"]["pass@1"]["value"] == 0.5
    assert report["provenance"]["engine"]["answered_as"] == ["m-2"]
    assert len(report["provenance"]["attempts"]) == 2
    assert len({sample.seed for sample in read_samples(folder.samples_path("aime"))}) == 4


def test_the_key_is_in_no_file_and_no_output(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    with serving(text("fine"), status(401, KEY.encode())) as server:
        assert evaluated(server, tmp_path, shared_data, "--api-key-env", "TEST_KEY", "--concurrency", "1") == 2
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    shown = capsys.readouterr()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert KEY not in shown.out + shown.err + "".join(path.read_text() for path in files)


def test_a_server_that_is_gone_is_a_failure_that_a_launcher_tries_again(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str], draw: Draw
) -> None:
    with serving() as server:
        pass
    assert evaluated(server, tmp_path, shared_data) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_dry_run_counts_the_requests_and_sends_none(
    tmp_path: Path, shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(text("fine")) as server:
        assert evaluated(server, tmp_path / "out", shared_data, "--max-requests", "9", "--dry-run") == 0
    assert f"4 requests to {server.url}, 64 at once; failed ones are retried, at most 9 from" in capsys.readouterr().out
    assert server.asked == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", "--engine openai needs --base-url"),
        ("--base-url localhost:8000", "invalid value 'localhost:8000' for --base-url: expected http"),
        ("--base-url http://me:secret@host/v1", "--base-url holds a user, a query or a fragment: give the key with"),
        ("--base-url http://host/v1?key=secret", "--base-url holds a user, a query or a fragment"),
        ("--base-url http://host/v1 --api-key-env sk-secret", "invalid value for --api-key-env: expected a variable"),
        ("--base-url http://host/v1 --engines 2", "--engines starts engines of this kit"),
        ("--base-url http://host/v1 --leave-out sed", "unknown parameter for --leave-out 'sed' (did you mean 'seed'?)"),
        ("--base-url http://127.0.0.1:8/v1 --on slurm --dry-run", "means the machine that asks, which is another one"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line_without_secrets(
    more: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ARITHMETIC.split(), str(tmp_path), *more.split()]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert "secret" not in error
