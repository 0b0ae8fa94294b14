"""Prepares training and evaluation problems: sources -> cleaned problems -> parquet in verl's schema."""

from deepscaler.data.prepare import load_problems, prepare
from deepscaler.data.problem import Problem
from deepscaler.data.sources import SOURCES

__all__ = ["SOURCES", "Problem", "load_problems", "prepare"]
