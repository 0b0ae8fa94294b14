"""Holds one module per command; `table` lists them all, and only the module that was typed is imported."""
