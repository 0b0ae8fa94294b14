"""The head knows which commands are trainings: those save before the allocation ends."""

import pytest

from slurm.node.head import takes_deadline


@pytest.mark.parametrize(
    ("words", "takes"),
    [
        (["train", "8k"], True),
        (["chain", "8k", "16k"], True),
        (["run", "8k", "16k"], True),
        (["evaluate", "--model", "m"], False),
        (["chain", "8k", "--deadline", "1800000000"], False),
    ],
)
def test_a_training_and_a_chain_are_given_the_deadline(words: list[str], takes: bool) -> None:
    assert takes_deadline(["python3", "-P", "-m", "deepscaler", *words]) is takes
