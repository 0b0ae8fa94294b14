"""Reports on a training: tables, curves, page."""
