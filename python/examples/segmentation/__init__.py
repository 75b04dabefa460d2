"""Which loss distils a small segmentation network best: an experiment on satellite images.

In `python/examples`: `python -m segmentation --data FOLDER --out FOLDER`. See the README beside this file.
"""
