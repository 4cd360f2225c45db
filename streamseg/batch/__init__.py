"""Batch conversion: mattes a folder of videos in worker processes and reports the outcomes."""
