"""The adapters: gradients that the frameworks' own checkers accept, and arguments that go through."""

import importlib

import numpy as np
import pytest

import cyconv as nn

rng = np.random.default_rng(0)


def adapter(name: str):
    pytest.importorskip(name, reason=f"{name} is not installed")
    return importlib.import_module(f"cyconv.ext.{name}")


def test_frameworks_are_imported_only_when_asked_for():
    import subprocess
    import sys

    code = "import cyconv, cyconv.ext, sys; print({'torch', 'jax', 'autograd'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


# ---- autograd --------------------------------------------------------------------------------------------------------

X, W, B = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((3, 2, 3, 4)), rng.standard_normal(4)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
def test_autograd_to_second_order(padding_mode):
    module = adapter("autograd")
    from autograd.test_util import check_grads

    def conv(x, w, b):
        return module.conv2d(x, w, (2, 1), "SAME", "NHWC", (1, 2), bias=b, padding_mode=padding_mode)

    check_grads(conv, modes=["rev"], order=2)(X, W, B)


def test_autograd_other_ops():
    module = adapter("autograd")
    from autograd.test_util import check_grads

    check_grads(lambda x, w: module.conv1d(x, w, 1, "SAME", "NCW", 2), modes=["rev"], order=2)(
        X[0], rng.standard_normal((2, 6, 4))
    )
    check_grads(lambda x, w: module.conv3d(x, w, 1, "VALID"), modes=["rev"], order=2)(
        X[..., None], rng.standard_normal((2, 2, 2, 1, 3))
    )
    check_grads(lambda x, w: module.depthwise_conv2d(x, w, 2, "SAME"), modes=["rev"], order=2)(X, W)
    up = rng.standard_normal((3, 2, 2, 3))
    check_grads(lambda x, w, b: module.conv2d_transpose(x, w, (2, 10, 11, 2), 2, bias=b), modes=["rev"], order=2)(
        X, up, B[:2]
    )
    check_grads(module.bias_add, modes=["rev"], order=2)(X, B[:3])


def test_autograd_of_a_sum_of_what_is_not_finite():
    module = adapter("autograd")
    import autograd

    g = np.array([[np.inf, 1.0], [np.nan, 2.0]])
    assert np.array_equal(autograd.grad(lambda g: module.bias_add_grad(g)[1])(g), [[0, 1], [0, 1]])


# ---- torch -----------------------------------------------------------------------------------------------------------


def torch_calls(t):
    """(op, its tensors, its other arguments)."""
    x, w, b = t(2, 5, 6, 3), t(3, 2, 3, 4), t(4)
    yield "conv2d", {"input": x, "filters": w, "bias": b}, {"strides": (2, 1), "padding": "SAME", "activation": "gelu"}
    yield "conv2d", {"input": x, "filters": w, "bias": b}, {"strides": 1, "padding": "FULL", "activation": "tanh"}
    yield "conv2d", {"input": x, "filters": w, "residual": t(2, 5, 6, 4)}, {"strides": 1, "padding": "SAME"}
    yield (
        "conv1d",
        {"input": t(2, 3, 7), "filters": t(3, 3, 4)},
        {"stride": 2, "padding": "CAUSAL", "data_format": "NCW"},
    )
    yield "conv3d", {"input": t(1, 3, 4, 5, 2), "filters": t(2, 2, 2, 2, 3)}, {"strides": 1, "padding": "VALID"}
    yield "atrous_conv2d", {"value": x, "filters": w}, {"rate": 2, "padding": "SAME", "padding_mode": "circular"}
    yield (
        "conv2d_transpose",
        {"input": t(1, 3, 3, 4), "filters": t(3, 3, 2, 4)},
        {"output_shape": (1, 6, 6, 2), "strides": 2},
    )
    yield "depthwise_conv2d", {"input": x, "filter": t(3, 3, 3, 2)}, {"strides": 1, "padding": "SAME"}
    stages = {"input": x, "depthwise_filter": t(3, 3, 3, 1), "pointwise_filter": t(1, 1, 3, 4), "depthwise_bias": t(3)}
    yield "separable_conv2d", stages, {"strides": 1, "padding": "SAME", "depthwise_activation": "silu"}
    yield "bias_add", {"value": x, "bias": t(3)}, {}


