"""Publishes a trained model with its card on the hub, and repeats the training of a published one elsewhere."""
