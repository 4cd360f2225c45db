"""Stage 4: the matte at full size, and the person before a background."""
