"""What attacks inside the calibration set cost: recall and false alarms at 0, 0.1, 1 and 5 % contamination.

    blockscan simulate --preset standard --split dev --out bench
    python tests/benchmarks/contamination.py --bench bench --model model

The model is trained on the benign past (blocks up to meta.json's train_until_block). Half of the incidents,
drawn at random, may contaminate; the exploits of the other half are what is to be found, among later benign
transactions. Contaminants take random places in the calibration set, so they fit fields and score as well as
holding values. Prints a table, asserts nothing. Means and standard deviations are over the draws.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does

import numpy as np

from blockscan.config import ScoreConfig
from blockscan.detect.accounts import Recent
from blockscan.detect.books import Books
from blockscan.detect.calibrate import Observed, fit_calibration, judge
from blockscan.detect.history_file import load_history
from blockscan.model.losses import token_losses
from pipelines.commands import shards_of
from pipelines.encode import Encoded, encode_all
from pipelines.labels import hash_key, read_labels
from pipelines.model_dir import ModelDir, load_model
from pipelines.traffic import Census

RATES = (0.0, 0.001, 0.01, 0.05)
LEVELS = (0.01, 0.05)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bench", type=Path, required=True, help="made by `blockscan simulate`")
    parser.add_argument("--model", type=Path, required=True, help="tokenizer and checkpoint")
    parser.add_argument("--calibration", type=int, default=500, help="blocks to calibrate on")
    parser.add_argument("--test", type=int, default=520, help="later blocks with the attacks")
    parser.add_argument("--later", type=int, default=2000, help="benign transactions of them to test on")
    parser.add_argument("--draws", type=int, default=10)
    given = parser.parse_args()
    meta = json.loads((given.bench / "meta.json").read_text())
    labels = read_labels(given.bench / "labels.csv")
    tokenizer, model, _ = load_model(ModelDir(given.model), "cpu")
    census = Census(load_history(ModelDir(given.model).history))

    def encoded(part: str, blocks: str) -> list[Encoded]:
        return encode_all(census.watching(shards_of(given.bench / part, blocks)[0]), tokenizer)

    past = encoded("history", f"{meta['calibrate_until_block'] - given.calibration + 1}:")
    test = encoded("test", f"{meta['calibrate_until_block'] + 1}:+{given.test}")
    of = {each.sequence.tx_hash: labels.get(hash_key(each.sequence.tx_hash)) for each in test}
    benign = [each for each in test if (label := of[each.sequence.tx_hash]) and label.label == "benign"]
    exploits = [
        each
        for each in test
        if (label := of[each.sequence.tx_hash]) and label.label == "attack" and label.stage == "exploit"
    ]
    tested = sorted([*benign[: given.later], *exploits], key=lambda each: each.order)
    incident = [label.incident if (label := of[each.sequence.tx_hash]) else "" for each in tested]
    everything = [*past, *tested]
    losses = token_losses(model, [each.sequence for each in everything], ScoreConfig())
    observed, recent, books = [], Recent(0.0), Books(census.history)
    for each, loss in zip(everything, losses, strict=True):
        account, when = census.accounts[each.key]
        facts = census.facts_after(each.key, recent.dealings(account, when), books)
        recent.add(account, when, 0.0, census.dealings[each.key])
        observed.append(
            Observed(each.sequence, loss, facts, each.source, each.status, account=account, time=when)
        )
    calibration, rest = observed[: len(past)], observed[len(past) :]

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(f"commit {commit.stdout.strip()}; calibration {len(calibration):,} transactions, ", end="")
    incidents = len(set(incident) - {""})
    print(f"{incident.count(''):,} later benign ones, {len(exploits)} exploits of {incidents} incidents,")
    print(f"half of them to be found; {given.draws} draws, mean and standard deviation in %\n")
    print("contaminated" + "".join(f"  recall at {x:<7g}  FPR at {x:<9g}" for x in LEVELS))
    for rate in RATES:
        table = [
            measure(calibration, rest, incident, rate, np.random.default_rng(draw))
            for draw in range(given.draws)
        ]
        mean, deviation = 100 * np.mean(table, axis=0), 100 * np.std(table, axis=0)
        cells = [f"{m:7.2f} +- {d:5.2f}  " for m, d in zip(mean, deviation, strict=True)]
        print(f"{100 * rate:8.1f} %   " + "".join(cells))


def measure(
    benign: Sequence[Observed],
    tested: Sequence[Observed],
    incident: Sequence[str],
    rate: float,
    rng: np.random.Generator,
) -> list[float]:
    """Recall and FPR at each level, after a share `rate` of the calibration set was made attacks.

    `incident` is "" for the benign ones of `tested`, which is in time order.
    """
    names = np.array(sorted(set(incident) - {""}))
    inside = set(rng.choice(names, size=len(names) // 2, replace=False).tolist())
    usable = [i for i, name in enumerate(incident) if name in inside]
    mixed = list(benign)
    count = min(round(rate * len(benign)), len(usable))
    for place, which in zip(
        rng.choice(len(mixed), size=count, replace=False),
        rng.choice(usable, size=count, replace=False),
        strict=True,
    ):
        mixed[place] = tested[which]._replace(time=mixed[place].time)
    made = fit_calibration(mixed, fpr=max(LEVELS), parents={}, scoring={"carried": ScoreConfig().carried})
    recent, later, hidden = made.recent(), list[float](), list[float]()
    for each, name in zip(tested, incident, strict=True):
        if name in inside:
            continue
        judged = judge(made, each, carried=recent.carried(each.account, each.time))
        recent.add(each.account, each.time, judged.value)
        (hidden if name else later).append(judged.p_value or 1.0)
    return [float(np.mean(np.array(p) <= level)) for level in LEVELS for p in (hidden, later)]


if __name__ == "__main__":
    main()
