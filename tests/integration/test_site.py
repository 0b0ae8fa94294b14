"""The site of the documents in a real browser, opened from a disk."""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.places import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return folder


def test_the_search_works_from_a_disk_and_asks_nobody(site: Path, browser: "Browser") -> None:
    page = browser.new_page()
    page.set_default_timeout(60_000)  # a busy machine reads the index for long
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(("file:", "blob:", "data:")) or complaints.append(asked.url))
    page.goto((site / "index.html").as_uri())
    page.click(".md-search__input")
    page.fill(".md-search__input", "gate-on-doubt")
    found = page.locator(".md-search-result__link").first
    found.wait_for()
    found.click()
    page.wait_for_url("**/*.html?h=*")
    assert complaints == []
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_no_page_or_command_is_wider_than_the_window(site: Path, browser: "Browser", width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    for file in sorted(site.rglob("*.html")):
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file
        fits = "[...document.querySelectorAll('.language-bash code')].every(one => one.scrollWidth <= one.clientWidth)"
        assert page.evaluate(fits), f"{file}: a command or its comment has to be scrolled to"
    page.close()
