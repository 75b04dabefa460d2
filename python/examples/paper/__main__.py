"""Train by the paper's settings: `torchrun --nproc-per-node 8 -m paper --help`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .config import CITYSCAPES, COCO, rehearsal
from .training import Run, run


def main() -> None:
    """Read the command line, and train."""
    parser = argparse.ArgumentParser(prog="torchrun -m paper", description=__doc__)
    parser.add_argument("task", choices=("cityscapes", "coco"))
    parser.add_argument("--data", type=Path, help="folder of the data set")
    parser.add_argument("--out", type=Path, required=True, help="folder of what is trained; goes on from what is there")
    parser.add_argument("--teacher", type=Path, help="last.pt of a training without it; without, nothing is distilled")
    parser.add_argument("--network", help="what is trained (the student's network)")
    parser.add_argument("--backbone", type=Path, help="state_dict of a backbone of ImageNet, with torchvision's names")
    parser.add_argument("--dry-run", action="store_true", help="two steps on noise, with a teacher of noise")
    options = parser.parse_args()
    if options.data is None and not options.dry_run:
        parser.error("--data is missing: or --dry-run?")
    config = {"cityscapes": CITYSCAPES, "coco": COCO}[options.task]
    config = rehearsal(config) if options.dry_run else config
    run(
        Run(
            task=options.task,
            config=config,
            data=options.data,
            out=options.out,
            network=options.network or config.student,
            teacher=options.teacher,
            backbone=options.backbone,
            dry=options.dry_run,
        )
    )


if __name__ == "__main__":
    main()
    # The interpreter is not torn down: DDP keeps gloo's threads beyond their group, and one that lets go of a Python
    # object in the meantime aborts the process (pytorch/pytorch#190489).
    sys.stdout.flush()
    os._exit(0)
