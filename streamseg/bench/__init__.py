"""Benchmark of the whole pipeline on this machine."""
