"""Draws samples by an engine in this process or by several at once, whose samples are gathered in rounds."""
