"""Models: finding, identifying, fetching and decoding them, and where a result came from."""
