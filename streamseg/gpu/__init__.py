"""Stages 2 to 4 (inference, smoothing, compositing) on a GPU."""
