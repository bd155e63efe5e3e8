"""Networks and their weights: what a file holds, and what a loaded part promises."""
