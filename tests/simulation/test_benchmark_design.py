"""What the benchmark promises about its families, and that docs/benchmark.md says the same."""

from pathlib import Path

from pipelines.simulation.attacks.catalogue import FAMILIES, families
from pipelines.simulation.attacks.family import SPLITS, TIERS
from pipelines.simulation.traffic import HABITS, HARD_BENIGN

DOC = Path(__file__).resolve().parents[2] / "docs" / "benchmark.md"


def test_at_least_twenty_families_each_in_one_split():
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names)) >= 20
    assert {family.split for family in FAMILIES} == set(SPLITS)
    assert {family.tier for family in FAMILIES} == set(TIERS)
    dev, judged = ({family.name for family in families(split)} for split in SPLITS)
    assert not dev & judged
    assert dev | judged == set(names)
    assert min(len(dev), len(judged)) >= 5


def test_every_tier_is_in_both_splits():
    for split in SPLITS:
        assert {family.tier for family in families(split)} == set(TIERS), split


def test_the_document_explains_every_family():
    text = DOC.read_text(encoding="utf-8")
    for family in FAMILIES:
        row = f"| {family.name} | {family.tier} | {family.split} | {family.modelled_on} | {family.about} |"
        assert row in text, f"docs/benchmark.md lacks the line\n{row}"
    table = text.split("## Families")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(rows) - 1 == len(FAMILIES), "a line for a family that does not exist"


def test_hard_benign_kinds_are_many():
    assert len(HARD_BENIGN) >= 10
    assert all(weight > 0 for weight, _ in HABITS)
