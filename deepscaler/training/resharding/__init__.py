"""Turns a checkpoint of one number of ranks into one of another, optimizer included."""
