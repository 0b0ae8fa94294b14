"""Compares answers as text: no computer algebra is loaded here."""
