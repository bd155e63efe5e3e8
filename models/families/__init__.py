"""One file per paper: its keys, ranges, noise level, direction of time."""
