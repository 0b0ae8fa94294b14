"""Training runs: verl started, watched, stopped, resumed, merged, chained, and drawn."""
