"""The paper's settings (arXiv 2011.13256) for Cityscapes and COCO, to be started by `torchrun`: see the README."""
