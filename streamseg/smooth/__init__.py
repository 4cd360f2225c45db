"""Stage 3, smoothing: filter the mattes in time."""