def test_torch_gradcheck():
    module = adapter("torch")
    import torch

    def tensor(*shape):
        return torch.from_numpy(rng.standard_normal(shape)).requires_grad_()

    for name, tensors, options in torch_calls(tensor):

        def call(*values, name=name, names=tuple(tensors), options=options):
            return getattr(module, name)(**dict(zip(names, values)), **options)

        assert torch.autograd.gradcheck(call, tuple(tensors.values())), name
        y = getattr(nn, name)(**{k: v.detach().numpy() for k, v in tensors.items()}, **options)
        assert np.array_equal(call(*tensors.values()).detach().numpy(), y), name


def test_torch_gives_no_gradient_that_is_not_asked_for():
    module = adapter("torch")
    import torch

    x, w = torch.ones(1, 4, 4, 2), torch.ones(3, 3, 2, 5, requires_grad=True)
    module.conv2d(x, w, 1, "SAME").sum().backward()
    assert x.grad is None
    assert w.grad.shape == w.shape


def test_torch_func():
    module = adapter("torch")
    import torch

    x, w, b = (torch.from_numpy(a) for a in (X, W, B))

    def loss(w, b, x):
        return (module.conv2d(x[None], w, (2, 1), "SAME", bias=b, activation="tanh") ** 2).sum()

    each = [torch.func.grad(loss, (0, 1))(w, b, one) for one in x]
    every = torch.func.vmap(torch.func.grad(loss, (0, 1)), (None, None, 0))(w, b, x)
    for i, (dw, db) in enumerate(each):
        assert torch.equal(every[0][i], dw)
        assert torch.equal(every[1][i], db)
    w.requires_grad_()
    loss(w, b, x[0]).backward()
    assert torch.equal(w.grad, each[0][0])
    across = torch.func.vmap(lambda one: module.conv2d(one, w.detach(), 1, "SAME"), 1)(x[:, None])
    assert torch.equal(across[0], module.conv2d(x, w.detach(), 1, "SAME"))
    (once,) = torch.autograd.grad(loss(w, b, x[0]), w, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        once.sum().backward()


def test_torch_bfloat16():
    module = adapter("torch")
    import torch

    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    x, w = (torch.from_numpy(a).bfloat16().requires_grad_() for a in (X, W))
    y = module.conv2d(x, w, 1, "SAME")
    y.sum().backward()
    arrays = [a.astype(np.float32).astype(ml_dtypes.bfloat16) for a in (X, W)]
    for mine, other in zip(
        (y, x.grad, w.grad),
        (
            nn.conv2d(*arrays, 1, "SAME"),
            *nn.conv2d_vjp(
                *arrays,
                strides=1,
                padding="SAME",
                out_backprop=np.ones(y.shape, ml_dtypes.bfloat16),
                wrt=("input", "filters"),
            ),
        ),
    ):
        assert mine.dtype == torch.bfloat16
        assert np.array_equal(mine.detach().float().numpy(), other.astype(np.float32))


# ---- jax -------------------------------------------------------------------------------------------------------------


def test_jax_equals_its_own():
    module = adapter("jax")
    import jax

    x, w, b = (a.astype(np.float32) for a in (X, W, B))

    def ours(x, w, b):
        return (module.conv2d(x, w, (2, 1), "SAME", bias=b, activation="tanh") ** 2).sum()

    def theirs(x, w, b):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return (
            jax.numpy.tanh(jax.lax.conv_general_dilated(x, w, (2, 1), "SAME", dimension_numbers=dimensions) + b) ** 2
        ).sum()

    for f in (ours, jax.jit(ours)):
        for mine, other in zip(jax.grad(f, (0, 1, 2))(x, w, b), jax.grad(theirs, (0, 1, 2))(x, w, b)):
            assert np.allclose(mine, other, rtol=1e-3, atol=1e-4)


def test_jax_other_ops():
    module = adapter("jax")
    import jax

    for name, tensors, options in torch_calls(lambda *shape: rng.standard_normal(shape).astype(np.float32)):
        names, arrays = tuple(tensors), tuple(tensors.values())
        y = getattr(nn, name)(**tensors, **options)

        def call(*values, name=name, names=names, options=options):
            return getattr(module, name)(**dict(zip(names, values)), **options)

        assert np.array_equal(jax.jit(call)(*map(jax.numpy.asarray, arrays)), y), name
        wanted = getattr(nn, f"{name}_vjp")(**tensors, **options, out_backprop=np.ones_like(y), wrt=names)
        found = jax.grad(lambda *values, call=call: call(*values).sum(), tuple(range(len(names))))(
            *map(jax.numpy.asarray, arrays)
        )
        for a, b, argument in zip(found, wanted, names):
            assert np.allclose(a, b, rtol=1e-5, atol=1e-5), (name, argument)


def test_jax_vmap():
    module = adapter("jax")
    import jax

    x, w = (jax.numpy.asarray(a, "float32") for a in (X, W))

    def loss(w, x):
        return (module.conv2d(x[None], w, (2, 1), "SAME", activation="tanh") ** 2).sum()

    for f in (jax.vmap(jax.grad(loss), (None, 0)), jax.jit(jax.vmap(jax.grad(loss), (None, 0)))):
        for mine, one in zip(f(w, x), x, strict=True):
            assert np.array_equal(mine, jax.grad(loss)(w, one))


def test_jax_takes_steps_as_arrays():
    module = adapter("jax")
    import jax

    x, w, up = (jax.numpy.asarray(a, "float32") for a in (X, W, rng.standard_normal((3, 2, 2, 3))))
    pads, two = np.array([[1, 1], [0, 1]]), np.array([2, 1])
    y = module.conv2d(x, w, two, pads, dilations=two)
    assert np.array_equal(y, nn.conv2d(np.asarray(x), np.asarray(w), two, pads, dilations=two))
    assert jax.grad(lambda x: module.conv2d(x, w, two, pads, dilations=two).sum())(x).shape == x.shape
    assert jax.jit(lambda x: module.conv2d_transpose(x, up, np.array([2, 10, 12, 2]), 2))(x).shape == (2, 10, 12, 2)


# ---- keras -----------------------------------------------------------------------------------------------------------

KERAS = """
import keras, numpy as np
from cyconv.ext.keras import install

rng = np.random.default_rng(0)
last = (2, 9, 8, 4)
layers = [
    (keras.layers.Conv1D(3, 3, strides=2, padding="same"), (2, 9, 4)),
    (keras.layers.Conv2D(6, (3, 2), dilation_rate=2, groups=2), last),
    (keras.layers.Conv2D(6, 3, padding="same", data_format="channels_first"), (2, 4, 9, 8)),
    (keras.layers.Conv3D(2, 2, strides=(1, 2, 1)), (1, 4, 5, 6, 3)),
    (keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), last),
    (keras.layers.SeparableConv1D(5, 3), (2, 9, 4)),
    (keras.layers.MaxPooling2D(3, 2, padding="same"), last),
    (keras.layers.AveragePooling3D(2, padding="same"), (1, 5, 4, 3, 2)),
]
for padding in ("valid", "same"):
    for taps, strides in ((3, 2), (2, 3), (4, 2), (1, 2)):
        layers.append((keras.layers.Conv2DTranspose(5, taps, strides, padding), last))
    layers.append((keras.layers.Conv1DTranspose(5, 3, 2, padding, output_padding=1), (2, 9, 4)))
    layers.append((keras.layers.Conv3DTranspose(5, 2, padding=padding, dilation_rate=2), (1, 3, 4, 5, 2)))
inputs = [rng.standard_normal(shape).astype("float32") for _, shape in layers]
theirs = [np.asarray(layer(x)) for (layer, _), x in zip(layers, inputs)]
undo = install()
assert keras.src.backend.nn.conv.__module__ == "cyconv.ext.keras"
for (layer, _), x, expected in zip(layers, inputs, theirs):
    y = np.asarray(layer(x))
    assert y.shape == expected.shape and y.dtype == expected.dtype, layer
    assert np.allclose(y, expected, rtol=1e-4, atol=1e-5), layer
undo()
assert keras.src.backend.nn.conv.__module__ != "cyconv.ext.keras"
print("same")
"""


def run_keras(code: str, backend: str):
    import os
    import subprocess
    import sys

    pytest.importorskip("keras", reason="keras is not installed")
    pytest.importorskip("jax", reason="jax is not installed")
    environment = os.environ | {"KERAS_BACKEND": backend}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)


