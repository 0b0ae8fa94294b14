"""Compares answers by computer algebra; only worker processes load it."""
