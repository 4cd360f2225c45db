"""What decode and sink share: HEVC's bitstream, stacked alpha, atomic writes."""
