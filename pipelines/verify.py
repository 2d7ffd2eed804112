"""Make an alert bundle from a stored score, and score a bundle's transaction again; see pipelines.bundle."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from blockscan.archive import Archive, RawBlock
from blockscan.artifact import read_manifest
from blockscan.chains.families import parse
from blockscan.detect.calibration_file import KIND, versions
from blockscan.detect.history_file import KIND as HISTORY
from blockscan.errors import ArtifactError, ConfigError, ParseError
from blockscan.findings import Before, TxScore
from blockscan.safetext import safe_text
from blockscan.store import ScoreStore
from blockscan.transaction import call_count
from pipelines.bundle import TOLERANCE, Bundle, Found, Verdict, made_with, row_hash, scoring_hash
from pipelines.model_dir import Detector, ModelDir, load_detector, pick_device
from pipelines.score import judge_alone
from tokenizer.txtokenizer import TxTokenizer


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was compared, what was found, and whether it agrees."""

    name: str
    found: str
    agrees: bool


def make_bundle(
    tx_hash: str,
    store: ScoreStore,
    archive: Archive,
    directory: ModelDir,
    *,
    device: str,
    chain: str | None = None,
) -> Bundle:
    """Score a transaction of a store again, by itself, and put together all that a check needs.

    Raises:
        ConfigError: store or archive do not hold the transaction.
        ArtifactError: the stored score is of another model or calibration, or cannot be repeated.
    """
    stored = store.score(tx_hash, chain=chain)
    if stored is None:
        raise ConfigError(f"the store has no score of {tx_hash}; score it first (again, if it was pruned)")
    row = _row_of(stored, archive)
    detector = _detector(directory, device, stored)
    before = Before(stored.carried, stored.joint, stored.mix)
    alone = _judge_alone(row, stored.tx_hash, detector, before)
    if not _close(alone.value, stored.value):
        raise ArtifactError(
            f"the store says {stored.value:.6g} of {stored.tx_hash} and the model says {alone.value:.6g}; "
            "the archive or the store was changed: score it again"
        )
    return Bundle(
        tx_hash=stored.tx_hash,
        row=row,
        hashes={
            "transaction": row_hash(row),
            "tokenizer": detector.tokenizer.fingerprint,
            "checkpoint": detector.fingerprint,
            "history": read_manifest(directory.history, HISTORY).fingerprint,
            "calibration": detector.calibrated_as,
            "scoring": scoring_hash(asdict(detector.scoring)),
        },
        alone=_verdict(alone),
        stored=_verdict(stored),
        reason=stored.reason,
        made_with=made_with(pick_device(device)),
        before=before,
    )


def verify_bundle(bundle: Bundle, directory: ModelDir, *, device: str) -> list[Check]:
    """Compare every hash, then score again if they agree; a bundle is good if every check agrees.

    Raises:
        ArtifactError: the model directory is incomplete or damaged, or the transaction cannot be read.
    """
    checks = [Check("bundle", "as written" if bundle.intact else "changed after it was made", bundle.intact)]
    checks += _compare_hashes(bundle, _hashes_here(bundle, directory))
    if not all(check.agrees for check in checks[1:]):
        return [*checks, Check("value", "not scored again: the above differ", agrees=False)]
    judges = _calibration_here(directory, bundle.hashes["calibration"])
    detector = load_detector(directory, device, calibrated=judges)
    scoring = scoring_hash(asdict(detector.scoring))
    checks += _compare_hashes(bundle, {"scoring": scoring})
    again = _judge_alone(bundle.row, bundle.tx_hash, detector, bundle.before)
    same = dict(bundle.made_with) == made_with(pick_device(device))
    return checks + _compare_verdicts(bundle, again, detector, same_place=same)


