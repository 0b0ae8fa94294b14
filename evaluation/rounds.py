"""Decides which samples to draw next: all missing ones at once, or round by round under `--until`."""

from evaluation.folder import EvaluationFolder
from evaluation.inputs import Inputs
from evaluation.requests import Key
from evaluation.samples import Sample, read_samples
from evaluation.score import grade_samples
from evaluation.until import halves_of, numbers_of, plan


class Rounds:
    """Lists the samples that an evaluation requests and its folder does not hold yet."""

    def __init__(self, inputs: Inputs, folder: EvaluationFolder) -> None:
        self._inputs, self._folder = inputs, folder
        self._has_begun = False
        self._correct: dict[Key, bool] = {}
        self.lengths: dict[Key, int] = {}
        """Tokens of each response that the folder held when the latest round began."""

    def next(self) -> list[Key]:
        """Returns the samples of the next round; empty at the end. All of the previous round must be in the folder."""
        config = self._inputs.config
        if self._has_begun and not config.until:
            return []
        self._has_begun = True
        missing: list[Key] = []
        self.lengths = {}
        for name, problems in self._inputs.ids.items():
            # from the folder each time: other engines, or an earlier start of this command, drew some of them
            samples = read_samples(self._folder.samples_path(name))
            self.lengths |= {sample.key: sample.response_tokens for sample in samples}
            wanted = {problem_id: list(range(config.samples[name])) for problem_id in problems}
            if config.until:
                self._grade(name, samples)
                wanted = self._plan(problems, config.samples[name])
            missing += [(p, n) for p, numbers in wanted.items() for n in numbers if (p, n) not in self.lengths]
        return missing

    def _grade(self, name: str, samples: list[Sample]) -> None:
        """Grades a benchmark's samples that are new since the last round, with the rules of the report."""
        golds = {problem.id: list(problem.golds) for problem in self._inputs.problems[name]}
        new = [(s, golds[s.problem_id]) for s in samples if s.key not in self._correct and s.problem_id in golds]
        # always with the kit's rules, so that the samples drawn do not depend on the grader of some later
        # report
        for one in grade_samples(new, thinking=self._inputs.config.thinking == "yes", mode="kit"):
            self._correct[one.sample.key] = one.grade.correct

    def _plan(self, problems: list[str], num_samples: int) -> dict[str, list[int]]:
        outcomes: dict[str, dict[int, bool]] = {problem_id: {} for problem_id in problems}
        for (problem_id, number), correct in self._correct.items():
            # _correct holds the samples of all data sets
            if problem_id in outcomes:
                outcomes[problem_id][number] = correct
        halves = {problem_id: halves_of(found) for problem_id, found in outcomes.items()}
        counts = plan(halves, num_samples, self._inputs.config.until / 100)
        return {problem_id: numbers_of(chosen) for problem_id, chosen in counts.items()}
