"""The same layers in other libraries: MAKERS[library](threads)(layer, x, filters) gives a function that runs the layer once.

Every peer gets its own kind of array in the layout it likes best, and constant filters prepared beforehand; neither is
charged to it. A maker raises ImportError where the library is missing, NotImplementedError where it has no such op.
"""

import io
import math
import os
import timeit
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._geometry import Axis, forward_axis, margins

Array = NDArray[Any]
Run = Callable[[], Any]
Make = Callable[["Layer", Array, list[Array]], Run]


class Layer(NamedTuple):
    """A layer of a network; x and filters are shapes, channels last, as TensorFlow has them."""

    name: str
    op: str  # "conv", "transpose", "depthwise" or "separable"
    x: tuple[int, ...]
    filters: tuple[tuple[int, ...], ...]
    stride: int = 1
    dilation: int = 1
    padding: str = "SAME"

    @property
    def rank(self) -> int:
        return len(self.x) - 2

    @property
    def groups(self) -> int:
        """Of a depthwise stage as many as channels, each of which is a group."""
        if self.op == "transpose":
            return 1
        return self.x[-1] // (self.filters[0][-2] if self.op == "conv" else 1)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of a transposed layer."""
        return (self.x[0], *(self.stride * size for size in self.x[1:-1]), self.filters[0][-2])

    def axes(self) -> list[Axis]:
        """The spatial axes of the layer, or of the forward op whose transpose it is."""
        sizes = (self.output_shape if self.op == "transpose" else self.x)[1:-1]
        shape = zip(sizes, self.filters[0], strict=False)
        return [forward_axis(n, k, self.stride, self.dilation, self.padding, i) for i, (n, k) in enumerate(shape)]

    def flops(self) -> int:
        """A multiplication and an addition for every tap, counted as a direct convolution has them."""
        pixels = self.x[0] * math.prod(axis.out for axis in self.axes())
        return 2 * pixels * sum(map(math.prod, self.filters))

    def arrays(self) -> tuple[Array, list[Array]]:
        """Random float32 arrays that keep the size of the output near that of the input."""
        rng = np.random.default_rng(0)
        scaled = [rng.standard_normal(f, np.float32) / np.float32(math.sqrt(math.prod(f[:-1]))) for f in self.filters]
        return rng.standard_normal(self.x, np.float32), scaled


def fastest(runs: list[Run]) -> Run:
    """The run that takes the least time, for libraries whose best layout depends on the layer."""
    return min(runs, key=lambda run: min(timeit.repeat(run, number=1, repeat=4)))


def channels_first(layer: Layer, filters: list[Array]) -> list[Array]:
    """Filters as (out, in, *taps); those of a transposed layer as (in, out, *taps)."""
    first = filters[0]
    if layer.op in ("depthwise", "separable"):
        first = first.reshape(*first.shape[: layer.rank], 1, -1)
    return [np.ascontiguousarray(np.moveaxis(f, (-1, -2), (0, 1))) for f in (first, *filters[1:])]


def numpy(threads: int) -> Make:
    """What a NumPy user writes today: sliding_window_view and tensordot or einsum."""
    from . import _demo

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        f, before = filters[0], layer.axes()[0].lo
        square = len(set(f.shape[: layer.rank])) == 1
        if layer.op == "transpose" and square:
            return lambda: _demo.spread(x, f, layer.stride, layer.dilation)
        if layer.padding != "SAME" or not square or (layer.op == "conv" and layer.groups > 1):
            raise NotImplementedError
        if layer.op == "conv":
            return lambda: _demo.correlate(x, f, layer.stride, layer.dilation, before=before)
        if layer.stride > 1 or layer.dilation > 1:
            raise NotImplementedError
        if layer.op == "depthwise":
            return lambda: _demo.correlate_depthwise(x, f)
        return lambda: _demo.correlate_depthwise(x, f) @ filters[1][0, 0]

    return make


def plane(layer: Layer, x: Array, filters: list[Array]) -> tuple[Array, Array]:
    """Image and kernel of a layer with one channel in and out: libraries of images and signals have no others."""
    if layer.op != "conv" or math.prod(filters[0].shape[-2:]) != 1 or layer.stride > 1 or layer.dilation > 1:
        raise NotImplementedError
    return np.ascontiguousarray(x[0, ..., 0]), np.ascontiguousarray(filters[0][..., 0, 0])


