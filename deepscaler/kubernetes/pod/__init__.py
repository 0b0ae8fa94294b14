"""Implements the commands that pods call: wait for other attempts, stop a cluster's training, serve metrics."""
