"""Stage 2: frames become batches with alpha."""
