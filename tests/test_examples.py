"""The example programs: every one runs, and the pretrained networks give what was recorded, layer by layer."""

import gzip
import json
import os
import subprocess
import sys
import wave
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NETWORKS = (
    "crepe_tiny", "deepbrain_unet3d", "efficientnet_lite0", "inception_v3_trunk", "movenet_lightning", "u2netp",
    "waifu2x_upconv7_photo",
)  # fmt: skip

missing = [name for name in ("matplotlib", "PIL", "tqdm") if find_spec(name) is None]
pytestmark = [
    pytest.mark.examples,
    pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install 'cyconv[examples]'"),
]


def folder(variable):
    path = os.environ.get(variable)
    if not path or not Path(path).is_dir():
        pytest.skip(f"{variable} must name a folder (see docs/examples/index.md)")
    return Path(path)


@pytest.fixture(scope="module")
def models():
    return folder("CYCONV_MODELS")


@pytest.fixture(scope="module")
def data():
    return folder("CYCONV_DATA")


@pytest.fixture
def network(monkeypatch):
    """The interpreter module."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return pytest.importorskip("network")


def run(program, *arguments, cwd):
    """The finished process of a program that imports what this process imports."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(EXAMPLES / program), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)


SMOKE = {
    "classify.py": ((), "espresso 95.2%"),
    "segment_volume.py": ((), "Dice with the recorded mask: 1.0000"),
    "upsample.py": ((), "PSNR of waifu2x: 35.2"),
    "salient.py": ((), "55% stand out"),
    "pitch.py": ((), "pitch: median 115 Hz"),
    "pose.py": ((), "nose:  58%"),
    "transfer_learning.py": (("--per-class", 2, "--views", 1, "--judged", 1, "--epochs", 2), "accuracy: validation"),
    "deep_dream.py": (("--octaves", 1, "--steps", 1), "cosine 0.9999"),
    "forecast.py": (("--steps", 3), "network: "),
}


