"""Plain modules under the key names that their papers published."""
