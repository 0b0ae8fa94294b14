"""A checkpoint of one number of ranks made into one of another, optimizer included."""
