"""The tables of the ablation: what each piece of the detector is worth on the dev split of the benchmark.

    python tests/benchmarks/ablation.py --bench bench --cache cache           # first: trains the variants
    python tests/benchmarks/ablation_report.py --bench bench --cache cache    # minutes

History and facts are counted anew with the code as it is, the parts are fitted on the FIT_BLOCKS blocks after
the training data, the test is what comes after calibrate_until_block of meta.json, with thresholds from its
own benign values. Prints Markdown: the full value, with what is carried over from an account's recent
transactions, the value from token parts only, without that, and scaling curves.
Intervals: paired bootstrap of incidents and benign transactions. "nats" is the mean surprise of what is
judged of the benign transactions that the parts are fitted on. One training seed each. Asserts nothing.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ablation import DEFAULT, SHARES, SHORT, VARIANTS, Bench, latest, read_bench, reading, tokenizer_of
from facts_in_time import facts_in_time
from numpy.typing import NDArray

from blockscan.config import ScoreConfig
from blockscan.detect.accounts import Recent
from blockscan.detect.dealings import JOINT_GAIN
from blockscan.detect.facts import FACTS
from blockscan.detect.history import history_of
from blockscan.detect.score import SIZE_PARTS, ScoreModel, Summary, kept_parts, summarize, view_of
from blockscan.detect.surprise import FieldCalibration
from blockscan.model.masking import fold_of_tokens
from blockscan.tokens import Modality, TokenLosses, TokenSequence, windows
from blockscan.transaction import Call, Transaction, walk
from pipelines.metrics import Comparison, compare

STRATA = (1, 2, 10)
RESAMPLES = 2000
FOLDS = ScoreConfig().folds
PARTS = kept_parts(ScoreConfig().without, density="")
TOKENS = tuple(part for part in PARTS if view_of(part) == "model" and part != "replaced")
CARRIED = ScoreConfig().carried
AREA = "auroc"
INCIDENTS = "incident_recall@fpr=0.01", "incident_recall@fpr=0.001"

Floats = NDArray[np.float64]
Losses = dict[str, NDArray[np.float32]]
Tables = Mapping[int, Comparison]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the tables: the surprises of which variant, how they are read, and how long a history.

    keep: what of a sequence's surprises counts, a mask (T,). pooled: one distribution for all fields.
    """

    name: str
    variant: str = DEFAULT
    keep: Callable[[TokenSequence], NDArray[np.bool_]] | None = None
    pooled: bool = False
    history: float = 1.0


def rows() -> list[Row]:
    """All lines, the default first."""
    found = [Row(DEFAULT), Row("another training seed", "seed-1")]
    for each in Modality:
        name = each.name.lower()
        found.append(Row(f"{name}: not judged", keep=_all_but(each)))
        found.append(Row(f"{name}: not even seen", f"no-{name}"))
    found += [
        Row("no positions (RoPE off)", "no-rope"),
        Row("bias by place in the call tree", "tree-bias"),
        Row(f"one mask of 1/{FOLDS} for {FOLDS} folds", keep=_one_fold),
        Row("one distribution for all fields", pooled=True),
        Row(f"windows of {SHORT} tokens", "short"),
        Row(f"cut off after {SHORT} tokens", "short", keep=_first_window),
        *(Row(f"mask rate {rate}", f"mask-{rate}") for rate in ("0.15", "0.5")),
        *(Row(f"size {size}", f"size-{size}") for size in ("2x64", "6x192")),
    ]
    for share in sorted(SHARES)[:-1]:
        found.append(Row(f"model: {label(share)}", f"share-{share:g}"))
        found.append(Row(f"history: {label(share)}", history=share))
        found.append(Row(f"both: {label(share)}", f"share-{share:g}", history=share))
    return found


def label(share: float) -> str:
    """The latest share of the past, in words."""
    return f"latest 1/{round(1 / share)}"


def _all_but(modality: Modality) -> Callable[[TokenSequence], NDArray[np.bool_]]:
    return lambda sequence: sequence.modality != modality


def _one_fold(sequence: TokenSequence) -> NDArray[np.bool_]:
    """A mask drawn by the hash of the transaction; where no name lies in it, nothing is judged."""
    return np.equal(fold_of_tokens(sequence, FOLDS, asked_T=sequence.scored), 0)


def _first_window(sequence: TokenSequence) -> NDArray[np.bool_]:
    stop: int = next(iter(windows(sequence, SHORT))).stop
    return np.arange(len(sequence)) < stop


def read_losses(path: Path) -> Losses:
    """Surprises by hash."""
    with np.load(path) as kept:
        parts = np.split(kept["surprise"], np.cumsum(kept["length"])[:-1])
        return dict(zip(kept["hash"].tolist(), parts, strict=True))


