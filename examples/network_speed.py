"""Whole networks, one image at a time: cyconv beside onnxruntime, OpenVINO, LiteRT and torch running the same layers.

    python examples/network_speed.py --models DIR [--threads 1 2] [--libraries cyconv torch ...] [--layers]

Every library runs in a process of its own and they take turns, so that a busy moment of the machine meets all of them; a
figure is the median of all turns. Batch-norm is folded for all, filters are packed before the clock starts, and each
gets the layout it likes best. What is not installed is left out. --layers shows where cyconv's time goes instead.
"""

import importlib.util
import multiprocessing
import os
import statistics
import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from command_line import existing
from network import CONVOLUTIONS, Array, Layer, Network, recorded

NETWORKS = ("inception_v3_trunk", "efficientnet_lite0", "u2netp", "deepbrain_unet3d")
Runner = Callable[[], Array]


def example(folder: Path) -> Array:
    """The input to time: the recorded one, for the volume at its full size."""
    x, _ = recorded(folder)
    if folder.name == "deepbrain_unet3d":
        x = np.tile(x, (1, 3, 3, 3, 1))[:, :128, :128, :128]
    return np.ascontiguousarray(x)


def channels_first(x: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def channels_last(x: Array) -> Array:
    return np.moveaxis(x, 1, -1)


# ---- one maker a library: from a folder and an input to a function that runs the network once


def make_cyconv(folder: Path, x: Array, threads: int) -> Runner:
    import cyconv as nn

    nn.set_num_threads(threads)
    network = Network(folder)
    return lambda: next(iter(network(x).values()))


def pads(layer: Layer, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The padding of a layer on an input (n, *space, c), before and after each spatial axis."""
    p, space = layer.parameters, shape[1:-1]
    if p["padding"] == "VALID":
        return [(0, 0)] * len(space)
    if p["padding"] != "SAME":
        return [tuple(pair) for pair in p["padding"]]
    filters = next(iter(layer.weights.values()), np.empty(0))
    sizes = p.get("ksize", filters.shape[: len(space)])
    rates = [p["rate"]] * len(space) if "rate" in p else p.get("dilations", [1] * len(space))
    totals = [
        max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        for n, k, s, d in zip(space, sizes, p.get("strides", [1] * len(space)), rates)
    ]
    return [(total // 2, total - total // 2) for total in totals]


def onnx_model(folder: Path, x: Array) -> bytes:
    """The network as ONNX, channels first."""
    from onnx import helper, numpy_helper

    network = Network(folder)
    shapes = {network.input: x.shape} | {layer.name: y.shape for layer, y in network.run(x)}
    nodes, weights = [], []

    def constant(name: str, value: Any) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))

    def activate(name: str, source: str, activation: Any) -> None:
        if activation == "relu6":
            add("Clip", [source, constant(name + "/0", np.float32(0)), constant(name + "/6", np.float32(6))], name)
        elif isinstance(activation, tuple):
            add("LeakyRelu", [source], name, alpha=activation[1])
        else:
            add({"relu": "Relu", "sigmoid": "Sigmoid"}[activation], [source], name)

    for layer in network.layers:
        name, p, w, first = layer.name, layer.parameters, layer.weights, layer.inputs[0]
        n = len(shapes[first]) - 2
        if layer.op in CONVOLUTIONS:
            # Steps after the convolution get names of their own; the last of them carries the layer's.
            steps = (
                [name + "/conv"] + [name + "/sum"] * (len(layer.inputs) > 1) + [name] * (layer.activation is not None)
            )
            steps[-1] = name
            f = w["filters"]
            inputs = [first, constant(name + "/w", np.moveaxis(f, (-1, -2), (0, 1)))]
            around = [] if layer.op.endswith("transpose") else pads(layer, shapes[first])
            if layer.op == "depthwise_conv2d":
                inputs[1] = constant(name + "/dw", np.moveaxis(f, (2, 3), (0, 1)).reshape(-1, 1, *f.shape[:2]))
                weights.pop(-2)
            inputs += [constant(name + "/b", w["bias"])] if "bias" in w else []
            attributes = {
                "strides": p.get("strides", [1] * n),
                "dilations": [p["rate"]] * n if "rate" in p else p.get("dilations", [1] * n),
                "group": f.shape[2] if layer.op == "depthwise_conv2d" else 1,
            }
            if around:
                add("Conv", inputs, steps[0], pads=[a for a, _ in around] + [b for _, b in around], **attributes)
            elif p["padding"] == "SAME":
                add("ConvTranspose", inputs, steps[0], auto_pad="SAME_UPPER", **attributes)
            else:
                around = [(0, 0)] * n if p["padding"] == "VALID" else p["padding"]
                pairs = [a for a, _ in around] + [b for _, b in around]
                add("ConvTranspose", inputs, steps[0], pads=pairs, **attributes)
            if len(layer.inputs) > 1:
                add("Add", [steps[0], layer.inputs[1]], steps[1])
            if layer.activation is not None:
                activate(name, steps[-2], layer.activation)
        elif layer.op in ("max_pool", "avg_pool"):
            around = pads(layer, shapes[first])
            pairs = [a for a, _ in around] + [b for _, b in around]
            kind = "MaxPool" if layer.op == "max_pool" else "AveragePool"
            add(kind, [first], name, kernel_shape=p["ksize"], strides=p["strides"], pads=pairs)
        elif layer.op == "concat":
            add("Concat", list(layer.inputs), name, axis=1)
        elif layer.op == "resize":
            size = constant(name + "/size", np.array([1, shapes[first][-1], *p["size"]]))
            add("Resize", [first, "", "", size], name, mode="linear", coordinate_transformation_mode="half_pixel")
        elif layer.op == "reduce_mean":
            add("ReduceMean", [first, constant(name + "/axes", np.array([2, 3]))], name, keepdims=0)
        elif layer.op == "matmul":
            add("Gemm", [first, constant(name + "/w", w["matrix"]), constant(name + "/b", w["bias"])], name)
        elif layer.op in ("add", "softmax"):
            add(layer.op.capitalize(), list(layer.inputs), name)
        else:
            activate(name, first, layer.op)
    values = [
        helper.make_tensor_value_info(name, 1, channels_first(np.empty(shapes[name], bool)).shape)
        for name in (network.input, network.outputs[0])
    ]
    graph = helper.make_graph(nodes, folder.name, values[:1], values[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def make_onnxruntime(folder: Path, x: Array, threads: int) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(onnx_model(folder, x), options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: channels_first(x)}
    return lambda: channels_last(session.run(None, feed)[0])


def make_openvino(folder: Path, x: Array, threads: int) -> Runner:
    import openvino

    model = openvino.Core().read_model(onnx_model(folder, x))
    wanted = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", wanted).create_infer_request()
    feed = channels_first(x)

    def run() -> Array:
        request.infer([feed], share_inputs=True)
        return channels_last(request.get_output_tensor().data)

    return run


def make_torch(folder: Path, x: Array, threads: int) -> Runner:
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(threads)
    network = Network(folder)
    shapes = {network.input: x.shape} | {layer.name: y.shape for layer, y in network.run(x)}

    def tensor(a: Array) -> Any:
        return torch.from_numpy(np.ascontiguousarray(a))

    def activation(kind: Any) -> Callable[[Any], Any]:
        if isinstance(kind, tuple):
            return lambda t: F.leaky_relu(t, kind[1])
        return {"relu": torch.relu, "relu6": F.relu6, "sigmoid": torch.sigmoid, None: lambda t: t}[kind]

    def convolution(layer: Layer) -> Callable[..., Any]:
        p, f = layer.parameters, layer.weights["filters"]
        n, depthwise = f.ndim - 2, layer.op == "depthwise_conv2d"
        w = (
            np.moveaxis(f, (2, 3), (0, 1)).reshape(-1, 1, *f.shape[:2])
            if depthwise
            else np.moveaxis(f, (-1, -2), (0, 1))
        )
        around = pads(layer, shapes[layer.inputs[0]])
        if layer.op.endswith("transpose"):
            size, around = f.shape[0] - p["strides"][0], []
            extra = {"padding": size // 2, "output_padding": size % 2} if size >= 0 else {"output_padding": -size}
            if size == 1:  # SAME with 3 taps and stride 2 crops one voxel behind
                extra = {"padding": 0}
            op = (F.conv_transpose2d, F.conv_transpose3d)[n - 2]
        else:
            op = (F.conv2d, F.conv3d)[n - 2]
            extra = {"dilation": p.get("rate") or tuple(p["dilations"]), "groups": f.shape[2] if depthwise else 1}
            if all(before == after for before, after in around):
                extra["padding"], around = tuple(before for before, _ in around), []
        flat = [side for pair in reversed(around) for side in pair]
        stride, end = tuple(p.get("strides", [1] * n)), activation(layer.activation)
        space = shapes[layer.name][1:-1]
        crop = (slice(None), slice(None), *(slice(0, size) for size in space))
        weight, bias = tensor(w), tensor(layer.weights["bias"]) if "bias" in layer.weights else None

        def run(t: Any, residual: Any = None) -> Any:
            y = op(F.pad(t, flat) if flat else t, weight, bias, stride=stride, **extra)[crop]
            return end(y if residual is None else y + residual)

        return run

    def pool(layer: Layer) -> Callable[..., Any]:
        p, around = layer.parameters, pads(layer, shapes[layer.inputs[0]])
        n, before = len(around), tuple(before for before, _ in around)
        if layer.op == "max_pool":
            op = (F.max_pool2d, F.max_pool3d)[n - 2]
            return lambda t: op(t, p["ksize"], p["strides"], before)
        return lambda t: F.avg_pool2d(t, p["ksize"], p["strides"], before, count_include_pad=False)

    def compiled(layer: Layer) -> Callable[..., Any]:
        p, w = layer.parameters, {key: tensor(a) for key, a in layer.weights.items()}
        if layer.op in CONVOLUTIONS:
            return convolution(layer)
        if layer.op in ("max_pool", "avg_pool"):
            return pool(layer)
        return {
            "concat": lambda *ts: torch.cat(ts, 1),
            "add": torch.add,
            "resize": lambda t: F.interpolate(t, p["size"], mode="bilinear"),
            "reduce_mean": lambda t: t.mean((2, 3)),
            "matmul": lambda t: t @ w["matrix"] + w["bias"],
            "softmax": lambda t: torch.softmax(t, -1),
        }.get(layer.op) or activation(layer.op)

    functions = [compiled(layer) for layer in network.layers]

    class Same(torch.nn.Module):
        def forward(self, t: Any) -> Any:
            values = {network.input: t}
            for layer, function in zip(network.layers, functions):
                values[layer.name] = function(*(values[name] for name in layer.inputs))
            return values[network.outputs[0]]

    # Traced and optimised for inference, which packs the filters; the faster of its two memory formats.
    best: tuple[float, Any, Any] | None = None
    with torch.inference_mode():
        t = tensor(channels_first(x))
        formats = (torch.contiguous_format, torch.channels_last if t.ndim == 4 else torch.channels_last_3d)
        for form in formats:
            t = t.to(memory_format=form)
            traced = torch.jit.optimize_for_inference(torch.jit.trace(Same().eval(), t, check_trace=False))
            seconds = min(timed(partial(traced, t))[0] for _ in range(5))
            if best is None or seconds < best[0]:
                best = seconds, traced, t
    _, module, t = best

    def run() -> Array:
        with torch.inference_mode():
            return channels_last(module(t).numpy())

    return run


def make_litert(folder: Path, x: Array, threads: int) -> Runner:
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    network = Network(folder)
    shapes = {network.input: x.shape} | {layer.name: y.shape for layer, y in network.run(x)}

    def compute(layer: Layer, *inputs: Any) -> Any:
        p, w = layer.parameters, layer.weights
        if layer.op in CONVOLUTIONS:
            strides = [1, *p.get("strides", [1]), 1]
            if layer.op.endswith("transpose"):
                y = getattr(tf.nn, layer.op)(inputs[0], w["filters"], shapes[layer.name], strides, p["padding"])
            elif layer.op == "conv3d":
                y = tf.nn.conv3d(inputs[0], w["filters"], strides, p["padding"])
            elif layer.op == "depthwise_conv2d":
                y = tf.nn.depthwise_conv2d(inputs[0], w["filters"], strides, p["padding"])
            else:
                rate = p.get("rate") or p["dilations"]
                y = tf.nn.conv2d(inputs[0], w["filters"], p.get("strides", 1), p["padding"], dilations=rate)
            y = y + w["bias"] if "bias" in w else y
            y = y + inputs[1] if len(inputs) > 1 else y
            return getattr(tf.nn, layer.activation)(y) if layer.activation else y
        if layer.op in ("max_pool", "avg_pool"):
            return getattr(tf.nn, layer.op)(inputs[0], p["ksize"], p["strides"], p["padding"])
        if layer.op == "matmul":
            return inputs[0] @ w["matrix"] + w["bias"]
        others = {
            "concat": lambda *ts: tf.concat(ts, -1),
            "add": tf.add,
            "resize": lambda t: tf.image.resize(t, p["size"]),
            "reduce_mean": lambda t: tf.reduce_mean(t, (1, 2)),
        }
        return (others.get(layer.op) or getattr(tf.nn, layer.op))(*inputs)

    def forward(t: Any) -> Any:
        values = {network.input: t}
        for layer in network.layers:
            values[layer.name] = compute(layer, *(values[name] for name in layer.inputs))
        return values[network.outputs[0]]

    function = tf.function(forward, input_signature=[tf.TensorSpec(x.shape, tf.float32)]).get_concrete_function()
    content = tf.lite.TFLiteConverter.from_concrete_functions([function]).convert()
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)

    def run() -> Array:
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


MAKERS = {
    "cyconv": make_cyconv,
    "onnxruntime": make_onnxruntime,
    "openvino": make_openvino,
    "litert": make_litert,
    "torch": make_torch,
}
NEEDS = {
    "cyconv": ("cyconv",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "litert": ("ai_edge_litert", "tensorflow"),
    "torch": ("torch",),
}


# ---- the clock


def timed(run: Runner) -> tuple[float, Array]:
    start = time.perf_counter()
    y = run()
    return time.perf_counter() - start, y


def work(connection: Connection, library: str, folder: Path, threads: int) -> None:
    """A process for a library: the result first, then the seconds of one run each time it is asked."""
    os.environ.update(OMP_NUM_THREADS=str(threads), TF_CPP_MIN_LOG_LEVEL="3")
    try:
        run = MAKERS[library](folder, example(folder), threads)
        connection.send(run())
    except Exception as error:  # whatever a library cannot do is its result
        connection.send(f"{type(error).__name__}: {error}")
        return
    while connection.recv():
        run()  # wakes caches and threads after the other libraries' turns
        connection.send(min(timed(run)[0] for _ in range(2)))


def measure(libraries: list[str], folder: Path, threads: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each library, taking turns."""
    spawn = multiprocessing.get_context("spawn")
    pipes, workers, seconds, results = {}, [], defaultdict(list), {}
    for library in libraries:
        pipes[library], other = spawn.Pipe()
        workers.append(spawn.Process(target=work, args=(other, library, folder, threads), daemon=True))
        workers[-1].start()
        other.close()  # so that only the worker has it, and its end is the pipe's
        try:
            results[library] = pipes[library].recv()
        except EOFError:
            results[library] = "its process has ended"
    for library, y in results.items():
        if isinstance(y, str):
            print(f"{folder.name}: {library} cannot run it: {y[:200]}")
            del pipes[library]
        elif "cyconv" in pipes and (error := np.abs(y - results["cyconv"]).max() / np.abs(y).max()) > 1e-3:
            print(f"{folder.name}: {library} gives another result, by {error:.0e}")
    for _ in range(rounds):
        for library, pipe in pipes.items():
            time.sleep(0.05)  # until the threads of the one before have stopped spinning
            pipe.send(True)
            seconds[library].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    for worker in workers:
        worker.join()
    return {library: 1e3 * statistics.median(times) for library, times in seconds.items()}


def show_layers(folder: Path, threads: int, rounds: int) -> None:
    """Where cyconv's time goes: a line for every layer, the longest first."""
    import cyconv as nn

    nn.set_num_threads(threads)
    network, x, times = Network(folder), example(folder), defaultdict(list)
    network(x)  # which finds its memory
    lines = {}
    for _ in range(rounds):
        shapes = {network.input: x.shape}
        start = time.perf_counter()
        for layer, y in network.run(x, network.places):
            times[layer.name].append(1e3 * (time.perf_counter() - start))
            shapes[layer.name] = y.shape
            w = layer.weights.get("filters", np.empty(0))
            flops = 2 * w.size * y[..., 0].size if layer.op in CONVOLUTIONS else 0
            if layer.op.endswith("transpose"):
                flops = 2 * w.size * int(np.prod(shapes[layer.inputs[0]][:-1]))
            p = {key: value for key, value in layer.parameters.items() if key in ("strides", "rate", "ksize")}
            lines[layer.name] = layer.op, shapes[layer.inputs[0]], w.shape, p, flops
            start = time.perf_counter()
    medians = {name: statistics.median(each) for name, each in times.items()}
    total = sum(medians.values())
    print(f"{folder.name}, {threads} threads: {total:.2f} ms in {len(medians)} layers")
    for name, ms in sorted(medians.items(), key=lambda item: -item[1]):
        op, shape, filters, p, flops = lines[name]
        rate = f"{flops / ms / 1e6:6.0f} GFLOP/s" if flops else " " * 14
        print(f"{ms:8.3f} ms {ms / total:5.1%} {rate}  {op:18}{shape!s:24}{filters!s:20}{p}  {name}")


def main() -> None:
    options = ArgumentParser(description=__doc__.splitlines()[0])
    default = os.environ.get("CYCONV_MODELS", "models")
    options.add_argument("--models", type=existing, default=default, metavar="DIR", help="folder of the networks")
    options.add_argument(
        "--networks", nargs="+", default=NETWORKS, metavar="NAME", help=f"default: {' '.join(NETWORKS)}"
    )
    options.add_argument("--libraries", nargs="+", default=list(MAKERS), choices=MAKERS, metavar="NAME")
    options.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    options.add_argument("--rounds", type=int, default=15, help="turns of each library (default: %(default)s)")
    options.add_argument("--layers", action="store_true", help="the time of each of cyconv's layers instead")
    chosen = options.parse_args()

    folders = [existing(chosen.models / name) for name in chosen.networks]
    if chosen.layers:
        for folder in folders:
            for threads in chosen.threads:
                show_layers(folder, threads, chosen.rounds)
        return
    libraries = [
        library for library in chosen.libraries if all(importlib.util.find_spec(module) for module in NEEDS[library])
    ]
    print(
        f"{'network':<22}{'threads':>8}"
        + "".join(f"{library:>14}" for library in libraries)
        + "   cyconv / fastest peer"
    )
    for folder in folders:
        for threads in chosen.threads:
            found = measure(libraries, folder, threads, chosen.rounds)
            cells = "".join(f"{found[name]:11.2f} ms" if name in found else f"{'-':>14}" for name in libraries)
            peers = [ms for library, ms in found.items() if library != "cyconv"]
            ratio = f"{found['cyconv'] / min(peers):8.2f}" if peers and "cyconv" in found else ""
            print(f"{folder.name:<22}{threads:>8}{cells}{ratio}", flush=True)


if __name__ == "__main__":
    main()