@pytest.mark.parametrize("program", SMOKE)
def test_program(program, models, data, tmp_path):
    arguments, said = SMOKE[program]
    done = run(program, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    (picture,) = tmp_path.glob("*.png")
    assert picture.stem == Path(program).stem
    assert picture.stat().st_size > 5000


def test_mnist_cnn(tmp_path):
    """Learns made-up digits, a bright square in one of ten places; the files are MNIST's, one form each."""
    rng = np.random.default_rng(0)
    for part, count, pack in (("train", 640, gzip.compress), ("t10k", 100, bytes)):
        labels, end = rng.integers(0, 10, count, np.uint8), ".gz" if part == "train" else ""
        images = rng.integers(0, 50, (count, 28, 28), np.uint8)
        for image, k in zip(images, labels):
            image[k // 5 * 14 + 4 :, k % 5 * 5 + 1 :][:6, :4] += 200
        (tmp_path / f"{part}-images-idx3-ubyte{end}").write_bytes(pack(bytes(16) + images.tobytes()))
        (tmp_path / f"{part}-labels-idx1-ubyte{end}").write_bytes(pack(bytes(8) + labels.tobytes()))
    done = run("mnist_cnn.py", "--data", tmp_path, "--epochs", 4, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "421,642 weights, 640 images" in done.stdout
    assert float(done.stdout.split("test accuracy: ")[-1].split("%")[0]) >= 80
    assert (tmp_path / "mnist_cnn.png").stat().st_size > 5000


@pytest.mark.parametrize("program", [*SMOKE, "mnist_cnn.py", "network_speed.py"])
def test_help_needs_no_folder(program, tmp_path):
    done = run(program, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ")


def test_absent_folder_is_named(tmp_path):
    done = run("pose.py", "--models", "nowhere", cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.startswith("there is no nowhere")
    assert done.stderr.count("\n") == 1


def test_files_that_are_something_else_are_named(tmp_path, network):
    """Before anything is computed, in one line."""
    other, cut = tmp_path / "other", tmp_path / "cut.png"
    other.write_text("date,value\n1958-03-29,316.1\n")
    import_module("PIL.Image").fromarray(np.arange(3000, dtype=np.uint8).reshape(20, 50, 3)).save(cut)
    cut.write_bytes(cut.read_bytes()[:90])
    np.save(tmp_path / "flat.npy", np.ones((3, 3)))
    with wave.open(str(tmp_path / "whole.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(200))
    sound = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "half.wav").write_bytes(sound[:-7])
    (tmp_path / "still.wav").write_bytes(sound[:24] + bytes(4) + sound[28:])  # 0 Hz
    reads = [
        ("pitch", "read_wav", tmp_path / "half.wav", "not a WAV file"),
        ("pitch", "read_wav", tmp_path / "still.wav", "no sound"),
        ("command_line", "photograph", cut, "Pillow can read"),
        ("command_line", "photograph", other, "Pillow can read"),
        ("segment_volume", "read", other, "a volume of numbers"),
        ("segment_volume", "read", tmp_path / "flat.npy", "a volume of numbers"),
        ("pitch", "read_wav", other, "not a WAV file"),
        ("forecast", "read", other, "300 weeks or more are wanted, not 1"),
        ("forecast", "read", cut, "date,value"),
    ]
    for module, function, path, said in reads:
        with pytest.raises(SystemExit, match=said):
            getattr(import_module(module), function)(path)


def test_photographs_may_have_16_bits(tmp_path, network):
    image = import_module("PIL.Image")
    image.fromarray(np.full((8, 8), 32768, np.uint16)).save(tmp_path / "grey.png")
    assert np.all(np.asarray(import_module("command_line").photograph(tmp_path / "grey.png")) == 128)


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        ("forecast.py", ("--steps", "0"), "'0' is not 1, 2"),
        ("forecast.py", ("--output", "nowhere/a.png"), "there is no folder nowhere"),
        ("mnist_cnn.py", ("--epochs", "-1"), "'-1' is not 1, 2"),
    ],
)
def test_options_that_make_no_sense(program, arguments, said, tmp_path):
    folders = ("--data", tmp_path) if program == "mnist_cnn.py" else ()
    done = run(program, *folders, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("program", "said"), [("classify.py", "alone"), ("pose.py", "nose"), ("salient.py", "stand out")]
)
def test_a_photograph_of_nothing(program, said, models, data, tmp_path):
    import_module("PIL.Image").new("RGB", (60, 40)).save(tmp_path / "alone.jpg")
    done = run(program, tmp_path / "alone.jpg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
    assert "nan" not in done.stdout


def test_a_volume_of_nothing(models, data, tmp_path):
    np.save(tmp_path / "nothing.npy", np.zeros((9, 10, 11)))
    done = run("segment_volume.py", tmp_path / "nothing.npy", cwd=tmp_path)
    assert done.stderr.splitlines()[-1] == "there is nothing to draw"
    assert "0.0% are brain" in done.stdout


def test_a_photograph_too_small_for_the_layers(models, data, tmp_path):
    import_module("PIL.Image").new("RGB", (1, 1)).save(tmp_path / "pixel.png")
    done = run("deep_dream.py", tmp_path / "pixel.png", "--octaves", 1, "--steps", 1, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "padded input has only 0" in done.stderr


def test_network_speed_outlives_a_library(tmp_path):
    program = """import os, network_speed
class Folder:
    name = "any"
    def __reduce__(self):
        return os._exit, (3,)
print(network_speed.measure(["torch"], Folder(), 1, 1))"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(EXAMPLES), *sys.path]))}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "any: torch cannot run it: its process has ended\n{}\n"


def test_network_speed(models, tmp_path):
    chosen = ("--networks", "efficientnet_lite0", "--threads", 1, "--rounds", 1)
    done = run("network_speed.py", *chosen, "--libraries", "cyconv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert " ms" in done.stdout.splitlines()[-1]
    done = run("network_speed.py", *chosen, "--layers", cwd=tmp_path)
    assert done.stdout.count("conv2d") == 49


@pytest.mark.parametrize("name", NETWORKS)
def test_every_recorded_layer(name, models, network):
    # A sum of 2,826 that cancels to 24 precedes the end of u2netp; float32 itself is 5e-5 off there.
    bars = {"1959": 1e-4}
    for layer, error in network.errors(models / name).items():
        assert error <= bars.get(layer, 2e-5), layer


@pytest.mark.parametrize("name", NETWORKS)
def test_fusion_changes_nothing(name, models, network):
    """A layer at a time, all outputs kept so that nothing can be fused, gives the fused network's output."""
    x, _ = network.recorded(models / name)
    fused = network.Network(models / name)
    nodes = json.loads((models / name / "graph.json").read_text())["nodes"]
    alone = network.Network(models / name, [node["name"] for node in nodes[1:]])
    assert len(alone.layers) == len(nodes) - 1 > len(fused.layers)
    expected = alone(x)
    for output, y in fused(x).items():
        assert np.abs(y - expected[output]).max() <= 1e-4 * np.abs(y).max()


def test_top_five(models, network):
    folder = models / "efficientnet_lite0"
    labels = json.loads((folder / "imagenet_labels.json").read_text())
    expected = json.loads((folder / "expected_top5.json").read_text())
    with np.load(folder / "photos_224.npz") as photos:
        images = (photos["image_u8"].astype(np.float32) - 127) / 128
        names = photos["names"].tolist()
    probabilities = network.Network(folder)(images)["probs"]
    for name, p in zip(names, probabilities):
        best = p.argsort()[::-1][:5]
        assert [labels[k] for k in best] == [label for label, _ in expected[name]]
        np.testing.assert_allclose(p[best], [chance for _, chance in expected[name]], atol=1e-4)


def test_layer_that_is_not_there(models, network):
    with pytest.raises(ValueError, match="crepe_tiny has no layer conv9"):
        network.Network(models / "crepe_tiny", ["conv9"])
