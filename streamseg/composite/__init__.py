"""Stage 4, compositing: refine the matte at full size and blend the foreground over a background."""
