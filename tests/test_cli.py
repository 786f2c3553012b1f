"""The command line: what it prints, draws and refuses."""

import inspect
import json
import math
import mmap
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import cyconv
from cyconv import _bench, _demo, _info, _peers
from cyconv.__main__ import OPS as OPS_WITH_PLANS, main

ROOT = Path(cyconv.__file__).parents[1]  # where `python -m cyconv` finds it, installed or built in place
OPS = {
    "convolution", "conv1d", "conv2d", "conv3d", "atrous_conv2d", "conv1d_transpose", "conv2d_transpose",
    "conv3d_transpose", "conv_transpose", "atrous_conv2d_transpose", "depthwise_conv2d", "separable_conv2d", "bias_add",
}  # fmt: skip


@pytest.fixture
def without(monkeypatch):
    """Modules that cannot be imported, though they may be installed."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def refused(capsys, *arguments):
    """The one line on stderr of a command that exits with 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


# ---- demo


@pytest.fixture(scope="module")
def jobs():
    return list(_demo.jobs(_demo.photograph(None)[:, :64, :96]))


def test_demo_has_every_op(jobs):
    assert {job.op for job in jobs} == OPS
    assert len(jobs) == len(OPS)


def test_demo_agrees_with_numpy(jobs):
    for job in jobs:
        y, expected = job.run(job.x, *job.filters), job.by_hand(job.x, *job.filters)
        assert y.shape == expected.shape, job.op
        assert y.dtype == np.float32, job.op
        np.testing.assert_allclose(y, expected, atol=1e-5, err_msg=job.op)
        assert np.ptp(job.show(y)) > 0.05, f"{job.op} shows nothing"


def test_demo_photograph_is_the_cat():
    photo = _demo.photograph(None)
    assert photo.shape == (1, 224, 336, 3)
    assert photo.dtype == np.float32
    red, green, blue = photo[0, 177:183, 192:198].mean((0, 1))
    assert red > 2 * green > 4 * blue, "the nose is red"


