"""The page of responses in a real browser: clicked, typed into, printed, and given what enemies write."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deepscaler.cli import main
from deepscaler.view.serve import Library, PageServer
from deepscaler.view.sources import find_sources
from tests.deepscaler.runs.runs import add_attempt, learning, make_run
from tests.deepscaler.runs.samples import add_data, add_responses
from tests.deepscaler.view.folders import NASTY, finished, hostile, make_evaluation, sample, write_lines

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

MILLION_TOKENS = 4_000_000
"""Characters."""


@contextmanager
def opened(browser: "Browser", address: str, **settings: object) -> "Iterator[Page]":
    """Opens a page that may neither complain, nor show a dialog, nor ask any other host for anything."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, **settings)  # type: ignore[arg-type]
    page.set_default_timeout(60_000)  # a busy machine
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on(
        "request", lambda request: request.url.startswith(address.partition("#")[0]) or complaints.append(request.url)
    )
    page.goto(address)
    page.wait_for_selector(".item[aria-selected=true]")
    page.wait_for_selector("article")
    yield page
    assert complaints == []
    assert page.evaluate("window.broken") is None
    page.close()


def written(*folders: Path) -> str:
    """Writes the page of some folders, and returns its address."""
    output = folders[0] / "view.html"
    assert main(["view", *map(str, folders), "--output", str(output)]) == 0
    return output.as_uri()


