"""Checks of a report's page that hold for every page: nothing in it runs, and nothing is loaded."""

from html.parser import HTMLParser


class _Tags(HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def assert_that_it_runs_and_loads_nothing(page: str, shows: set[str]) -> None:
    """Asserts that a page has certain tags, and neither a script nor anything from elsewhere."""
    parser = _Tags()
    parser.feed(page)
    names = {name for name, _ in parser.seen}
    assert shows <= names
    assert not names & {"script", "iframe", "object", "link", "img"}
    attributes = [(key, value) for _, attrs in parser.seen for key, value in attrs.items()]
    assert not [key for key, _ in attributes if key.startswith("on")]
    assert not [value for key, value in attributes if key in ("src", "href") and not (value or "").startswith("#")]
