"""Faces in photos: where they are, upright crops of them, and the way back. Torch only."""
