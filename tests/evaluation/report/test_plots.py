"""A histogram of lengths holds every response, the longest ones too."""

import numpy as np
import pytest

from evaluation.report.plots import bin_edges


@pytest.mark.parametrize("longest", [1, 2, 29, 30, 31, 98, 1000, 32_768])
def test_no_response_is_above_the_last_bin(longest: int) -> None:
    edges = bin_edges(longest)
    counts, _ = np.histogram([0, 1, longest], bins=edges)
    assert counts.sum() == 3
    assert len(edges) <= 33
    assert len(set(np.diff(edges))) == 1
