"""Evaluates models in batches: benchmarks -> vLLM samples -> scores -> report."""
