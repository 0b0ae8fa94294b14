"""Recipes: what a training run is, the published ones, and what they need of a GPU."""
