"""Reads URLs of places in buckets: s3://bucket/runs/8k."""

import re

from deepscaler.system.errors import UserError, unknown

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub", "file": "fsspec"}
"""Schemes of URLs, and the package that fsspec needs for each."""

_REPOSITORY = re.compile(
    r"hf://(?:(model|dataset)s/)?(?!(?:model|dataset|space|bucket|kernel)s/)([\w.-]+/[\w.-]+)(?:/(.+))?"
)


def check_url(url: str) -> str:
    """Returns a URL of a place in a bucket, without a slash at its end. Raises UserError."""
    scheme, separator, place = url.partition("://")
    if not separator or not place.strip("/"):
        raise UserError(f"invalid value {url!r}: expected SCHEME://BUCKET/PREFIX, such as s3://bucket/runs/8k")
    if scheme not in PACKAGES:
        raise unknown("kind of bucket", scheme, PACKAGES)
    # A colon counts only before an @, as in USER:PASSWORD@HOST: without an @, the text is multiplied by False.
    # Azure's CONTAINER@ACCOUNT stays allowed.
    if "?" in place or ":" in place.partition("@")[0] * ("@" in place):
        raise UserError(
            f"{scheme}://... holds credentials or a query: give SCHEME://BUCKET/PREFIX alone; credentials come from the"
            " environment, a profile or the machine's role"
        )
    return url.rstrip("/")


def check_writable(url: str) -> str:
    """Returns a URL as `check_url` does, of a place that a training can be mirrored to. Raises UserError."""
    url = check_url(url)
    if url.startswith("hf://") and not repository_of(url)[1]:
        raise UserError(
            f"{url} cannot be a --mirror: give hf://ORG/NAME/PREFIX or hf://datasets/ORG/NAME/PREFIX, which name no"
            " revision"
        )
    return url


def repository_of(url: str) -> tuple[str, str, str]:
    """Returns kind, name and folder of a URL's repository on the hub; three empty texts where it names none."""
    found = _REPOSITORY.fullmatch(url)
    return (found[1] or "model", found[2], found[3] or "") if found else ("", "", "")


def is_url(text: str) -> bool:
    """Returns whether a text is meant as a URL of a bucket."""
    return text.partition("://")[0] in PACKAGES and "://" in text
