"""What this machine has: the CPU, CUDA devices, FFmpeg's GPU codecs."""
