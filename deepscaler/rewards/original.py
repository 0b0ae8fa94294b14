"""Being written."""


def cheap(answer: str, gold: str) -> bool | None:
    """Stand-in."""
    return answer.strip() == gold.strip()


def decide(answer: str, gold: str) -> bool:
    """Stand-in."""
    return answer.strip() == gold.strip()
