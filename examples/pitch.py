"""The pitch of a voice: CREPE's six conv1d layers on 1,024 samples of speech every 10 ms.

    python examples/pitch.py --models DIR --data DIR [SOUND.wav]

The network gives 360 probabilities, one for every 20 cents (a fifth of a semitone) from 32 Hz upwards.
"""

import time
import wave

import numpy as np
from command_line import ACCENT, Array, existing, parser, save
from matplotlib.figure import Figure
from network import Network, verify
from numpy.lib.stride_tricks import sliding_window_view
from tqdm import trange

RATE, WINDOW, HOP = 16000, 1024, 160
CENTS = 20 * np.arange(360) + 1997.3794084376191  # above 10 Hz


def read_wav(path: str) -> Array:
    """The first channel of a 16-bit recording, brought to 16 kHz by linear interpolation."""
    try:
        with wave.open(str(existing(path))) as file:
            if file.getsampwidth() != 2:
                raise SystemExit(f"{path}: {8 * file.getsampwidth()}-bit samples; 16-bit samples are wanted")
            samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)[:: file.getnchannels()]
            rate = file.getframerate()
    except (wave.Error, EOFError, OSError, ValueError) as error:
        raise SystemExit(f"{path} is not a WAV file: {error}") from None
    if not samples.size or not rate:
        raise SystemExit(f"{path}: there is no sound in it")
    seconds = np.arange(len(samples)) / rate
    return np.interp(np.arange(0, seconds[-1], 1 / RATE), seconds, samples)


def pitch(network: Network, sound: Array, batch: int = 64) -> tuple[Array, Array]:
    """Frequency in Hz and confidence, every 10 ms."""
    padded = np.pad(sound.astype(np.float32), WINDOW // 2)
    frames = sliding_window_view(padded, WINDOW)[::HOP]
    frames = frames - frames.mean(1, keepdims=True)
    frames /= np.maximum(frames.std(1, keepdims=True), 1e-8)
    bins = np.concatenate([
        network(frames[i : i + batch, :, None])["pitch_bins"]
        for i in trange(0, len(frames), batch, desc="frames", leave=False)
    ])  # fmt: skip
    # The mean of the nine bins around the best one, weighted by their probabilities.
    best = bins.argmax(1)
    near = np.clip(best[:, None] + np.arange(-4, 5), 0, 359)
    weights = np.take_along_axis(bins, near, 1)
    cents = (weights * CENTS[near]).sum(1) / weights.sum(1)
    return 10 * 2 ** (cents / 1200), bins.max(1)


def spectrogram(sound: Array) -> Array:
    frames = sliding_window_view(np.pad(sound, WINDOW // 2), WINDOW)[::HOP] * np.hanning(WINDOW)
    return np.asarray(20 * np.log10(np.abs(np.fft.rfft(frames)).T + 1e-3))


def main() -> None:
    options = parser(__doc__, "pitch.png", "models", "data")
    options.add_argument("sound", nargs="?", metavar="SOUND.wav", help="a recording, 16 bits a sample")
    chosen = options.parse_args()
    folder = chosen.models / "crepe_tiny"
    verify(folder)

    if chosen.sound:
        sound = read_wav(chosen.sound)
    else:
        with np.load(existing(chosen.data / "speech_16k.npz")) as speech:
            sound = speech["goforward"].astype(float)
    network = Network(folder)
    start = time.perf_counter()
    frequency, confidence = pitch(network, sound)
    seconds = time.perf_counter() - start
    voiced = confidence > 0.5

    print(
        f"\n{len(sound) / RATE:.1f} s of sound in {seconds:.2f} s: {len(frequency)} frames, {voiced.mean():.0%} voiced"
    )
    if voiced.any():
        low, middle, high = np.quantile(frequency[voiced], (0.05, 0.5, 0.95))
        print(f"pitch: median {middle:.0f} Hz, nine tenths of it between {low:.0f} and {high:.0f} Hz")
    t = np.arange(len(frequency)) * HOP / RATE
    figure = Figure(figsize=(9, 4.5), dpi=80)
    figure.subplots_adjust(0.07, 0.1, 0.98, 0.95, hspace=0.1)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    level = spectrogram(sound)
    extent = (-HOP / 2 / RATE, t[-1] + HOP / 2 / RATE, 0, RATE / 2)
    above.imshow(level, "Greys", origin="lower", aspect="auto", extent=extent, vmin=level.max() - 70)
    above.plot(t, np.where(voiced, frequency, np.nan), ".", color=ACCENT, ms=5)
    above.set(ylim=(0, 1000), ylabel="Hz", title="spectrogram, and the pitch where the network is sure of it")
    below.fill_between(t, confidence, color=ACCENT, alpha=0.35)
    below.set(ylim=(0, 1), ylabel="confidence", xlabel="seconds")
    save(figure, chosen.output)


if __name__ == "__main__":
    main()
