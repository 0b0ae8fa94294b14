"""Batch evaluation: benchmarks -> vLLM samples -> scores -> report."""
