"""What stands between the command line and the drift test and bundles: paths in, facts out."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.table import Table

from blockscan.archive import Archive
from blockscan.detect.calibration_file import load_calibration, newest
from blockscan.errors import StoreError
from blockscan.findings_wording import all_left
from blockscan.store import open_store
from pipelines.bundle import read_bundle, write_bundle
from pipelines.calibrate import Facts
from pipelines.drift import DriftTests, drift_facts, drift_line
from pipelines.explain import whole_hash
from pipelines.model_dir import ModelDir
from pipelines.render import plain, print_json, to_stdout
from pipelines.verify import make_bundle, verify_bundle


def drift(store: Path, model: Path, *, seed: int) -> tuple[Facts, str, bool]:
    """`blockscan drift`: the facts, a sentence that says what to do, and whether the traffic has drifted.

    Raises:
        StoreError: the store has no score of the model's calibration.
    """
    calibration = load_calibration(newest(ModelDir(model).path))
    tests = DriftTests(calibration, np.random.default_rng(seed))
    with open_store(store, read_only=True) as results:
        for score in results.iter_scores():
            tests.add(score)
        found, untested = tests.found(), tests.untested()
        held = None if found or untested else results.summary()
    if held is not None and held.orphaned and not held.scored:
        raise StoreError(f"in {store} {all_left(held.orphaned)}; score what took their place")
    if held is not None:
        raise StoreError(
            f"{store} has no score of the calibration {newest(ModelDir(model).path)}; give the model that "
            "scored it, or score something first"
        )
    facts: Facts = {}
    for name, seen in found.items():
        facts |= drift_facts(name, seen, calibration)
    advice = [*untested, *(drift_line(name, seen, calibration) for name, seen in found.items())]
    return facts, "\n".join(advice), any(seen.drift.drifted for seen in found.values())


def bundle(
    tx_hash: str, store: Path, archive: Path, model: Path, out: Path, *, device: str, chain: str | None
) -> Facts:
    """`blockscan bundle`; of the hash its beginning is enough."""
    with open_store(store, read_only=True) as results:
        whole, directory = whole_hash(tx_hash, store, None), ModelDir(model)
        made = make_bundle(whole, results, Archive(archive), directory, device=device, chain=chain)
    write_bundle(made, out)
    return {
        "transaction": made.tx_hash,
        "value": made.alone.value,
        "value in its batch": made.stored.value,
        "p-value": made.alone.p_value,
        "file": str(out),
        "bytes": out.stat().st_size,
    }


def verify(path: Path, model: Path, *, device: str, as_json: bool) -> bool:
    """`blockscan verify`: print every check; whether all of them agree."""
    checks = verify_bundle(read_bundle(path), ModelDir(model), device=device)
    good = all(check.agrees for check in checks)
    if as_json:
        print_json({"verified": good, "checks": [asdict(check) for check in checks]})
        return good
    table = Table(title="Verified" if good else "NOT verified", title_justify="left")
    for heading in ("", "", "found"):
        table.add_column(heading)
    for check in checks:
        table.add_row(check.name, "agrees" if check.agrees else "DIFFERS", plain(check.found))
    to_stdout(table)
    return good
