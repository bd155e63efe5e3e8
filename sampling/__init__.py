"""Mathematics on plain callables and tensors."""
