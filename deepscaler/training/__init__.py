"""Starts, watches, stops, resumes, merges and chains training runs of verl, and draws their curves."""
