"""Deep dream: change a photograph, octave by octave, into what excites some layers of Inception v3 most.

    python examples/deep_dream.py --models DIR --data DIR [IMAGE] [--layers mixed1 mixed2] [--steps 10]

The objective is the sum of the layers' means; its gradient with respect to the image goes back through the network layer by
layer: conv2d_vjp, max_pool_grad, avg_pool_grad. Loss and gradient are first compared with the recorded ones.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
from command_line import Array, existing, parser, photograph, positive, save
from matplotlib.figure import Figure
from network import Layer, Network, recorded
from operations import resize
from PIL import Image
from tqdm import tqdm

import cyconv as nn


def conv_gradient(layer: Layer, g: Array, y: Array, x: Array) -> tuple[Array, ...]:
    filters, how = layer.weights["filters"], layer.parameters
    return nn.conv2d_vjp(x, filters, g, **how, activation=layer.activation, output=y, wrt="input")


def concat_gradient(layer: Layer, g: Array, y: Array, *xs: Array) -> Sequence[Array]:
    return np.split(g, np.cumsum([x.shape[-1] for x in xs])[:-1], axis=-1)


#: By op: the gradient with respect to each input, from that with respect to the output y.
GRADIENTS: dict[str, Callable[..., Sequence[Array]]] = {
    "conv2d": conv_gradient,
    "concat": concat_gradient,
    "max_pool": lambda layer, g, y, x: [nn.max_pool_grad(x, y, g, **layer.parameters)],
    "avg_pool": lambda layer, g, y, x: [nn.avg_pool_grad(x.shape, g, **layer.parameters)],
}


def loss_and_gradient(network: Network, x: Array) -> tuple[float, Array]:
    """The sum of the means of the network's outputs, and its gradient with respect to x."""
    values = {network.input: x} | {layer.name: y for layer, y in network.run(x)}
    loss = sum(float(values[name].mean()) for name in network.outputs)
    gradients = {name: np.full_like(values[name], 1 / values[name].size) for name in network.outputs}
    for layer in reversed(network.layers):
        inputs = [values[name] for name in layer.inputs]
        back = GRADIENTS[layer.op](layer, gradients.pop(layer.name), values.pop(layer.name), *inputs)
        for name, g in zip(layer.inputs, back):
            gradients[name] = gradients[name] + g if name in gradients else g
    return loss, gradients[network.input]


def verify(folder: str) -> None:
    """Compare loss and gradient with the recorded ones, computed in float64."""
    x, _ = recorded(folder)
    loss, gradient = loss_and_gradient(Network(folder, ["mixed3", "mixed5"]), x)
    with np.load(existing(folder / "deepdream_ref.npz")) as reference:
        expected_loss, expected = float(reference["loss"]), reference["grad"]
    norms = np.linalg.norm(gradient) * np.linalg.norm(expected)
    cosine = float((gradient * expected).sum(dtype=float) / norms)
    distance = float(np.linalg.norm(gradient - expected) / np.linalg.norm(expected))
    print(
        f"loss {loss:.7f}, recorded {expected_loss:.7f}; gradient: relative distance {distance:.1e}, cosine {cosine:.7f}"
    )
    # ReLU and pooling ties flip in float32, which changes the gradient a little.
    if distance > 5e-3 or cosine < 0.9999:
        raise SystemExit("the gradient is not the recorded one")


def dream(network: Network, image: Array, octaves: Sequence[int], scale: float, steps: int, rate: float) -> Array:
    """Gradient ascent on the image (1, h, w, 3) in [0, 1], from the smallest octave to the largest."""
    rng = np.random.default_rng(0)
    change = np.zeros_like(image)
    with tqdm(total=len(octaves) * steps, desc="steps", leave=False) as bar:
        for octave in octaves:
            size = [round(side * scale**octave) for side in image.shape[1:3]]
            small, change = (resize(a, size, True, "bilinear", False) for a in (image, change))
            for _ in range(steps):
                # A random shift, so that strides and tile edges leave no pattern.
                shift = rng.integers(-16, 17, size=2)
                shifted = np.roll(small + change, shift, (1, 2))
                loss, gradient = loss_and_gradient(network, shifted)
                gradient = np.roll(gradient, -shift, (1, 2))
                change += rate * gradient / (np.abs(gradient).mean() + 1e-12)
                change = np.clip(small + change, 0, 1) - small
                bar.set_postfix(octave=octave, loss=f"{loss:.4f}")
                bar.update()
    return small + change


def main() -> None:
    options = parser(__doc__, "deep_dream.png", "models", "data")
    options.add_argument("image", nargs="?", help="a photograph; it is made at most 450 pixels wide")
    options.add_argument("--layers", nargs="+", default=["mixed3"], metavar="NAME", help="default: mixed3")
    options.add_argument(
        "--octaves", type=positive, default=3, help="sizes, of which the image's own is the last (default: 3)"
    )
    options.add_argument("--scale", type=float, default=1.3, help="from an octave to the next (default: 1.3)")
    options.add_argument("--steps", type=positive, default=10, help="in each octave (default: 10)")
    options.add_argument("--rate", type=float, default=0.01, help="mean change of a pixel in a step (default: 0.01)")
    chosen = options.parse_args()
    folder = chosen.models / "inception_v3_trunk"
    verify(folder)

    if chosen.image:
        picture = photograph(chosen.image)
    else:
        with np.load(existing(chosen.data / "photos.npz")) as photos:
            picture = Image.fromarray(photos["china"])
    picture.thumbnail((450, 450))
    image = np.asarray(picture)[None].astype(np.float32) / 255
    try:
        network = Network(folder, chosen.layers)
        octaves = range(1 - chosen.octaves, 1)
        start = time.perf_counter()
        dreamed = dream(network, image, octaves, chosen.scale, chosen.steps, chosen.rate)
    except ValueError as error:  # a layer that is not there, an image too small for those that are
        raise SystemExit(str(error)) from None
    steps = chosen.octaves * chosen.steps
    print(f"{steps} steps in {time.perf_counter() - start:.1f} s")
    for name, pixels in (("before", image), ("after", dreamed)):
        print(f"{name}: loss {loss_and_gradient(network, pixels)[0]:.4f}")

    figure = Figure(figsize=(9, 4.5 * image.shape[1] / image.shape[2]), dpi=100)
    figure.subplots_adjust(0, 0, 1, 1, 0.01)
    for axis, pixels in zip(figure.subplots(1, 2), (image, dreamed)):
        axis.imshow(pixels[0])
        axis.set_axis_off()
    save(figure, chosen.output)


if __name__ == "__main__":
    main()
