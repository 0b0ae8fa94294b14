"""What pods call: wait for other attempts, stop the training of a cluster, serve metrics."""
