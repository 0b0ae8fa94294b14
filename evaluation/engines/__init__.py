"""Draws samples with one engine in this process, or with several at once whose samples are gathered in rounds."""