def test_keras_layers_equal_its_own():
    done = run_keras(KERAS, "numpy")
    assert done.stdout == "same\n", done.stderr


def test_keras_on_another_backend_is_refused():
    done = run_keras("import cyconv.ext.keras", "jax")
    assert "keras runs on jax: set KERAS_BACKEND=numpy before it is imported" in done.stderr


@pytest.mark.parametrize("name", ["conv1d", "conv2d"])
def test_autograd_of_a_border_of_a_constant(name):
    """It is a term of the input's: the input gradient's own gradients do not have it."""
    module = adapter("autograd")
    from autograd.test_util import check_grads

    x, w = (X[0], W[0]) if name == "conv1d" else (X, W)
    op = getattr(module, name)
    check_grads(lambda x, w: op(x, w, 1, "SAME", padding_mode=("constant", 2.0)) ** 2, modes=["rev"], order=3)(x, w)


def test_autograd_takes_arguments_by_name():
    module = adapter("autograd")
    y = module.conv1d(input=X[0], filters=W[0], stride=2, padding="SAME", dilations=1, bias=B)
    assert np.array_equal(y, nn.conv1d(X[0], W[0], 2, "SAME", bias=B))
    up = W.transpose(0, 1, 3, 2)[..., :3]
    y = module.conv2d_transpose(X, up, output_shape=(2, 10, 12, 4), strides=2)
    assert np.array_equal(y, nn.conv2d_transpose(X, up, (2, 10, 12, 4), 2))
    y = module.depthwise_conv2d(X, W[..., :1], (1, 1, 1, 1), "VALID", "NHWC", (2, 1))
    assert np.array_equal(y, nn.depthwise_conv2d(X, W[..., :1], (1, 1, 1, 1), "VALID", "NHWC", (2, 1)))


