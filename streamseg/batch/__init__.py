"""A folder of videos: jobs in worker processes, and their report."""
