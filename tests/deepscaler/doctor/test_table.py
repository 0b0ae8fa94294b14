"""The conclusion about several nodes: a node that does not answer is no good node."""

import io

from rich.console import Console

from deepscaler.doctor.judge import judge
from deepscaler.doctor.table import conclude


def test_nodes_that_do_not_answer_fail_though_nothing_was_found() -> None:
    shown = io.StringIO()
    assert conclude(judge([], [], 2), 2, Console(file=shown, width=80)) == 1
    assert "2 of 2 nodes did not answer" in shown.getvalue()
    assert "Nothing is missing" not in shown.getvalue()
