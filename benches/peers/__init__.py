"""densekd beside PyTorch, ONNX Runtime and NumPy on the same arrays: `python -m benches.peers`.

A peer and densekd take turns, one sample each, so that a busy machine slows both alike: only the ratios of
such pairs are results. One thing the pairs do not even out: PyTorch's threads wait for each other at every
operator, so that with all cores asked for, a neighbour slows PyTorch by more than densekd. Therefore each
side's best time is compared too, and densekd must win by both.

| module | content |
| --- | --- |
| `work` | what is measured: losses, shapes, students, and the value and gradient in f64 |
| `pytorch`, `others` | the peers |
| `driver` | densekd, in a process of its own |
| `compare` | turns, ratios, errors |
| `report`, `chart` | tables, JSON, faults; the bar chart |
"""
