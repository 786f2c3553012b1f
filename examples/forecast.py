"""Forecast a time series a year ahead: residual layers of causal, dilated conv1d, trained with cyconv's gradients.

    python examples/forecast.py [SERIES.csv]

Every week the network sees the changes of the past two and a half years and says how much the series will have changed
after 1, 2, ... 52 weeks. It is compared with the naive forecasts: the last value stays; the same week of last year; last
year's course from today's value on. Without a file it learns the weekly carbon dioxide at Mauna Loa, 1958 to 2001, trained
on the first 60 %, stopped by the next 20 %, and judged on the rest.
"""

from pathlib import Path

import numpy as np
from adam import Adam
from command_line import ACCENT, GREY, Array, existing, parser, positive, save
from matplotlib.figure import Figure
from tqdm import trange

import cyconv as nn

RATES = (1, 2, 4, 8, 16, 32)  # dilations; with 3 taps the field is 1 + 2 * 63 weeks
HORIZON = YEAR = 52
LEAST = 300  # weeks: of fewer one of the three parts would be empty


def read(path: Path) -> tuple[Array, Array]:
    """Dates and values of a file with two columns; missing values are interpolated."""
    try:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")][1:]
        dates, values = zip(*(line.split(",") for line in lines))
        series = np.array([float(value or "nan") for value in values])
        there, t = ~np.isnan(series), np.arange(len(series))
        read = np.array(dates, "datetime64[D]"), np.interp(t, t[there], series[there])
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: a heading, and then date,value in each line, are wanted: {error}") from None
    if len(series) < LEAST or not np.ptp(read[1][: len(series) * 6 // 10]):
        raise SystemExit(f"{path}: {LEAST} weeks or more are wanted, not {len(series)}, of values that change")
    return read


class Forecaster:
    """h = relu(conv1d(h) + h) for every rate, then a convolution of one tap to the forecasts of all horizons."""

    def __init__(self, channels: int, rng: np.random.Generator) -> None:
        shapes = [(3, channels if i else 1, channels) for i in range(len(RATES))] + [(1, channels, HORIZON)]
        self.filters = [rng.normal(0, 1 / np.sqrt(k * c), (k, c, m)).astype(np.float32) for k, c, m in shapes]
        self.biases = [np.zeros(m, np.float32) for _, _, m in shapes]
        self.how = [{"padding": "CAUSAL", "dilations": rate, "activation": "relu"} for rate in RATES] + [
            {"padding": "VALID"}
        ]

    def residual(self, i: int) -> bool:
        """Whether a layer adds its input; the first has more channels than its input, the last gives the forecasts."""
        return 0 < i < len(RATES)

    def forward(self, x: Array) -> list[Array]:
        """The input, and what each layer makes of it: all (1, weeks, channels)."""
        layers = [x]
        for i, (f, b, how) in enumerate(zip(self.filters, self.biases, self.how)):
            h = layers[-1]
            layers.append(nn.conv1d(h, f, 1, **how, bias=b, residual=h if self.residual(i) else None))
        return layers

    def gradients(self, layers: list[Array], g: Array) -> list[Array]:
        """With respect to all filters, then all biases, from g, that with respect to the forecasts."""
        filters, biases = [], []
        for i in reversed(range(len(self.filters))):
            wanted = ("filters", "bias", "input", "residual")
            df, db, dx, dr = nn.conv1d_vjp(
                layers[i], self.filters[i], g, 1, **self.how[i], output=layers[i + 1], wrt=wanted
            )
            filters.insert(0, df)
            biases.insert(0, db)
            g = dx + dr if self.residual(i) else dx
        return filters + biases


def naive(series: Array, t: Array) -> dict[str, Array]:
    """What the naive forecasts say at times t, (times, HORIZON)."""
    last_year = series[t[:, None] + np.arange(1, HORIZON + 1) - YEAR]
    today = series[t][:, None]
    return {
        "last value": today + np.zeros(HORIZON),
        "last year's value": last_year,
        "last year's course": last_year + today - series[t - YEAR][:, None],
    }


def main() -> None:
    options = parser(__doc__, "forecast.png")
    default = Path(__file__).with_name("mauna_loa_co2.csv")
    options.add_argument(
        "series", nargs="?", type=existing, default=default, metavar="SERIES.csv", help="date,value; weekly"
    )
    options.add_argument("--steps", type=positive, default=300, help="of training (default: 300)")
    options.add_argument("--channels", type=positive, default=16, help="default: 16")
    chosen = options.parse_args()
    dates, series = read(chosen.series)
    weeks = len(series)
    first = 1 + 2 * sum(RATES)  # from here on the whole field is known
    train, stop, test = (
        np.arange(a, b - HORIZON)
        for a, b in ((first, weeks * 6 // 10), (weeks * 6 // 10, weeks * 8 // 10), (weeks * 8 // 10, weeks))
    )
    ahead = np.arange(1, HORIZON + 1)
    changes = np.diff(series, prepend=series[0])
    x = (changes / changes[: weeks * 6 // 10].std()).astype(np.float32)[None, :, None]
    target = series[np.minimum(np.arange(weeks)[:, None] + ahead, weeks - 1)] - series[:, None]
    unit = target[train].std()

    network = Forecaster(chosen.channels, np.random.default_rng(0))
    optimizer = Adam(network.filters + network.biases, rate=3e-3)
    best, forecasts = np.inf, np.zeros_like(target)
    for step in (bar := trange(chosen.steps, desc="steps", leave=False)):
        layers = network.forward(x)
        y = layers[-1][0] * unit
        error = np.abs(y - target)[stop].mean()
        if error < best:
            best, forecasts, at = error, y, step
        bar.set_postfix(validation=f"{error:.3f}")
        g = np.zeros_like(layers[-1])
        g[0, train] = 2 * (y - target)[train] / unit / target[train].size
        optimizer.step(network.gradients(layers, g))

    said = naive(series, test) | {"network": series[test][:, None] + forecasts[test]}
    truth = series[test][:, None] + target[test]
    print(f"{chosen.series.stem}: {weeks} weeks; best on the validation years after {at} steps")
    print(
        f"mean absolute error on the last {len(test)} weeks, over all of the next {HORIZON} weeks, and {HORIZON} weeks ahead:"
    )
    errors = {name: np.abs(y - truth).mean(0) for name, y in said.items()}
    for name, error in errors.items():
        print(f"{name:>20}: {error.mean():.3f} {error[-1]:.3f}")

    figure = Figure(figsize=(9, 4), dpi=80)
    figure.subplots_adjust(0.07, 0.12, 0.98, 0.92, 0.2)
    left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
    left.plot(dates[test[0] - YEAR :], series[test[0] - YEAR :], color=GREY, lw=1, label="observed")
    for i in range(0, len(test), YEAR):
        when = dates[test[i]] + 7 * ahead
        left.plot(when, said["network"][i], color=ACCENT, lw=2, label="forecast" if i == 0 else None)
        left.plot(dates[test[i]], series[test[i]], "o", color=ACCENT, ms=5)
    left.set_title("forecasts of the next year, made at the dots")
    left.legend(frameon=False)
    for (name, error), style in zip(errors.items(), (":", "--", "-.", "-")):
        right.plot(ahead, error, style, color=ACCENT if name == "network" else GREY, label=name)
    right.set(title="mean absolute error", xlabel="weeks ahead", ylim=(0, 1.4 * max(map(np.max, errors.values()))))
    right.legend(frameon=False)
    save(figure, chosen.output)


if __name__ == "__main__":
    main()
