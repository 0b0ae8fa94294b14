"""Finds what would cost hours: small checks of one machine, and of all machines of a job together.

Finding("driver", "fail", "470.57 runs CUDA up to 11.4, torch was built for 12.9", "a newer driver, or ...")

checks.py is the registry, examine.py runs it, before.py is a training's init; among.py, traffic.py and judge.py are for
several machines.
"""
