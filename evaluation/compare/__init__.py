"""Compares evaluations of one protocol: is a model better, by how much, how sure, and where."""
