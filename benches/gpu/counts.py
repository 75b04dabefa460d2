"""Counts the Triton kernel without a GPU: its PTX's instructions, and what the assembler makes of it.

    python -m benches.gpu.counts --ptxas target/ptx-tools/nvidia/cu13/bin/ptxas > cuda/model/triton.json

Wants `pip install triton==3.9.0`. The text has no loop: an instruction is run once by each thread, or
skipped, which a few are for the logarithm of the row's sums.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton  # type: ignore[import-untyped]
from triton.backends.compiler import GPUTarget  # type: ignore[import-untyped]
from triton.compiler import ASTSource  # type: ignore[import-untyped]

from .softmax_kl import softmax_kl, warps

TYPES = {"f32": "fp32", "f16": "fp16"}
LENGTHS = (1024, 4096, 16384, 32768, 65536)
INSTRUCTION = re.compile(r"^\s+(@!?%p\d+\s+)?[a-z][a-z0-9_.:]*\s*[^:]*;")


def ptx(dtype: str, length: int) -> str:
    """Compile the kernel for compute capability 9.0, as far as PTX."""
    pointer = "*" + TYPES[dtype]
    signature = {
        "teacher": pointer,
        "student": pointer,
        "gradient": pointer,
        "values": "*fp32",
        "factor": "fp32",
        "length": "i32",
        "BLOCK": "constexpr",
    }
    aligned = {(at,): [["tt.divisibility", 16]] for at in (0, 1, 2, 5)}
    source = ASTSource(fn=softmax_kl, signature=signature, constexprs={"BLOCK": length}, attrs=aligned)
    options = {"num_warps": warps(length)}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    return str(compiled.asm["ptx"])


def assembled(ptxas: Path, text: str) -> dict[str, int]:
    """Count registers of a thread and bytes that it spills."""
    # Left to itself the assembler keeps room for four blocks, and spills far more.
    text = text.replace("\n{\n", "\n.minnctapersm 1\n{\n", 1)
    with tempfile.NamedTemporaryFile(suffix=".ptx") as file:
        file.write(text.encode())
        file.flush()
        command = [str(ptxas), "-arch=sm_90a", "-v", "-o", "/dev/null", file.name]
        log = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    registers = re.search(r"Used (\d+) registers", log)
    spills = re.search(r"(\d+) bytes spill stores", log)
    if registers is None or spills is None:
        sys.exit(f"the assembler's report is not understood:\n{log}")
    return {"registers": int(registers[1]), "spilled": int(spills[1])}


def count(ptxas: Path, dtype: str, length: int) -> dict[str, object]:
    """Make a line of the table."""
    text = ptx(dtype, length)
    body = text[text.index("{\n") :]
    for branch in re.finditer(r"\bbra\S*\s+(\$\w+)", body):
        if body.find(f"{branch[1]}:") < branch.start():
            sys.exit(f"{dtype} {length}: a loop, so that lines are not what is run")
    lines = sum(1 for line in body.splitlines() if INSTRUCTION.match(line))
    threads = 32 * warps(length)
    each = round(lines * threads / length, 2)
    return {"dtype": dtype, "length": length, "threads": threads, "instructions": each} | assembled(
        ptxas, text
    )


def main() -> None:
    """Print all lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ptxas", type=Path, required=True)
    ptxas = parser.parse_args().ptxas
    rows = [count(ptxas, dtype, length) for dtype in TYPES for length in LENGTHS]
    head = {"triton": triton.__version__, "capability": "9.0"}
    json.dump(head | {"rows": rows}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
