"""Asks and tells a cluster by kubectl alone, with the user's own context and rights."""
