"""Run the comparison.

Exits with 1 if densekd loses to any peer at equal threads, or if a value or a gradient is off.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from .environment import settle


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benches.peers",
        description="densekd beside PyTorch, ONNX Runtime and NumPy: CWD and PI, tau 4, f32.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw them here (.svg or .png)")
    parser.add_argument("--pairs", type=int, default=11, help="timed pairs a row (default 11)")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default 1 2)"
    )
    parser.add_argument(
        "--only", metavar="WORD", default="", help="work whose name has this word, such as pi"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the maps (default 1)")
    parser.add_argument("--driver", type=Path, help="a built driver; default: build it with cargo")
    args = parser.parse_args()
    if args.pairs < 1 or min(args.threads) < 1:
        parser.error("--pairs and --threads must be at least 1")
    return args


def main() -> int:
    """Run the comparison; return the exit code."""
    args = arguments()
    settle()
    # Only now: what they load reads the environment.
    from . import chart, compare, driver, report
    from .work import WORKS

    plan = compare.Plan(args.driver or driver.build(), args.threads, args.pairs, args.seed)
    start, load = time.monotonic(), os.getloadavg()[0]
    rows: list[compare.Row] = []
    accuracies: list[compare.Accuracy] = []
    for work in WORKS:
        if args.only in work.name:
            more = compare.measure(plan, work)
            rows += more[0]
            accuracies += more[1]
    print(report.markdown(rows, accuracies, args.pairs))
    if args.json:
        loads, seconds = (load, os.getloadavg()[0]), time.monotonic() - start
        result = report.result(plan, rows, accuracies, loads, seconds)
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if args.chart:
        chart.draw(rows, args.pairs, args.chart)
    found = report.faults(rows, accuracies)
    for fault in found:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
