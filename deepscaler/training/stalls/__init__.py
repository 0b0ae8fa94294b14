"""Watches a training for standing still: notices, finds out who and why, and ends it so that it is started again."""