def _compare_verdicts(bundle: Bundle, again: TxScore, detector: Detector, *, same_place: bool) -> list[Check]:
    place = "on the same software and hardware" if same_place else "on other software or hardware"
    told, found = bundle.alone, _verdict(again)
    moved = "identical" if told.value == found.value else f"{told.value!r} there, {found.value!r} here"
    value_agrees = told.value == found.value if same_place else _close(told.value, found.value)
    low, high = (
        detector.calibration.p_value(found.value + shift, again.source, again.target or "", again.mix)
        for shift in (TOLERANCE, -TOLERANCE)
    )
    if same_place or low is None or high is None or told.p_value is None:
        p_agrees = told.p_value == found.p_value
    else:
        p_agrees = low <= told.p_value <= high
    agreed = "identical" if told.evidence == found.evidence else "differs"
    near = _close(bundle.stored.value, found.value)
    return [
        Check("value", f"{moved}, {place}", value_agrees),
        Check("p-value", f"{told.p_value} there, {found.p_value} here", p_agrees),
        Check("evidence", agreed, agreed == "identical" or not same_place),
        Check("stored value", f"{bundle.stored.value!r}, from a batch; tolerance {TOLERANCE:g}", near),
    ]


def _hashes_here(bundle: Bundle, directory: ModelDir) -> dict[str, str]:
    """Hashes of what this program would use to score the bundle's transaction."""
    wanted = bundle.hashes.get("calibration", "")
    return {
        "transaction": row_hash(bundle.row),
        "tokenizer": TxTokenizer.load(directory.tokenizer).fingerprint,
        "checkpoint": read_manifest(directory.checkpoint, "checkpoint").fingerprint,
        "history": read_manifest(directory.history, HISTORY).fingerprint,
        "calibration": read_manifest(_calibration_here(directory, wanted), KIND).fingerprint,
    }


def _compare_hashes(bundle: Bundle, here: Mapping[str, str]) -> list[Check]:
    checks = []
    for name, digest in here.items():
        told = bundle.hashes.get(name, "none")
        agrees = told == digest
        found = digest[:12] if agrees else f"{told[:12]} in the bundle, {digest[:12]} here"
        checks.append(Check(name, found, agrees))
    return checks


def _calibration_here(directory: ModelDir, wanted: str) -> Path:
    """The calibration with this fingerprint, else the newest."""
    known = versions(directory.path)
    return next((path for path in known if read_manifest(path, KIND).fingerprint == wanted), known[-1])


def _detector(directory: ModelDir, device: str, stored: TxScore) -> Detector:
    """The detector that gave a stored score."""
    judges = _calibration_here(directory, stored.calibration)
    detector = load_detector(directory, device, calibrated=judges)
    for what, told, here in (
        ("model", stored.model, detector.fingerprint),
        ("calibration", stored.calibration, detector.calibrated_as),
    ):
        if told != here:
            raise ArtifactError(
                f"{stored.tx_hash} was scored with {what} {told[:12]}, {directory.path} holds {here[:12]}; "
                "give the model that scored it, or score it again"
            )
    return detector


def _row_of(stored: TxScore, archive: Archive) -> RawBlock:
    other = None
    for row in archive.find(stored.tx_hash, stored.block_number):
        if row.chain == stored.chain:
            if row.number == stored.block_number:
                return row
            other = other or row
    if other is None:
        raise ConfigError(
            f"{archive.path} holds no transaction {stored.tx_hash} of {safe_text(stored.chain)}; "
            "give the archive it came from"
        )
    return other


def _judge_alone(row: RawBlock, tx_hash: str, detector: Detector, before: Before) -> TxScore:
    try:
        found = [each for each in parse(row) if each.hash == tx_hash]
    except ParseError as error:
        raise ArtifactError(f"the archived row of {tx_hash} cannot be read: {error}") from error
    if not found:
        raise ArtifactError(f"the bundle's block does not hold transaction {tx_hash}; make it again")
    if any(each.node >= call_count(found[0].root) for each in before.joint):
        raise ArtifactError(f"the bundle speaks of calls that {tx_hash} does not have; make it again")
    return judge_alone(found[0], detector, before, label="score alone (tokens)").score


def _verdict(score: TxScore) -> Verdict:
    evidence = tuple(Found(x.node, x.field, float(x.surprise), float(x.p_value)) for x in score.evidence)
    return Verdict(score.value, score.p_value, evidence)


def _close(a: float, b: float) -> bool:
    return a == b or abs(a - b) <= TOLERANCE
