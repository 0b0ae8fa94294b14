"""Fits the documents to the site that mkdocs builds: README is its first page, and links to code become plain text.

mkdocs calls the functions by their names. A link that leads nowhere stays as it is, so that the strict build fails.
The search works from a disk, too: a browser refuses to start a worker from a file, but starts one from a text that the
page holds. The theme itself would load a script from a server for this.
"""

import json
import re
from os.path import normpath, relpath
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).absolute().parent.parent
ELSEWHERE = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the site whose text stands outside of docs/."""

LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]*)(#[^)\s]*)?\)")

SHIM = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"></script>')
WORKER = """if (location.protocol === "file:") {
  const Started = Worker;
  window.Worker = function () {
    return new Started(URL.createObjectURL(new Blob([TEXT], {type: "text/javascript"})));
  };
}
"""


def on_files(files: Files, /, *, config: MkDocsConfig) -> Files:
    """Adds the pages that stand outside of docs/."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(text: str, /, *, page: Page, **_: Any) -> str:
    """Returns a page's text with links as the site has them."""
    here = page.file.src_uri
    outside = {to: name for name, to in ELSEWHERE.items()}
    source = ROOT / outside[here] if here in outside else ROOT / "docs" / here
    return LINK.sub(lambda match: _fitted(match, source, here), text)


def on_post_page(output: str, /, *, page: Page, **_: Any) -> str:
    """Returns a page that loads no script from elsewhere."""
    path = relpath("assets/worker.js", Path(page.file.dest_uri).parent)
    return SHIM.sub(f'<script src="{path}"></script>', output)


def on_post_template(output: str, /, **_: Any) -> str:
    """Returns what a server shows for an address that it does not know, without that script."""
    return SHIM.sub("", output)


def on_post_build(*, config: MkDocsConfig) -> None:
    """Writes the script that starts the search's worker on pages that are opened from a disk."""
    assets = Path(config.site_dir) / "assets"
    # Exactly one: the name holds a hash of the theme's version.
    [worker] = (assets / "javascripts/workers").glob("search.*.min.js")
    script = WORKER.replace("TEXT", json.dumps(worker.read_text(encoding="utf-8")).replace("</", "<\\/"))
    (assets / "worker.js").write_text(script, encoding="utf-8")


def _fitted(match: re.Match[str], source: Path, here: str) -> str:
    bang, label, target, anchor = match[1], match[2], match[3], match[4] or ""
    if not target or target.startswith(("http:", "https:")):
        return match[0]
    # Not resolved, as ROOT is not: a checkout may be reached through a link.
    found = Path(normpath(source.parent / target))
    if not found.exists():
        return match[0]
    name = found.relative_to(ROOT).as_posix()
    page = ELSEWHERE.get(name) or (name.removeprefix("docs/") if name.startswith("docs/") else "")
    if page and not page.endswith("/") and found.is_file():
        return f"{bang}[{label}]({relpath(page, Path(here).parent)}{anchor})"
    return label if label.startswith("`") else f"`{name}`"
