"""Turns jobs into RayJobs for Kubernetes."""
