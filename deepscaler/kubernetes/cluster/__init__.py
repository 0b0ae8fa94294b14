"""Reads and changes a cluster through kubectl only, with the user's own context and rights."""
