"""Examination of this machine for `streamseg doctor`: small checks, and for what is amiss the command that mends it."""
