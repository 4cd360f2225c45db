"""The page in the browser: the picture of a live run, its controls, feeds for other programs, and mattes for photos."""
