"""A reward function that keeps more memory with every call, as a cache without a bound does."""

import time

KEPT: list[bytes] = []


def score(response: str) -> float:
    KEPT.append(bytes(range(256)) * 40_000)  # 10 MB
    time.sleep(0.5)  # a step of eight takes four seconds at least, a sample of the memory comes every five
    return float(len(response) % 2)
