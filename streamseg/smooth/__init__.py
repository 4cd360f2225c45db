"""Stage 3, smoothing: filter the mattes in time, and leave out what is not to be shown; see README.md here."""
