"""Checks manifests offline: schemas, rules that a cluster would apply late or never, references between objects."""
