"""Finds, identifies, fetches and decodes models, and records where a result came from."""