@pytest.mark.parametrize("extra", ["activation", "residual", "out", "groups", "name"])
def test_autograd_refuses_what_it_does_not_differentiate(extra):
    module = adapter("autograd")
    for name, args in (("conv2d", (1, "SAME")), ("conv2d_transpose", ((2, 5, 6, 3), 1))):
        with pytest.raises(TypeError, match=rf"{name}: cyconv.ext.autograd takes no '{extra}'"):
            getattr(module, name)(
                X, W if name == "conv2d" else W.transpose(0, 1, 3, 2)[..., :3], *args, **{extra: None}
            )


def test_jax_says_what_is_wrong_with_the_whole_input():
    module = adapter("jax")
    x, w = np.zeros((3, 5, 6, 3), np.float32), np.zeros((3, 2, 4, 4), np.float32)
    with pytest.raises(ValueError, match=r"input has 3 channels.*input.shape=\(3, 5, 6, 3\)"):
        module.conv2d(x, w, 1, "SAME")
    y = module.conv2d(x.tolist(), np.ones((3, 2, 3, 4), np.float32), 1, "SAME")
    assert y.shape == (3, 5, 6, 4)
    with pytest.raises(TypeError, match=r"conv2d: cyconv.ext.jax takes no 'out'"):
        module.conv2d(x, np.ones((3, 2, 3, 4), np.float32), 1, "SAME", out=np.empty((3, 5, 6, 4), np.float32))
