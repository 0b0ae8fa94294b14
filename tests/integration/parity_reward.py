"""A reward that any model gets now and then, so that every step has something to learn: an even number of letters."""


def score(response: str) -> float:
    return float(len(response) % 2 == 0)
