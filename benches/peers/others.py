"""ONNX Runtime, for the value, and NumPy, for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from .peer import Calls, Peer
from .work import TAU

if TYPE_CHECKING:
    from .work import Floats, Maps, Work

#: Of the graph's operators: the first in which Softmax works on one axis.
OPSET = 13


def graph(work: Work) -> onnx.ModelProto:
    """Return the log-softmax form as a graph: p (log p - log q), summed and scaled."""
    rows = [work.rows, work.size // work.rows] if work.loss == "cwd" else list(work.shape)
    nodes = []
    for side in ("teacher", "student"):
        nodes += [
            helper.make_node("Div", [side, "tau"], [f"{side}_scaled"]),
            helper.make_node("Reshape", [f"{side}_scaled", "rows"], [f"{side}_rows"]),
            helper.make_node("LogSoftmax", [f"{side}_rows"], [f"log_{side}"], axis=1),
        ]
    nodes += [
        helper.make_node("Softmax", ["teacher_rows"], ["p"], axis=1),
        helper.make_node("Sub", ["log_teacher", "log_student"], ["difference"]),
        helper.make_node("Mul", ["p", "difference"], ["terms"]),
        helper.make_node("ReduceSum", ["terms"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "scale"], ["loss"]),
    ]
    constants = [
        helper.make_tensor("tau", TensorProto.FLOAT, [], [TAU]),
        helper.make_tensor("scale", TensorProto.FLOAT, [], [work.scale]),
        helper.make_tensor("rows", TensorProto.INT64, [len(rows)], rows),
    ]
    inputs = [
        helper.make_tensor_value_info(side, TensorProto.FLOAT, work.shape) for side in ("teacher", "student")
    ]
    outputs = [helper.make_tensor_value_info("loss", TensorProto.FLOAT, [])]
    opsets = [helper.make_opsetid("", OPSET)]
    whole = helper.make_graph(nodes, "distillation", inputs, outputs, constants)
    # The oldest format of files that has these operators, so that a runtime older than the package reads it.
    model = helper.make_model(whole, opset_imports=opsets, ir_version=7)
    onnx.checker.check_model(model)
    return model


def onnx_peer(work: Work, threads: int) -> Peer:
    """Return ONNX Runtime with all its optimisations, on so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    model = graph(work).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def bind(maps: Maps) -> Calls:
        inputs = {"teacher": maps.teacher, "student": maps.student}
        return Calls(lambda: float(session.run(["loss"], inputs)[0]), None)

    return Peer("onnxruntime", bind)


def numpy_peer(work: Work) -> Peer:
    """Return NumPy: the log-softmax form, and the gradient by its formula."""
    n, c, h, w = work.shape
    shape = (n * c, h * w) if work.loss == "cwd" else (n, c, h * w)
    tau = np.float32(TAU)

    def exponentials(x: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the numbers less their maximum, their exponentials, and the sums of these."""
        x = x / tau
        x -= x.max(axis=1, keepdims=True)
        e = np.exp(x)
        return x, e, e.sum(axis=1, keepdims=True)

    def bind(maps: Maps) -> Calls:
        teacher, student = (x.reshape(shape) for x in (maps.teacher, maps.student))

        def run() -> tuple[float, Floats, Floats, Floats]:
            """Return the loss, p, and q as exponentials and their sums."""
            (t, p, sum_t), (s, q, sum_s) = exponentials(teacher), exponentials(student)
            p /= sum_t
            terms = p * ((t - np.log(sum_t)) - (s - np.log(sum_s)))
            return float(terms.sum() * np.float32(work.scale)), p, q, sum_s

        def value_and_gradient() -> tuple[float, Floats]:
            loss, p, q, sum_s = run()
            gradient: Floats = (q / sum_s - p) * np.float32(work.scale / TAU)
            return loss, gradient.reshape(work.shape)

        def value() -> float:
            return run()[0]

        return Calls(value, value_and_gradient)

    return Peer("numpy", bind)


def peers(work: Work, threads: int) -> list[Peer]:
    """Return those that can use so many threads: NumPy has one for this."""
    return [onnx_peer(work, threads)] + ([numpy_peer(work)] if threads == 1 else [])
