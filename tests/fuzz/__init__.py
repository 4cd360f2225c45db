"""Damaged files through the commands: every one ends with a result or with one line, in time and in bounds."""