def test_demo_prints_a_line_for_every_op_and_draws(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    main(["demo", "--threads", "1", "--output", str(tmp_path / "sheet.png")])
    printed = capsys.readouterr().out
    lines = {line.split()[0]: line for line in printed.splitlines() if "->" not in line and "x   " in line}
    assert set(lines) >= OPS
    assert "threads: 1" in printed
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_demo_without_matplotlib_still_prints(tmp_path, capsys, without, monkeypatch):
    without("matplotlib", "matplotlib.figure")
    monkeypatch.setattr(_demo, "jobs", lambda photo: [next(iter(_demo_jobs(photo)))])
    main(["demo", "--output", str(tmp_path / "sheet.png")])
    printed = capsys.readouterr().out
    assert "conv2d" in printed
    assert "pip install 'cyconv[demo]'" in printed
    assert not (tmp_path / "sheet.png").exists()


_demo_jobs = _demo.jobs


def test_demo_takes_your_photograph(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="your own photograph needs Pillow")
    path = tmp_path / "wide.jpg"
    image.fromarray(np.full((403, 1290, 4), 200, np.uint8)).convert("RGB").save(path)
    photo = _demo.photograph(path)
    assert photo.shape == (1, 200, 640, 3), "scaled to 640, cut to multiples of 4"
    np.testing.assert_allclose(photo, 200 / 255, atol=0.01)


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_demo_takes_16_bits_of_grey(name, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="your own photograph needs Pillow")
    grey = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    image.fromarray(grey).save(tmp_path / name)
    photo = _demo.photograph(tmp_path / name)
    np.testing.assert_allclose(photo[0], np.repeat(grey[..., None] / 65535, 3, -1), atol=0.01)


def test_demo_errors_are_one_line(tmp_path, capsys, without, monkeypatch):
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    assert "absent.jpg: no such file" in refused(capsys, "demo", str(tmp_path / "absent.jpg"))
    if find_spec("PIL"):
        assert "notes.txt: no image that Pillow can read" in refused(capsys, "demo", str(text))
        from PIL import Image

        Image.new("RGB", (40, 8)).save(tmp_path / "small.png")
        assert "40 x 8 pixels" in refused(capsys, "demo", str(tmp_path / "small.png"))

        def fail(path):
            raise RuntimeError("Failed to decode image")  # which Pillow's AVIF raises

        monkeypatch.setattr(Image, "open", fail)
        assert "small.png: no image that Pillow can read" in refused(capsys, "demo", str(tmp_path / "small.png"))
    without("PIL", "PIL.Image", "PIL.ImageOps")
    assert "needs Pillow: pip install 'cyconv[demo]'" in refused(capsys, "demo", str(text))


def test_demo_says_in_a_line_that_memory_lacks(capsys, monkeypatch):
    monkeypatch.setattr(_demo, "windows", lambda *_: np.empty(1 << 60, np.int8))
    assert "Unable to allocate" in refused(capsys, "demo")


def test_demo_refuses_an_output_that_cannot_be_written(tmp_path, capsys):
    assert "no-such-folder" in refused(capsys, "demo", "--output", str(tmp_path / "no-such-folder" / "sheet.png"))


# ---- info


def test_info_as_text_and_as_json(capsys):
    main(["info"])
    text = capsys.readouterr().out
    main(["info", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts == _info.show_config("dict")
    assert facts["cyconv"] == cyconv.__version__
    assert facts["isa"]["chosen"] == cyconv.current_isa()
    assert facts["isa"]["available"] == list(cyconv.available_isas())
    assert facts["threads"]["count"] == cyconv.get_num_threads()
    assert any("omp" in library for library in facts["openmp"]["libraries"])
    for name in facts:
        assert f"{name}:" in text
    assert cyconv.current_isa() in text


def test_info_says_which_rule_decided():
    with cyconv.threads(3), cyconv.isa("baseline"):
        facts = _info.show_config("dict")
    assert facts["threads"]["count"] == 3
    assert "cyconv.threads" in facts["threads"]["why"]
    assert facts["isa"]["chosen"] == "baseline"
    with pytest.raises(ValueError, match="show_config: mode='json'"):
        _info.show_config("json")


def test_info_finds_libraries_in_folders_of_any_name(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"two words, \xff")
    os.mkdir(folder)
    with open(os.path.join(folder, b"libgomp-1a.so.1"), "w+b") as file:
        file.truncate(4096)
        with mmap.mmap(file.fileno(), 4096):
            found = _info.openmp_libraries()
    assert any(path.startswith(str(tmp_path)) and path.endswith("/libgomp-1a.so.1") for path in found)


# ---- bench


def test_layers_count_their_work():
    by_name = {layer.name: layer for layer in _bench.LAYERS}
    assert by_name["ResNet-50 3x3"].flops() == 2 * 56 * 56 * 64 * 64 * 9
    assert by_name["ResNet-50 7x7 /2"].flops() == 2 * 112 * 112 * 64 * 3 * 49
    assert by_name["MobileNetV2 depthwise"].flops() == 2 * 56 * 56 * 144 * 9
    assert by_name["U-Net up 2x2"].flops() == 2 * 56 * 56 * 128 * 64 * 4
    assert by_name["Xception separable"].flops() == 2 * 19 * 19 * (728 * 9 + 728 * 728)


def channels_last(library, y):
    """What a library gave, as TensorFlow would give it."""
    y = next(iter(y.values())) if library == "openvino" else y[0] if library == "onnxruntime" else y
    y = np.asarray(y)
    if library in ("scipy", "opencv"):
        return y[None, ..., None]
    return np.moveaxis(y, 1, -1) if library in ("torch", "onnxruntime", "openvino") else y


@pytest.mark.parametrize("library", _peers.MAKERS)
def test_peers_compute_the_same_layers(library, monkeypatch):
    """A table that compares different computations would be worth nothing."""
    for module in _bench.NEEDS.get(library, (library,)):
        if not find_spec(module):
            pytest.skip(f"{module} is not installed")
    for variable in ("XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL"):  # which the makers set
        monkeypatch.setenv(variable, "")
    make, ran = _peers.MAKERS[library](1), 0
    for layer in _bench.LAYERS:
        small = layer._replace(
            x=(1, *(min(n, 12) for n in layer.x[1:-1]), layer.x[-1]), dilation=min(layer.dilation, 2)
        )
        x, filters = small.arrays()
        try:
            y = channels_last(library, make(small, x, filters)())
        except NotImplementedError:
            continue
        expected = _peers.MAKERS["cyconv"](1)(small, x, filters)()
        np.testing.assert_allclose(y, expected, atol=1e-4, err_msg=layer.name)
        ran += 1
    assert ran


def test_bench_leaves_a_library_that_hangs(monkeypatch):
    """And waits without a thread, which would keep a process that Ctrl-C ends."""
    monkeypatch.delattr("threading.Thread.start")
    monkeypatch.setattr(_bench, "PATIENCE", 0.1)
    library = object.__new__(_bench.Library)
    library.process = subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert library.answer() == ""
    assert library.turn(0, 0.1) == []
    library.close()


def test_bench_prints_the_table(tmp_path, capsys, monkeypatch):
    tiny = _peers.Layer("tiny", "conv", (1, 8, 8, 4), ((3, 3, 4, 8),))
    times = {"cyconv": 1e-3, "torch": 2e-3, "numpy": 4e-3}
    line = _bench.row(tiny, times, ["cyconv", "torch", "scipy", "numpy"], peak=1.0)
    assert line.split("|")[3:9] == [
        "     1.000 ",
        "     2.000 ",
        "         - ",
        "     4.000 ",
        "    4% ",
        "  0.50 torch       ",
    ]
    assert _bench.best_peer({"cyconv": 1.0})[0] == ""
    assert math.isnan(_bench.best_peer({"cyconv": 1.0})[1])


def test_bench_runs(tmp_path):
    output = tmp_path / "bench.png"
    command = [
        sys.executable,
        "-m",
        "cyconv",
        "bench",
        "--quick",
        "--peers",
        "numpy",
        "--threads",
        "1",
        "--output",
        output,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=True)
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(_bench.QUICK)
    assert "measured FMA peak" in done.stdout
    assert output.exists() == bool(find_spec("matplotlib"))


def test_bench_knows_no_more_peaks_than_cores(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_bench._runtime, "fma_peak", lambda seconds, isa: 100.0)
    monkeypatch.setattr(_bench, "QUICK", ())
    monkeypatch.setattr(_bench, "chart", lambda *_: None)
    cores = len(os.sched_getaffinity(0))
    main(["bench", "--quick", "--peers", "", "--threads", str(cores + 1)])
    assert f"threads: {cores + 1}; measured FMA peak: {100 * cores} GFLOP/s" in capsys.readouterr().out


def test_bench_refuses_unknown_peers(capsys):
    assert "--peers: fast is not known" in refused(capsys, "bench", "--peers", "numpy,fast")


def test_a_library_that_dies_is_left_out(tmp_path):
    library = _bench.Library("nobody", 1)
    assert library.answer() == ""
    assert library.turn(0, 0.01) == []
    library.close()


# ---- explain


def test_explain_tells_what_a_call_would_do(capsys):
    main(["explain", "conv2d", "1x30x30x4", "3x3x4x8", "strides=2", "padding=VALID"])
    printed = capsys.readouterr().out
    assert printed.startswith("conv2d -> (1, 14, 14, 8): direct")
    assert "not winograd" in printed


def test_explain_knows_the_ops_that_have_plans():
    for name in OPS_WITH_PLANS:
        assert "residual" in inspect.signature(getattr(cyconv, name)).parameters
    assert {"conv1d", "atrous_conv2d", "separable_conv2d", "conv_transpose"} < set(OPS_WITH_PLANS)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (["1x30x30x4", "3x3x3x8", "strides=1", "padding=SAME"], "input has 4 channels but filters expect 3"),
        (["1x30x30x4", "3x3x4x8", "strides=1"], "padding"),
        (["1x30x30x4", "3x3xfour", "strides=1", "padding=SAME"], "four"),
        (["1x30x30x4", "3x3x4x8", "strides=1", "padding=SAME", "colour=1"], "colour"),
        (["1x30x30x4", "3x3x4x8", "strides=" + "-" * 5000 + "1", "padding=SAME"], "strides must be an integer"),
        (["1x30x30x4", "99999x99999x4x99999", "strides=1", "padding=SAME"], "99999"),
    ],
)
def test_explain_refuses_in_one_line(call, error, capsys):
    assert error in refused(capsys, "explain", "conv2d", *call)


# ---- all


@pytest.mark.parametrize("arguments", [[], ["demo"], ["info"], ["bench"], ["explain"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m cyconv")


@pytest.mark.parametrize(
    "arguments",
    [["demo", "--threads", "0"], ["demo", "--threads", "2147483648"], ["bench", "--threads", "two"], ["fly"], []],
)
def test_wrong_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_import_is_lean():
    """`import cyconv` brings no plotting, no pictures and no command line with it."""
    code = "import sys, cyconv; print(*{m for m in sys.modules if m.startswith(('matplotlib', 'PIL', 'cyconv._', 'argparse'))})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    unwanted = {"matplotlib", "PIL", "argparse", "cyconv._demo", "cyconv._bench", "cyconv._peers", "cyconv.__main__"}
    assert not unwanted & set(loaded)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["info --json", "explain conv2d 1x8x8x3 3x3x3x4 padding=SAME strides=1"])
def test_a_closed_pipe_is_no_error(command, unbuffered):
    """The reader has gone before anything is written, at once or at the end."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "cyconv", *command.split()],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 0


def test_a_closed_stdout_is_no_error():
    command = [sys.executable, "-m", "cyconv", "info"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.stderr == ""
    assert done.returncode == 0


@pytest.mark.parametrize("encoding", ["ascii", "utf-8:strict"])
def test_names_that_stdout_cannot_encode(encoding):
    code = """from cyconv import __main__, _demo
jobs = _demo.jobs
_demo.jobs, _demo.sheet = (lambda photo: [next(jobs(photo))]), (lambda *_: None)
__main__.main(["demo", "--output", "\\xfc\\udcff.png"])"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert done.stderr == b""
    assert done.stdout.splitlines()[-1].endswith(rb"\udcff.png")
