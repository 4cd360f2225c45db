"""Stage 3: mattes are steadied in time."""
