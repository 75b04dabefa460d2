"""Write features.i8: the student's features at every second position, a position's channels together.

Four bytes of scale (f32), then int8 with zero point -128. Only the standard library is needed.
"""

import json
import struct
from pathlib import Path

STRIDE = 2
HERE = Path(__file__).parent


def main() -> None:
    """Read the safetensors file, pick, quantise, write."""
    content = (HERE / "../../data/student.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    about = json.loads(content[8 : 8 + length])["features"]
    _, channels, height, width = about["shape"]
    start, _ = about["data_offsets"]
    count = channels * height * width
    numbers = struct.unpack_from(f"<{count}e", content, 8 + length + start)
    picked = [
        numbers[(c * height + y) * width + x]
        for y in range(0, height, STRIDE)
        for x in range(0, width, STRIDE)
        for c in range(channels)
    ]
    scale = max(picked) / 255
    steps = [min(round(x / scale), 255) - 128 for x in picked]
    (HERE / "features.i8").write_bytes(struct.pack(f"<f{len(steps)}b", scale, *steps))


main()
