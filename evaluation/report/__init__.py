"""Writes the report of an evaluation: tables, plots, page."""
