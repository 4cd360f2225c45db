"""Measures the whole pipeline on this machine."""
