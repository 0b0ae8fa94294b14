"""Compares evaluations made with one protocol: whether a model is better, by how much, how surely, and where."""
