"""Draw a tracked figure of asv's results over the commits they were recorded for.

    python benchmarks/trend.py [--benchmark track_percent_of_peak] [--output trend.png]

Needs asv and matplotlib. One line a layer, commits in the order of their history; the median of all layers is bold.
"""

import argparse
import itertools
import statistics
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def history() -> list[str]:
    """All commits, oldest first."""
    log = subprocess.run(
        ["git", "log", "--reverse", "--format=%H"], cwd=HERE, capture_output=True, text=True, check=True
    )
    return log.stdout.split()


def series(results: Path, name: str) -> dict[str, dict[str, float]]:
    """layer -> commit -> value, of the benchmarks whose names end in `name`."""
    from asv.results import iter_results  # asv imports every module here where neither it nor matplotlib is installed

    found: dict[str, dict[str, float]] = {}
    for result in iter_results(str(results)):
        for key in result.get_all_result_keys():
            if key.endswith(name):
                params = [" ".join(p).strip("'") for p in itertools.product(*result.get_result_params(key))]
                for layer, value in zip(
                    params, result.get_result_value(key, result.get_result_params(key)), strict=True
                ):
                    if value is not None and value == value:
                        found.setdefault(layer, {})[result.commit_hash] = value
    return found


def main() -> None:
    from matplotlib.figure import Figure

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / ".asv/results")
    parser.add_argument("--benchmark", default="track_percent_of_peak")
    parser.add_argument("--output", type=Path, default=Path("trend.png"))
    arguments = parser.parse_args()
    lines = series(arguments.results, arguments.benchmark)
    commits = [c for c in history() if any(c in line for line in lines.values())]
    lines = {layer: line for layer, line in lines.items() if not line.keys().isdisjoint(commits)}  # others were rebased
    figure = Figure((10, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for layer, line in sorted(lines.items()):
        x = [i for i, c in enumerate(commits) if c in line]
        y = [line[commits[i]] for i in x]
        axes.plot(x, y, color="0.75", linewidth=1)
        axes.annotate(layer, (x[-1], y[-1]), (4, -2), textcoords="offset points", fontsize=6, color="0.4")
    middle = [statistics.median(line[c] for line in lines.values() if c in line) for c in commits]
    axes.plot(middle, color="tab:blue", linewidth=3, marker="o", label="median of the layers")
    axes.set_xticks(range(len(commits)), [c[:7] for c in commits], rotation=30)
    axes.set_ylabel(arguments.benchmark.removeprefix("track_").replace("_", " "))
    axes.set_xmargin(0.12)
    axes.legend(loc="upper left")
    figure.savefig(arguments.output, dpi=110)


if __name__ == "__main__":
    main()
