r"""Grades answers, with one grader for training and evaluation.

The kit reads LaTeX itself, with a scanner and a recursive descent of 2,000 lines, and mpmath evaluates the trees. The
grammar of latex2sympy2-extended ignores what it does not know, costs milliseconds per answer, and pins an antlr that
other packages contradict. math-verify only serves `bench/` as a comparison.

>>> is_equivalent("10/4", r"\frac{5}{2}")
True
>>> grade(r"<think>2+2</think> It is \boxed{4}.", "4")
Grade(correct=True, answer='4', reason='correct')
"""

from deepscaler.rewards.grade import Grade, Reason, grade, is_equivalent

__all__ = ["Grade", "Reason", "grade", "is_equivalent"]