@contextmanager
def served(*folders: Path) -> Iterator[str]:
    server = PageServer(Library(lambda: find_sources(list(folders))), 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NAMES = "items => items.map(item => ['.name', '.sample'].map(part => item.querySelector(part).textContent).join(' '))"
"""Not as shown: the list is made anew at any moment, and an item that has left the page is shown without spaces."""


def names(page: "Page") -> list[str]:
    """Problem and sample of each response in the list."""
    return [str(name) for name in page.locator(".item").evaluate_all(NAMES)]


def chosen(page: "Page") -> str:
    (name,) = page.locator(".item[aria-selected=true]").evaluate_all(NAMES)
    return str(name)


def wait_for(page: "Page", count: str) -> None:
    page.wait_for_function("count => document.getElementById('count').textContent === count", arg=count)


def use_the_filters(page: "Page") -> None:
    for field, value, left in (
        ("verdict", "correct", ["aime/1 #0", "aime/2 #0"]),
        ("verdict", "any wrong", ["aime/1 #1", "aime/2 #1", "aime/3 #0"]),
        ("verdict", "any undecided", ["aime/3 #1"]),
        ("ended", "cut", ["aime/2 #1"]),
        ("group", "none", ["aime/3 #0", "aime/3 #1"]),
        ("sort", "long", ["aime/2 #1", "aime/1 #0", "aime/2 #0", "aime/1 #1", "aime/3 #1", "aime/3 #0"]),
        ("sort", "hard", ["aime/3 #0", "aime/3 #1", "aime/1 #0", "aime/1 #1", "aime/2 #0", "aime/2 #1"]),
    ):
        page.select_option(f"#{field}", value)
        wait_for(page, f"{len(left)} of 6 responses")
        assert names(page) == left
        assert chosen(page) in left
        page.click("#clear")
        wait_for(page, "6 of 6 responses")
    page.fill("#min", "600")
    page.fill("#max", "10000")
    wait_for(page, "2 of 6 responses")
    assert names(page) == ["aime/1 #0", "aime/2 #0"]
    page.click("#clear")
    page.fill("#low", "50")
    wait_for(page, "4 of 6 responses")
    page.click("#clear")
    page.fill("#search", "HALF a doz")
    wait_for(page, "1 of 6 responses")
    assert page.locator("#view mark").inner_text() == "Half a doz"
    page.fill("#search", "prime")
    wait_for(page, "4 of 6 responses")  # two problems speak of primes
    page.keyboard.press("Escape")  # leaves the field
    page.keyboard.press("Escape")
    wait_for(page, "6 of 6 responses")


def test_filters_and_search_find_responses(browser: "Browser", tmp_path: Path) -> None:
    finished(tmp_path)
    with opened(browser, written(tmp_path)) as page:
        use_the_filters(page)


def test_a_served_page_does_the_same(browser: "Browser", tmp_path: Path) -> None:
    finished(tmp_path)
    with served(tmp_path) as address, opened(browser, address) as page:
        use_the_filters(page)
        page.keyboard.press("Home")
        page.wait_for_selector("#view mfrac")


def test_a_response_shows_its_mathematics_its_thinking_and_the_verdict(browser: "Browser", tmp_path: Path) -> None:
    finished(tmp_path)
    with opened(browser, written(tmp_path)) as page:
        assert page.locator(".problem mfrac").count() == 1
        assert page.locator(".gold").inner_text().split() == ["Gold", "3"]
        assert page.locator(".given").inner_text().split() == ["Boxed", "3"]
        assert page.locator(".badge.is-correct").inner_text() == "correct"
        assert "The last box equals the gold." in page.locator("#view").inner_text()
        assert page.locator(".boxed.is-correct").inner_text().strip() == "3"
        assert not page.locator(".thinking .text").is_visible()
        page.click(".thinking summary")
        page.locator(".thinking .text", has_text="Six by two.").wait_for()
        page.get_by_role("button", name="LaTeX").click()
        page.wait_for_function("() => !document.querySelector('#view mfrac')")
        assert r"$\frac{6}{2}$" in page.locator(".problem").inner_text()


def test_keys_walk_through_the_list(browser: "Browser", tmp_path: Path) -> None:
    finished(tmp_path)
    with opened(browser, written(tmp_path)) as page:
        for key, there in (
            *(("j", "aime/1 #1"), ("j", "aime/2 #0"), ("k", "aime/1 #1"), ("]", "aime/2 #0"), ("]", "aime/3 #0")),
            *(("[", "aime/2 #1"), ("End", "aime/3 #1"), ("ArrowDown", "aime/3 #1"), ("Home", "aime/1 #0")),
        ):
            page.keyboard.press(key)
            assert chosen(page) == there, key
        active = page.get_attribute("#list", "aria-activedescendant")
        assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"
        page.keyboard.press("p")
        wait_for(page, "2 of 6 responses")
        page.keyboard.press("p")
        wait_for(page, "6 of 6 responses")
        page.keyboard.press("t")
        page.wait_for_selector(".thinking[open]")
        page.keyboard.press("?")
        assert page.get_by_role("dialog").is_visible()
        assert "next response" in page.get_by_role("dialog").inner_text()
        page.keyboard.press("Escape")
        assert not page.get_by_role("dialog").is_visible()
        page.keyboard.press("/")
        page.keyboard.type("jk?")  # words, no keys
        assert page.input_value("#search") == "jk?"


def test_several_folders_stand_side_by_side(browser: "Browser", tmp_path: Path) -> None:
    finished(tmp_path / "base", model="org/base")
    finished(tmp_path / "trained", model="org/trained")
    with opened(browser, written(tmp_path / "base", tmp_path / "trained")) as page:
        page.keyboard.press("j")
        page.keyboard.press("s")
        page.wait_for_function("() => document.querySelectorAll('article').length === 2")
        assert page.locator("article h3").all_inner_texts() == ["base", "trained"]
        assert page.locator("article .badge").all_inner_texts() == ["wrong", "wrong"]
        page.locator("#sources button").nth(1).click()
        assert page.title() == "trained: responses"
        assert chosen(page) == "aime/1 #0"


def test_accuracy_against_the_budget_is_drawn_and_told(browser: "Browser", tmp_path: Path) -> None:
    finished(tmp_path)
    with opened(browser, written(tmp_path)) as page:
        page.get_by_role("button", name="Token budget").click()
        assert page.get_by_role("img", name="Pass@1 by token budget").is_visible()
        rows = page.locator("tbody tr").all_inner_texts()
        assert [row.split("\t")[:3] for row in rows if "\t8,192\t" in row] == [["AIME 2024", "8,192", "16.7"]]
        assert [row.split("\t")[2] for row in rows if "\t16,384\t" in row] == ["33.3"]


def test_a_training_shows_its_steps_and_a_problem_over_them(browser: "Browser", tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_attempt(run, learning(8))
    add_data(run, aime=[2, 3])
    for step in range(1, 9):
        add_responses(run, "rollouts", step, {2: [1] * 4, 3: [step % 2, 0, 1, 1]})
    add_responses(run, "validation", 8, {2: [1, 1], 3: [0, 1]})
    with opened(browser, written(tmp_path)) as page:
        page.get_by_role("button", name="Steps").click()
        assert page.locator("figure svg").count() == 4
        page.get_by_role("button", name="8k, step 3", exact=True).click()
        wait_for(page, "8 of 68 responses")
        page.select_option("#group", "mixed")
        wait_for(page, "4 of 68 responses")
        assert {name.split()[0] for name in names(page)} == {"aime/3"}
        page.keyboard.press("Escape")
        page.keyboard.press("p")
        wait_for(page, "34 of 68 responses")
        assert page.get_by_role("img", name="This problem over the steps").is_visible()
        assert page.locator("figure circle").count() == 9
        page.locator(".problem summary").click()
        assert "Box it." in page.locator(".problem pre").inner_text()


def test_what_an_enemy_wrote_stays_text(browser: "Browser", tmp_path: Path) -> None:
    hostile(tmp_path)
    address = written(tmp_path)
    with opened(browser, address) as page:
        page.keyboard.press("t")
        for number in range(13):
            page.wait_for_function(f"() => document.querySelector('.item[aria-selected=true]').id === 'row-{number}'")
            assert page.locator("#view :is(script, img, iframe, svg, b[onclick])").count() == 0
            assert page.evaluate(
                "[...document.querySelectorAll('math *')].every(e => e.namespaceURI.endsWith('MathML'))"
            )
            assert page.locator("math :is([href], [style], [class], [onclick])").count() == 0
            page.keyboard.press("j")
        page.keyboard.press("Home")
        page.wait_for_function("() => document.querySelector('#view').innerText.includes('<img src=x')")
        assert page.locator("#view h2").inner_text() == "aime/<b onclick=window.broken=1>"
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.wait_for_function("() => document.querySelector('#view').innerText.includes('right to left')")
        shown = page.locator("#view").inner_text()
        assert not set("\u202e\u2066\x00\x1b") & set(shown)
        assert "\ufffdright to left" in shown
        assert NASTY[2][0] == "\u202e"


def test_a_response_of_ten_megabytes_opens_by_parts(browser: "Browser", tmp_path: Path) -> None:
    hostile(tmp_path, megabytes=10)
    with served(tmp_path) as address, opened(browser, address) as page:
        page.keyboard.press("t")
        page.keyboard.press("End")
        more = page.get_by_role("button", name="characters more")
        more.wait_for()
        assert "of 9,920,015 characters" in more.inner_text()
        more.click()
        assert page.locator(".boxed").count() == 1


def test_a_million_tokens_open_in_two_seconds(browser: "Browser", tmp_path: Path) -> None:
    problems = {f"aime/{number}": (f"What is $x_{{{number}}}$?", "1") for number in range(30)}
    text = "We know that \\(a^2 + b^2 = c^2\\), so let us see. " * (MILLION_TOKENS // 480 // 49)
    samples = [
        sample(name, number, f"<think>{text}</think> \\boxed{{{number}}}", response_tokens=len(text) // 4)
        for name in problems
        for number in range(16)
    ]
    folder = make_evaluation(tmp_path, problems, samples, {}, num_samples=16)
    scores = [
        {"problem_id": one["problem_id"], "sample": one["sample"], "correct": False, "reason": "wrong", "answer": "0"}
        for one in samples
    ]
    write_lines(folder.scores_path("aime"), scores)
    address = written(tmp_path)
    with opened(browser, address) as page:
        usable = page.evaluate("performance.getEntriesByName('usable')[0].startTime")
        print(f"a page of {(tmp_path / 'view.html').stat().st_size / 1e6:.1f} MB is usable after {usable:.0f} ms")
        assert usable < 20_000  # a busy machine; docs/evaluate.md has the figure of an idle one


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_colors_labels_and_a_focus_for_everybody(browser: "Browser", tmp_path: Path, scheme: str) -> None:
    finished(tmp_path)
    with opened(browser, written(tmp_path), color_scheme=scheme) as page:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")
        nameless = page.evaluate(
            "[...document.querySelectorAll('input, select, button, [role=listbox], [role=group], dialog')].filter("
            "e => !(e.labels?.length || e.ariaLabel || e.ariaLabelledByElements?.length || e.textContent.trim())"
            ").map(e => e.outerHTML)"
        )
        assert nameless == []
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        picture = tmp_path / f"{scheme}.png"
        page.screenshot(path=picture)
        assert picture.stat().st_size > 30_000
        page.emulate_media(media="print")
        assert not page.locator("aside").is_visible()
        assert page.locator("article").is_visible()


def test_a_link_opens_the_same_response(browser: "Browser", tmp_path: Path) -> None:
    finished(tmp_path)
    with opened(browser, f"{written(tmp_path)}") as page:
        page.keyboard.press("End")
        address = page.url
    assert "row=5" in address
    with opened(browser, address) as page:
        assert chosen(page) == "aime/3 #1"


def test_a_folder_without_samples_says_so(browser: "Browser", tmp_path: Path) -> None:
    folder = finished(tmp_path)
    folder.samples_path("aime").write_text("")
    page = browser.new_page()
    page.goto(written(tmp_path))
    assert "There are no samples yet." in page.locator("#notes").inner_text()
    assert "There are no responses." in page.locator("#view").inner_text()
    page.close()


def test_the_data_of_a_page_is_json(tmp_path: Path) -> None:
    hostile(tmp_path)
    written(tmp_path)
    page = (tmp_path / "view.html").read_text()
    assert json.loads(page.partition('id="data">')[2].partition("</script>")[0])["kit"]
