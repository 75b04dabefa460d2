"""What others make of the same loss on a GPU: a Triton kernel, and PyTorch's own operations."""
