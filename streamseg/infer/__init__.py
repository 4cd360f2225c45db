"""Stage 2, inference: run the matting network on frames and yield batches of frames with alpha."""