def scipy(threads: int) -> Make:
    """ndimage or a blockwise FFT, for one channel in and out."""
    signal, ndimage = import_module("scipy.signal"), import_module("scipy.ndimage")

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        image, kernel = plane(layer, x, filters)
        flipped = np.flip(kernel)
        return fastest([
            lambda: signal.oaconvolve(image, flipped, mode="same"),
            lambda: ndimage.correlate(image, kernel, mode="constant"),
        ])  # fmt: skip

    return make


def opencv(threads: int) -> Make:
    """filter2D, for one channel in and out."""
    cv2 = import_module("cv2")
    cv2.setNumThreads(threads)

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        image, kernel = plane(layer, x, filters)
        if layer.rank != 2:
            raise NotImplementedError
        return lambda: cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_CONSTANT)

    return make


def torch(threads: int) -> Make:
    """torch.nn.functional, channels first or last, whichever is faster."""
    torch, functional = import_module("torch"), import_module("torch.nn.functional")
    torch.set_num_threads(threads)

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        n, pads = layer.rank, [margins(axis) for axis in layer.axes()]
        even = all(before == after for before, after in pads)
        op = getattr(functional, f"conv_transpose{n}d" if layer.op == "transpose" else f"conv{n}d")
        options: dict[str, Any] = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
        if even:
            options["padding"] = [before for before, _ in pads]
        elif layer.op == "transpose":
            raise NotImplementedError
        flat = [pad for pair in reversed(pads) for pad in pair]

        def variant(**layout: Any) -> Run:
            y, w, *rest = (
                torch.from_numpy(a).to(**layout)
                for a in (np.moveaxis(x, -1, 1).copy(), *channels_first(layer, filters))
            )

            def run() -> Any:
                with torch.inference_mode():
                    z = op(y if even else functional.pad(y, flat), w, **options)
                    return functional.conv2d(z, rest[0]) if rest else z

            return run

        last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(n)
        return fastest([variant(), variant(memory_format=last)] if last else [variant()])

    return make


def tensorflow_op(tf: Any, layer: Layer, filters: list[Array]) -> Callable[[Any], Any]:
    """The layer in tf.nn, filters constant."""
    f, s, pad = [tf.constant(w) for w in filters], layer.stride, layer.padding
    ops: dict[str, Callable[[Any], Any]] = {
        "conv": lambda x: tf.nn.convolution(x, f[0], s, pad, dilations=layer.dilation),
        "transpose": lambda x: tf.nn.conv_transpose(x, f[0], layer.output_shape, s, pad),
        "depthwise": lambda x: tf.nn.depthwise_conv2d(x, f[0], (1, s, s, 1), pad),
        "separable": lambda x: tf.nn.separable_conv2d(x, f[0], f[1], (1, s, s, 1), pad),
    }
    return ops[layer.op]


def tensorflow(threads: int) -> Make:
    """tf.nn in a tf.function with constant filters."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    tf = import_module("tensorflow")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        run, y = tf.function(tensorflow_op(tf, layer, filters)), tf.constant(x)
        return lambda: run(y)

    return make


def litert(threads: int) -> Make:
    """XNNPACK in LiteRT's interpreter, which keeps input and output; TensorFlow converts the layer."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    interpreter, tf = import_module("ai_edge_litert.interpreter"), import_module("tensorflow")

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        function = tf.function(tensorflow_op(tf, layer, filters), input_signature=[tf.TensorSpec(x.shape, x.dtype)])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
        model = interpreter.Interpreter(model_content=converter.convert(), num_threads=threads)
        model.allocate_tensors()
        model.set_tensor(model.get_input_details()[0]["index"], x)
        output = model.tensor(model.get_output_details()[0]["index"])

        def run() -> Any:
            model.invoke()
            return output()

        return run

    return make


