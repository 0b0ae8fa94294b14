"""Runs on the nodes of a SLURM job: one Python task per node."""
