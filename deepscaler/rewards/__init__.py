r"""One grader for training and evaluation.

>>> is_equivalent("10/4", r"\frac{5}{2}")
True
>>> grade(r"<think>2+2</think> It is \boxed{4}.", "4")
Grade(correct=True, answer='4', reason='correct')
"""

from deepscaler.rewards.grade import Grade, Reason, grade, is_equivalent

__all__ = ["Grade", "Reason", "grade", "is_equivalent"]
