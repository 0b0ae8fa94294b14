"""The report of a training: tables, curves, page."""
