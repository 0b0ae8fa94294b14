"""Runs hard comparisons and users' reward functions in bounded worker processes."""
