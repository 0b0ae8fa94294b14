"""The DeepScaleR recipe on upstream verl: data, rewards, and the one command `deepscaler`."""

__version__ = "0.1.0"
