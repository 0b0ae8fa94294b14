"""Bounded worker processes in which hard comparisons run."""
