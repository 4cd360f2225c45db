"""Hardware of this machine: CPU, CUDA devices and FFmpeg's GPU codecs."""
