"""URLs of places in buckets: s3://bucket/runs/8k."""

from deepscaler.system.errors import UserError, unknown

PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub", "file": "fsspec"}
"""Schemes of URLs, and the package that fsspec needs for each."""


def check_url(url: str) -> str:
    """Returns a URL of a place in a bucket, without a slash at its end. Raises UserError."""
    scheme, separator, place = url.partition("://")
    if not separator or not place.strip("/"):
        raise UserError(f"invalid value {url!r}: expected SCHEME://BUCKET/PREFIX, such as s3://bucket/runs/8k")
    if scheme not in PACKAGES:
        raise unknown("kind of bucket", scheme, PACKAGES)
    if "?" in place or ":" in place.partition("@")[0] * ("@" in place):
        raise UserError(
            f"{scheme}://... holds credentials or a query: give SCHEME://BUCKET/PREFIX alone; credentials come from the"
            " environment, a profile or the machine's role"
        )
    return url.rstrip("/")


def is_url(text: str) -> bool:
    """Returns whether a text is meant as a URL of a bucket."""
    return text.partition("://")[0] in PACKAGES and "://" in text
