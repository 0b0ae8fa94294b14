"""Trains and evaluates the DeepScaleR recipe on upstream verl, by the one command `deepscaler`."""

__version__ = "0.1.0"
