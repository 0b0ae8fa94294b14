"""Checks the options that name a server to draw from: its address, its key and the parameters it refuses."""

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deepscaler.system.errors import UserError, unknown
from deepscaler.system.option import shown_value

if TYPE_CHECKING:
    from evaluation.config import EvaluationConfig

OF_AN_ENDPOINT = ("base_url", "api", "leave_out")
"""Options that change the samples of an endpoint and that no other engine has."""

CAN_BE_LEFT_OUT = ("seed", "top_p", "temperature", "max_tokens")
"""Parameters of a request that some servers refuse."""


def is_loopback(base_url: str) -> bool:
    """Returns whether a URL refers to this machine."""
    host = urlsplit(base_url).hostname or ""
    # Linux connects 0.0.0.0 to this machine.
    return host in ("localhost", "::1") or host.startswith(("127.", "0.")) or host.endswith(".localhost")


def check_endpoint(config: "EvaluationConfig") -> None:
    """Raises UserError for an endpoint that cannot be reached, and for a URL that would carry a secret into files."""
    if not config.base_url:
        raise UserError("--engine openai needs --base-url: give the server's URL, such as http://localhost:8000/v1")
    try:
        url = urlsplit(config.base_url)
        # `port` raises ValueError for a word and for a number above 65535.
        is_one = url.scheme in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        is_one = False
    if not is_one or re.search(r"[\s\x00-\x1f]", config.base_url):
        given = shown_value(config.base_url)
        raise UserError(f"invalid value {given} for --base-url: expected http(s)://HOST[:PORT]/PATH")
    if "@" in url.netloc or url.query or url.fragment:  # not shown: it may be the key
        raise UserError("--base-url holds a user, a query or a fragment: give the key with --api-key-env VARIABLE")
    if config.api_key_env and not re.fullmatch(r"[A-Za-z_]\w{0,79}", config.api_key_env, re.ASCII):
        # the message does not repeat the value, which may be the key itself
        raise UserError("invalid value for --api-key-env: expected a variable's name such as OPENAI_API_KEY, not a key")
    if config.engines:
        raise UserError("--engines starts engines of this kit: with --engine openai give --concurrency instead")
    if unknown_names := [name for name in config.leave_out if name not in CAN_BE_LEFT_OUT]:
        raise unknown("parameter for --leave-out", unknown_names[0], CAN_BE_LEFT_OUT)
