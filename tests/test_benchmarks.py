"""The asv suite: every layer is well formed, and every kind of measurement runs."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="only a checkout has benchmarks/")
FAMILIES = ("convolution", "depthwise", "transpose")


@pytest.fixture
def suite(monkeypatch):
    """Import a module of benchmarks/."""
    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def classes(module):
    return {name: value for name, value in vars(module).items() if isinstance(value, type) and not name.startswith("_")}


def test_layers_have_one_name_each_and_all_are_timed(suite):
    layers = suite("shapes").LAYERS
    assert len({layer.name for layer in layers}) == len(layers)
    assert all(layer.flops() > 0 for layer in layers)
    benchmarks = [c for family in FAMILIES for c in classes(suite(f"bench_{family}")).values()]
    assert sorted(name for c in benchmarks for name in c.params[0]) == sorted(2 * [layer.name for layer in layers])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_measurement_runs(suite, family, monkeypatch):
    module = suite(f"bench_{family}")
    shapes, measure = suite("shapes"), suite("measure")
    kind = {"convolution": "conv"}.get(family, family)
    tiny = next(layer for layer in shapes.LAYERS if layer.op == kind)._replace(x=(1, 8, 8, shapes.LAYERS[0].x[-1]))
    tiny = tiny._replace(filters=((3, 3, 3, 1 if kind == "depthwise" else 3),), name="tiny")
    monkeypatch.setitem(shapes.BY_NAME, "tiny", tiny)
    monkeypatch.setattr(measure, "seconds", lambda run: run() is None or 1.0)
    for name, benchmark in classes(module).items():
        parameters = ("tiny",) if name.endswith("Rate") else ("tiny", "cyconv")
        for method in (m for m in dir(benchmark) if m.startswith(("time_", "peakmem_", "track_"))):
            measured = benchmark()
            measured.setup(*parameters)
            if (family, method) == ("depthwise", "track_ratio_to_gemm"):
                with pytest.raises(NotImplementedError):
                    measured.track_ratio_to_gemm("tiny")
            else:
                result = getattr(measured, method)(*parameters)
                assert (result > 0) if method.startswith("track_") else (result is None)


@pytest.mark.parametrize(("family", "name"), [("gradients", "Gradients"), ("pooling", "Pooling")])
def test_gradients_and_pools_are_measured(suite, family, name, monkeypatch):
    benchmark = getattr(suite(f"bench_{family}"), name)()
    monkeypatch.setattr(suite("bench_pooling"), "seconds", lambda run: run() is None or 1.0)
    parameters = ("tiny.8x8",) if family == "gradients" else ("global.7x7", "NCHW")
    for method in (m for m in dir(benchmark) if m.startswith(("time_", "peakmem_", "track_"))):
        benchmark.setup(*parameters)
        assert getattr(benchmark, method)(*parameters) is None or method.startswith("track_")
    for layer in benchmark.params if family == "gradients" else ():
        assert suite("shapes").BY_NAME[layer].op in ("conv", "depthwise")


def test_a_missing_peer_is_not_available(suite, monkeypatch):
    measure = suite("measure")

    def missing(threads):
        raise ImportError("no such library")

    monkeypatch.setitem(measure._peers.MAKERS, "torch", missing)
    with pytest.raises(NotImplementedError, match="torch is not installed"):
        measure.prepared("tiny.8x8", "torch")


def test_trend_leaves_out_commits_that_are_no_more(suite, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="the picture needs matplotlib")
    trend, output = suite("trend"), tmp_path / "trend.png"
    monkeypatch.setattr(trend, "history", lambda: ["a", "b"])
    monkeypatch.setattr(trend, "series", lambda *_: {"kept": {"a": 1.0, "x": 2.0}, "rebased": {"x": 1.0}})
    monkeypatch.setattr("sys.argv", ["trend.py", "--output", str(output)])
    trend.main()
    assert output.read_bytes().startswith(b"\x89PNG")