class Facts:
    """Facts of the judged transactions under histories of several lengths, each counted once."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._known: dict[float, list[Floats]] = {}

    def of(self, share: float) -> list[Floats]:
        """The facts of each judged transaction against the latest `share` of the past."""
        if share not in self._known:
            history = history_of(latest(self._bench.past, share))
            self._known[share] = list(facts_in_time(self._bench.judged, history))
        return self._known[share]


def judged(
    row: Row, sequences: Sequence[TokenSequence], surprises: Losses, facts: Sequence[Floats], fit: int
) -> tuple[list[Summary], Floats]:
    """What the score looks at of every transaction, and their mean surprise in nats (0 where none is)."""
    seen = [reading(VARIANTS[row.variant])(sequence) for sequence in sequences]
    losses = []
    for sequence in seen:
        surprise = surprises[sequence.tx_hash]
        if row.keep is not None:
            surprise = np.where(row.keep(sequence), surprise, np.float32(np.nan))
        none = np.full((len(sequence), 1), -1, dtype=np.int32)
        losses.append(TokenLosses(sequence.tx_hash, surprise, none[:, 0], none, 1))
    fields = FieldCalibration.fit(zip(seen[:fit], losses[:fit], strict=True))
    if row.pooled:
        fields = replace(fields, fields={})
    summaries = [
        summarize(sequence.field, loss, fields.p_values(sequence, loss), fact)
        for sequence, loss, fact in zip(seen, losses, facts, strict=True)
    ]
    return summaries, np.array([_mean(each.surprise) for each in losses])


def _mean(surprise: NDArray[np.float32]) -> float:
    scored = surprise[~np.isnan(surprise)]
    return float(scored.mean()) if len(scored) else 0.0


def nats_of(surprises: Losses, bench: Bench) -> float:
    """Mean surprise of all scored tokens of the benign transactions that the parts are fitted on."""
    return float(np.nanmean(np.concatenate([surprises[each.hash] for each in bench.fit])))


def fused(summaries: Sequence[Summary], fit: int, parts: Sequence[str]) -> Floats:
    """Values of the test by some of the parts."""
    score = ScoreModel.fit(summaries[:fit], parts=parts)
    return np.array([score.value(each) for each in summaries[fit:]])


def as_shipped(
    summaries: Sequence[Summary], fit: int, test: Sequence[Transaction], parts: Sequence[str]
) -> Floats:
    """The same, each with its share of what its account did just before."""
    score = ScoreModel.fit(summaries[:fit], parts=parts)
    rarities = map(score.rarities, summaries[fit:])
    owed = np.array([score.added_by(JOINT_GAIN, each) for each in rarities])
    return carried_on(np.array([score.value(each) for each in summaries[fit:]]), test, owed)


def carried_on(values: Floats, test: Sequence[Transaction], owed: Floats) -> Floats:
    """Values with what is carried over; `owed` is what of each its account's earlier transactions added."""
    recent, found = Recent(CARRIED), np.empty_like(values)
    for place, (value, part, each) in enumerate(zip(values.tolist(), owed.tolist(), test, strict=True)):
        found[place] = value + recent.carried(each.sender, each.time)(value, part)
        recent.add(each.sender, each.time, float(found[place]))
    return found


def otherwise(
    summaries: Sequence[Summary], surprise: Floats, bench: Bench, tokens: Floats
) -> dict[str, Floats]:
    """Other values of the default's parts: fewer of them, or not fused."""
    fit, test = len(bench.fit), bench.test
    score = ScoreModel.fit(summaries[:fit], parts=PARTS)
    rarities = [list(score.rarities(each).values()) for each in summaries[fit:]]
    one_size = [each._replace(size=0.0) for each in summaries]
    sizeless, nothing = tuple(part for part in PARTS if part not in SIZE_PARTS), np.zeros(len(test))
    return {
        "fusion: facts only": as_shipped(summaries, fit, test, FACTS),
        "fusion: tokens only": carried_on(tokens, test, nothing),
        "fusion: one sum of all parts, no views": carried_on(np.array(rarities).sum(axis=1), test, nothing),
        "fusion: strongest part": carried_on(np.array(rarities).max(axis=1), test, nothing),
        "fusion: without size": as_shipped(summaries, fit, test, sizeless),
        "fusion: among all sizes": as_shipped(one_size, fit, test, PARTS),
        "fusion: nothing carried over": fused(summaries, fit, PARTS),
        "fusion: none, mean surprise": surprise[fit:],
    }


def compared(bench: Bench, values: Mapping[str, Floats]) -> dict[int, Comparison]:
    """The metrics of all values on each stratum of calls, on the same resamples."""
    calls = np.array([calls_of(each) for each in bench.test])
    found = {}
    for least in STRATA:
        inside = np.flatnonzero(bench.ranked & (calls >= least))
        found[least] = compare(
            {name: value[inside][np.newaxis] for name, value in values.items()},
            bench.attack[inside],
            rng=np.random.default_rng(0),
            resamples=RESAMPLES,
            clusters=[bench.incident[i] for i in inside],
        )
    return found


def calls_of(transaction: Transaction) -> int:
    """Call frames of a transaction."""
    return sum(isinstance(visit.step, Call) for visit in walk(transaction.root))


