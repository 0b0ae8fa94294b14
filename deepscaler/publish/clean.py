"""Looks for what must not be published: paths, names of users and machines, and secrets.

README.md, line 41, holds the path '/home/ana/sums.jsonl'
"""

import getpass
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from deepscaler.system.errors import UserError

TEXTS = (".md", ".json", ".jinja", ".toml", ".py", ".txt")
LARGE = frozenset(("tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"))
"""Files of words: any path may be one, so only secrets are looked for."""

# The characters that may not be before it exclude URLs, HTML's end tags, quotients and variables: https://...,
# </b>, a/b, $HOME/x.
PATH = re.compile(r"(?<![\w.:/~@<>\\}\])*$-])(?:~|/[A-Za-z_][\w.-]*)/[\w.-][\w./-]*")
# Every Linux machine has these, so they say nothing about this one: a script's first line, /proc/self, /dev/null. No
# more than these, because sites keep their users in /usr/people, /usr/workspace or /dev/shm, too, and what is below
# /proc/1/cwd may be anything.
SYSTEM = re.compile(
    r"/(?:usr/)?(?:bin|sbin|lib|lib32|lib64|libexec|include|share)(?:/.*)?"
    r"|/usr/local/(?:bin|sbin|lib|lib64|include|cuda[\w.-]*)(?:/.*)?"
    r"|/(?:proc|sys)/(?!.*(?:root|cwd)/).*"
    r"|/dev/(?:null|zero|full|u?random|std(?:in|out|err)|tty|shm|fd(?:/\d+)?)"
    r"|/etc/(?:passwd|group|hosts|hostname|os-release|resolv\.conf|localtime|ssl(?:/.*)?)"
)
TOKENS = re.compile(
    r"\bhf_[A-Za-z0-9]{20,}|\bAKIA[0-9A-Z]{16}\b|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}"
    r"|-----BEGIN [A-Z ]*KEY"
)
SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY", re.IGNORECASE)
"""Variables whose values must not be in any file."""

SHORT = 8
"""Characters; a shorter value of such a variable hides nothing, and would be found everywhere."""

NOBODY = frozenset(("root", "user", "users", "admin", "ubuntu", "debian", "localhost", "node", "worker", "deepscaler"))
"""Names that many users and machines have."""


def check_clean(folder: Path, hosts: Iterable[str]) -> None:
    """Raises UserError that names the first file and line with something private; a secret itself is not shown."""
    names = _names(hosts)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix in TEXTS:
            # A file that is not UTF-8 must be searched, too.
            text = file.read_text(encoding="utf-8", errors="replace")
            for number, what in _private(text, () if file.name in LARGE else names, paths=file.name not in LARGE):
                raise UserError(
                    f"{file.relative_to(folder)}, line {number}, holds {what}, which must not be published:"
                    " take it out of what you trained with, or leave the reward's text out by --without-reward"
                )


def _private(text: str, names: Iterable[str], *, paths: bool) -> Iterator[tuple[int, str]]:
    values = {value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= SHORT}
    for value in values:
        if value in text:
            yield text[: text.index(value)].count("\n") + 1, "the value of a variable that is a secret"
    searched = {"a token or key": TOKENS, **({"the path": PATH} if paths else {})}
    for what, pattern in searched.items():
        matches = (one for one in pattern.finditer(text) if pattern is not PATH or not _is_everywhere(one[0]))
        if found := next(matches, None):
            shown = f" {found[0]!r}" if pattern is PATH else ""
            yield text[: found.start()].count("\n") + 1, f"{what}{shown}"
    for name in names:
        # The user ana is not in "banana", and the machine node1 is not "node1-2".
        if found := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text):
            yield text[: found.start()].count("\n") + 1, f"the name {name!r} of a user or machine"


def _is_everywhere(path: str) -> bool:
    """Returns whether a path is the same on every machine."""
    # A sentence ends in a dot, and /usr/bin/../../home/ana is none of the system's.
    return ".." not in path.split("/") and SYSTEM.fullmatch(path.rstrip("./")) is not None


def _names(hosts: Iterable[str]) -> list[str]:
    found = {socket.gethostname(), *hosts}
    with suppress(OSError, KeyError):  # a container's user may have no name
        found.add(getpass.getuser())
    return sorted(name for name in found if len(name) > 3 and name.lower() not in NOBODY)
