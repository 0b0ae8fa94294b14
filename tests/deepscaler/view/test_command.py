"""`deepscaler view`: a page or a server, by size or by choice; and a page that no text breaks out of."""

import json
import re
import signal
import subprocess
import urllib.request
from html.parser import HTMLParser
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.commands import view
from deepscaler.system.exit_codes import INTERRUPTED
from deepscaler.system.processes import deepscaler_command
from tests.deepscaler.view.folders import SAMPLES, finished, hostile


class Elements(HTMLParser):
    """Counts the elements of a page as a browser would."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def elements(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(page)
    return parser.seen


def data_of(page: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    return found


def test_a_page_is_one_file_with_all_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path)
    assert main(["view", str(tmp_path)]) == 0
    assert "1 folder with 0.0 MiB of responses" in capsys.readouterr().out
    page = (tmp_path / "view.html").read_text(encoding="utf-8")
    details = data_of(page)["details"]
    assert [one["text"] for one in details[0]] == [one["text"] for one in SAMPLES]  # type: ignore[index]
    assert r"\frac{6}{2}" in data_of(page)["formulas"]  # type: ignore[operator]


def test_the_same_folder_makes_the_same_page(tmp_path: Path) -> None:
    finished(tmp_path / "run")
    for name in ("a.html", "b.html"):
        main(["view", str(tmp_path / "run"), "--output", str(tmp_path / name)])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    finished(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert main(["view", str(tmp_path), "--dry-run"]) == 0
    assert f"would write {tmp_path / 'view.html'}: 1 folder with" in capsys.readouterr().out
    assert main(["view", str(tmp_path), "--serve", "--dry-run"]) == 0
    assert "would serve 1 folder with" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_a_large_folder_is_served_unless_a_file_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(tmp_path)
    monkeypatch.setattr(view, "MAX_PAGE", 100)
    assert main(["view", str(tmp_path), "--dry-run"]) == 0
    assert re.search(r"would serve 1 folder .*, too much for one page", capsys.readouterr().out)
    assert main(["view", str(tmp_path), "--dry-run", "--output", str(tmp_path / "x.html")]) == 0
    assert "would write" in capsys.readouterr().out


def test_a_server_says_its_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    finished(tmp_path)
    command = deepscaler_command(["view", str(tmp_path), "--serve"])
    # A shell in the background ignores it, and so would this command.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = line.rpartition(" ")[2].strip()
        with urllib.request.urlopen(address, timeout=120) as answer:
            assert b"aime/1" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == INTERRUPTED
    assert not (tmp_path / "view.html").exists()


def test_hostile_text_stays_inside_the_data(tmp_path: Path) -> None:
    hostile(tmp_path)
    assert main(["view", str(tmp_path)]) == 0
    page = (tmp_path / "view.html").read_text(encoding="utf-8")
    found = elements(page)
    assert [attributes.get("type") for name, attributes in found if name == "script"] == ["application/json", None]
    assert not [name for name, _ in found if name in ("iframe", "img", "svg", "b", "link", "object")]
    assert not [key for _, attributes in found for key in attributes if key.startswith("on") or key in ("src", "href")]
    policy = next(attributes["content"] for _, attributes in found if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "connect-src 'none'" in policy


def test_a_foreign_folder_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path)]) == 2
    assert main(["view", str(tmp_path / "missing")]) == 2
    assert capsys.readouterr().err.count("\n") == 2