def jax(threads: int) -> Make:
    """jax.lax under jit."""
    os.environ["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    jax, lax = import_module("jax"), import_module("jax.lax")

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        n, pad, s, d = layer.rank, layer.padding, layer.rank * (layer.stride,), layer.rank * (layer.dilation,)
        space = "DHW"[3 - n :]
        names = (f"N{space}C", f"{space}IO", f"N{space}C")
        each = layer.x[-1] // layer.groups
        f = [filters[0].reshape(*filters[0].shape[:n], each, -1) if layer.groups > 1 else filters[0], *filters[1:]]
        if layer.op == "transpose":
            f = [np.ascontiguousarray(np.flip(f[0], tuple(range(n))).swapaxes(-1, -2))]

        def call(x: Any, w: Any, *rest: Any) -> Any:
            if layer.op == "transpose":
                return lax.conv_transpose(x, w, s, pad, dimension_numbers=names)
            y = lax.conv_general_dilated(
                x, w, s, pad, rhs_dilation=d, dimension_numbers=names, feature_group_count=layer.groups
            )
            return lax.conv_general_dilated(y, rest[0], n * (1,), "VALID", dimension_numbers=names) if rest else y

        run, arrays = jax.jit(call), [jax.device_put(a) for a in (x, *f)]
        return lambda: run(*arrays).block_until_ready()

    return make


def onnx_model(layer: Layer, filters: list[Array]) -> bytes:
    """The layer as a serialised graph from x to y, channels first."""
    helper, tensors = import_module("onnx.helper"), import_module("onnx.numpy_helper")
    pads, first = [margins(axis) for axis in layer.axes()], channels_first(layer, filters)
    n, kind = layer.rank, "ConvTranspose" if layer.op == "transpose" else "Conv"
    options = {"strides": n * [layer.stride], "dilations": n * [layer.dilation], "group": layer.groups}
    options["pads"] = [before for before, _ in pads] + [after for _, after in pads]
    nodes = [helper.make_node(kind, ["x", "w0"], ["y" if len(first) == 1 else "z"], **options)]
    if len(first) > 1:
        nodes.append(helper.make_node("Conv", ["z", "w1"], ["y"]))
    ends = (
        [helper.make_tensor_value_info("x", 1, (layer.x[0], layer.x[-1], *layer.x[1:-1]))],
        [helper.make_tensor_value_info("y", 1, None)],
    )
    weights = [tensors.from_array(w, f"w{i}") for i, w in enumerate(first)]
    graph = helper.make_graph(nodes, "layer", *ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def onnxruntime(threads: int) -> Make:
    ort = import_module("onnxruntime")
    import_module("onnx")

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = ort.InferenceSession(onnx_model(layer, filters), options, providers=["CPUExecutionProvider"])
        feed = {"x": np.moveaxis(x, -1, 1).copy()}
        return lambda: session.run(None, feed)

    return make


def openvino(threads: int) -> Make:
    ov = import_module("openvino")
    import_module("onnx")
    core = ov.Core()
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        request = core.compile_model(
            core.read_model(io.BytesIO(onnx_model(layer, filters))), "CPU", options
        ).create_infer_request()
        tensor = ov.Tensor(np.moveaxis(x, -1, 1).copy())
        request.set_input_tensor(tensor)
        return lambda: request.infer()

    return make


def cyconv(threads: int, planned: bool = True) -> Make:
    """A plan, whose filters are packed beforehand as every other library here has them."""
    cyconv = import_module("cyconv")
    cyconv.set_num_threads(threads)
    ops = {"conv": "convolution", "transpose": "conv_transpose"}

    def make(layer: Layer, x: Array, filters: list[Array]) -> Run:
        op = getattr(cyconv, ops.get(layer.op, f"{layer.op}_conv2d"))
        options: dict[str, Any] = {"strides": layer.stride, "padding": layer.padding, "dilations": layer.dilation}
        if layer.op == "transpose":
            options["output_shape"] = layer.output_shape
        if not planned:
            return lambda: op(x, *filters, **options)
        plan = cyconv.plan(op, *filters, **options)
        return lambda: plan(x)

    return make


def cyconv_call(threads: int) -> Make:
    """The plain call, to which filters are new every time."""
    return cyconv(threads, planned=False)


_LIBRARIES = (cyconv, cyconv_call, torch, tensorflow, litert, onnxruntime, openvino, jax, opencv, scipy, numpy)
MAKERS: dict[str, Callable[[int], Make]] = {library.__name__: library for library in _LIBRARIES}