def table(by_least: Tables, nats: Mapping[str, float]) -> None:
    """Print the figures of every row, and its difference to the default with the 95 % interval."""
    print("| | nats | AUROC all / 2 calls / 10 calls | incidents at FPR 1 % / 0.1 % ", end="")
    print("| difference: AUROC all | 10 calls | incidents at 1 % | at 0.1 % |\n" + 8 * "|---" + "|")
    one, large = by_least[1], by_least[10]
    for name, figures in one.detectors.items():
        areas = " / ".join(_short(each.detectors[name][AREA].value) for each in by_least.values())
        found = " / ".join(_short(figures[metric].value) for metric in INCIDENTS)
        asked = [(one, AREA), (large, AREA), *((one, metric) for metric in INCIDENTS)]
        cells = [_difference(*each, name) if name in one.differences else "" for each in asked]
        loss = f"{nats[name]:.3f}" if name in nats else ""
        print(f"| {name} | {loss} | {areas} | {found} | " + " | ".join(cells) + " |")


def _difference(comparison: Comparison, metric: str, name: str) -> str:
    """Row minus default: the comparison has it the other way round."""
    each = comparison.differences[name][metric]
    value, low, high = (f"{-x + 0.0:+.3f}".replace("0.", ".") for x in (each.value, each.high, each.low))
    return f"{value} ({low}, {high})"


def _short(x: float) -> str:
    return f"{x:.3f}".replace("0.", ".")


def curve(what: str, shares: Sequence[float], losses: Sequence[float]) -> None:
    """Print loss = a * share ** b, fitted to the logarithms by least squares, and how far off it is."""
    if len(shares) < 3:
        return
    x, y = np.log(shares), np.log(losses)
    slope, level = np.polyfit(x, y, 1)
    apart = y - (slope * x + level)
    explained = 1 - apart.var() / y.var() if y.var() else 1.0
    points = ", ".join(
        f"{loss:.4g} at 1/{round(1 / share)}" for share, loss in zip(shares, losses, strict=True)
    )
    print(f"| {what} | {points} | {np.exp(level):.4g} share^{slope:+.3f} | {explained:.2f} ", end="")
    print(f"| {np.sqrt((apart**2).mean()):.1%}, {np.abs(apart).max():.1%} |")


def curves(by_least: Tables, nats: Mapping[str, float]) -> None:
    """Print the scaling of the model's loss, and of what the AUROC lacks, by stratum."""

    def known(what: str) -> dict[float, str]:
        named = {share: DEFAULT if share == 1 else f"{what}: {label(share)}" for share in sorted(SHARES)}
        return {share: name for share, name in named.items() if name in by_least[1].detectors}

    print("| | share of the past | fit | R2 | residual rms, most |\n|---|---|---|---|---|")
    curve("nats, model", list(known("model")), [nats[name] for name in known("model").values()])
    for what in ("model", "history", "both"):
        for least, one in by_least.items():
            names = known(what)
            lacking = [1 - one.detectors[name][AREA].value for name in names.values()]
            curve(f"1 - AUROC, {least} calls or more, {what}", list(names), lacking)


def main() -> None:
    """Fit the fusion of every row whose variant is in the cache, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", type=Path, required=True, help="made by `blockscan simulate`, dev split")
    parser.add_argument("--cache", type=Path, required=True, help="what ablation.py wrote")
    given = parser.parse_args()
    bench = read_bench(given.bench)
    tokenizer, facts, fit = tokenizer_of(bench), Facts(bench), len(bench.fit)
    sequences = [tokenizer.encode(each) for each in bench.judged]
    nats, tokens, full, other = dict[str, float](), dict[str, Floats](), dict[str, Floats](), {}
    for row in rows():
        path = given.cache / row.variant / "surprise.npz"
        if not path.exists():
            print(f"{row.name}: no {path}; run ablation.py --only {row.variant}", file=sys.stderr)
            continue
        surprises = read_losses(path)
        summaries, surprise = judged(row, sequences, surprises, facts.of(row.history), fit)
        full[row.name] = as_shipped(summaries, fit, bench.test, PARTS)
        if row.history == 1:
            tokens[row.name] = fused(summaries, fit, TOKENS)
            nats[row.name] = nats_of(surprises, bench)
        if row.name == DEFAULT:
            other = otherwise(summaries, surprise, bench, tokens[DEFAULT])
    benign, exploits = int((bench.ranked & ~bench.attack).sum()), int(bench.attack.sum())
    incidents = len({name for name, bad in zip(bench.incident, bench.attack, strict=True) if bad})
    print(
        f"{len(bench.past):,} transactions of the past, parts fitted on {fit:,}; tested on {benign:,} ",
        end="",
    )
    print(f"benign and {exploits} exploits of {incidents} incidents; {RESAMPLES:,} resamples")
    by_full, by_tokens = compared(bench, full | other), compared(bench, tokens)
    for title, by_least in (("Full value", by_full), ("Token parts only", by_tokens)):
        print(f"\n{title}\n")
        table(by_least, nats)
    for title, by_least in (("full value", by_full), ("token parts only", by_tokens)):
        print(f"\nScaling, {title}\n")
        curves(by_least, nats)


if __name__ == "__main__":
    main()
