"""Inference engines, one file each; `streamseg.infer.open_engine` picks one."""
