"""Stages 2 to 4 on a GPU."""
