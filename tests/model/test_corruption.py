from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from blockscan.model import corruption
from blockscan.model.batch import cut_windows, window_table
from blockscan.model.corruption import corrupt
from blockscan.model.masking import alias_orders, rename_aliases
from blockscan.tokens import Field, Modality, TokenSequence, VocabularyShape

KIND, OUT, END = 2, 3, 4
POWERS, DIGITS, SMALL = range(10, 30), range(30, 60), range(60, 70)
ALIASES, KNOWN, SELECTORS = range(70, 110), range(110, 160), range(160, 190)
SHAPE = VocabularyShape(190, ((ALIASES.start, ALIASES.stop),))
LONGEST = 160


class _Writer:
    """Writes a random call tree as the tokenizer would, from values with identities of their own."""

    def __init__(self, rng, frames):
        self.rng, self.frames, self.rows, self.units = rng, frames, [], 0
        self.groups, self.nodes, self.amounts = {}, 0, []

    def put(self, ids, modality, field, node, depth, key=None):
        group = -1 if key is None else self.groups.setdefault(key, len(self.groups))
        self.rows += [(one, modality, field, node, depth, self.units, group) for one in ids]
        self.units += 1

    def address(self, field, node, depth):
        # Few callees are frequent, and unknown ones recur within a transaction.
        pick = min(int(self.rng.geometric(0.2)), 30)
        known = self.rng.random() < 0.6
        ids = KNOWN[pick - 1] if known else ALIASES[(pick - 1) % 6]
        self.put([ids], Modality.ADDRESS, field, node, depth, ids)

    def number(self, field, node, depth):
        if self.rng.random() < 0.4:
            self.put([int(self.rng.choice(SMALL))], Modality.NUMBER, field, node, depth)
            return
        # An amount is often handed on as it is.
        if not self.amounts or self.rng.random() < 0.5:
            self.amounts.append((int(self.rng.choice(POWERS)), int(self.rng.choice(DIGITS))))
        power, digits = self.amounts[self.rng.integers(len(self.amounts))]
        key = None if power < POWERS.start + 5 else ("number", power, digits)
        self.put([power, digits], Modality.NUMBER, field, node, depth, key)

    def frame(self, depth):
        node, self.nodes = self.nodes, self.nodes + 1
        self.put([KIND], Modality.STRUCTURE, Field.KIND, node, depth)
        self.address(Field.TARGET, node, depth)
        self.put([int(self.rng.choice(SELECTORS))], Modality.SELECTOR, Field.SELECTOR, node, depth)
        for _ in range(self.rng.integers(3)):
            write = self.number if self.rng.random() < 0.6 else self.address
            write(Field.ARGUMENT, node, depth)
        while self.nodes < self.frames and self.rng.random() < 0.75:
            self.frame(depth + 1)
        if self.rng.random() < 0.5:
            self.put([OUT], Modality.STRUCTURE, Field.MARK, node, depth)
            self.number(Field.OUTPUT, node, depth)
        self.put([END], Modality.STRUCTURE, Field.MARK, node, depth)


def _sequences(count, seed=0, most=12):
    rng = np.random.default_rng(seed)
    made = []
    for which in range(count):
        writer = _Writer(rng, int(rng.integers(1, most)))
        writer.frame(0)
        ids, modality, field, node, depth, unit, group = np.array(writer.rows).T
        scored = modality != Modality.STRUCTURE
        arrays = ids.astype(np.int32), modality.astype(np.uint8), field.astype(np.uint8)
        arrays += node.astype(np.int32), depth.astype(np.int16), unit.astype(np.int32), group.astype(np.int32)
        made.append(TokenSequence(f"0x{which:064x}", *arrays, scored))
    return made


def _corrupted(sequences, seed=0, longest=LONGEST):
    """Originals (under new alias names) and corrupted windows: dicts of arrays, one per window."""
    table = window_table(sequences, longest, SHAPE)
    cut = cut_windows(table, np.arange(len(table.length_W)))
    rng = np.random.default_rng(seed)
    ids = rename_aliases(
        table.ids_T, table.sequence_W[cut.segment_T], SHAPE, alias_orders(SHAPE, len(sequences), rng)
    )
    other, label = corrupt(table, cut, ids, SHAPE, rng)
    before = _split(replace(table, ids_T=ids), np.zeros(len(ids), bool))
    return before, _split(other, label)


def _split(table, label):
    names = ("ids", "modality", "field", "depth", "node", "group", "unit")
    columns = [np.split(getattr(table, f"{name}_T"), table.start_W[1:]) for name in names]
    columns.append(np.split(label, table.start_W[1:]))
    return [dict(zip((*names, "label"), each, strict=True)) for each in zip(*columns, strict=True)]


def _only(monkeypatch, *, rearranged, changed, whole=0.5):
    monkeypatch.setattr(corruption, "UNTOUCHED", 0.0)
    monkeypatch.setattr(corruption, "REARRANGED", rearranged)
    monkeypatch.setattr(corruption, "CHANGED", changed)
    monkeypatch.setattr(corruption, "WHOLE", whole)


def _check_tree(window):
    """Every token carries the frame and the depth that its place in the brackets gives it."""
    stack, frames = [], 0
    for ids, node, depth in zip(window["ids"], window["node"], window["depth"], strict=True):
        if ids == KIND:
            stack.append(frames)
            frames += 1
        assert (node, depth) == (stack[-1], len(stack) - 1)
        if ids == END:
            stack.pop()
    assert not stack


def _check_groups(window):
    """Groups count by first mention; two addresses are in one group exactly if they are equal."""
    known = window["group"][window["group"] >= 0]
    _, first = np.unique(known, return_index=True)
    assert np.array_equal(known[np.sort(first)], np.arange(len(first)))
    named = window["modality"] == Modality.ADDRESS
    pairs = set(zip(window["ids"][named].tolist(), window["group"][named].tolist(), strict=True))
    assert len(pairs) == len({ids for ids, _ in pairs}) == len({group for _, group in pairs})
    assert min((group for _, group in pairs), default=0) >= 0
    numbers = set(window["group"][window["modality"] == Modality.NUMBER].tolist())
    assert not numbers & ({group for _, group in pairs} - {-1})


def _check_values(window):
    """Values are numbered in order and are whole: a power of ten is followed by its digits."""
    assert np.array_equal(np.unique(window["unit"]), np.arange(window["unit"][-1] + 1))
    assert (np.diff(window["unit"]) >= 0).all()
    for unit in range(window["unit"][-1] + 1):
        own = window["unit"] == unit
        assert (
            len({*zip(window["field"][own], window["modality"][own], window["node"][own], strict=True)}) == 1
        )
        assert len(set(window["label"][own])) == len(set(window["group"][own])) == 1
        ids = window["ids"][own].tolist()
        if ids[0] in POWERS:
            assert len(ids) == 2 and ids[1] in DIGITS
        else:
            assert len(ids) == 1 and ids[0] not in DIGITS


@pytest.mark.parametrize("rearranged", [0.0, 1.0])
def test_corrupted_windows_read_like_encoded_transactions(monkeypatch, rearranged):
    _only(monkeypatch, rearranged=rearranged, changed=0.1)
    _, after = _corrupted(_sequences(150))
    for window in after:
        _check_tree(window)
        _check_groups(window)
        _check_values(window)
    assert 0.02 < np.concatenate([window["label"] for window in after]).mean() < 0.5


def test_what_is_labelled_is_what_differs(monkeypatch):
    _only(monkeypatch, rearranged=0.0, changed=0.15)
    before, after = _corrupted(_sequences(200))
    changed = {field: 0 for field in Field}
    for was, now in zip(before, after, strict=True):
        for name in ("modality", "field", "node", "depth", "unit"):
            assert np.array_equal(was[name], now[name])
        differs = np.isin(now["unit"], now["unit"][was["ids"] != now["ids"]])
        # A value may be changed twice, and so come back to what it was: rare, and still labelled.
        assert not (differs & ~now["label"]).any()
        assert (now["label"] & ~differs).sum() <= 2
        for field in now["field"][differs]:
            changed[Field(field)] += 1
    assert min(changed[f] for f in (Field.TARGET, Field.SELECTOR, Field.ARGUMENT, Field.OUTPUT)) > 20
    assert changed[Field.KIND] == changed[Field.MARK] == 0


def test_amounts_change_by_a_few_powers_of_ten_and_equal_ones_together(monkeypatch):
    _only(monkeypatch, rearranged=0.0, changed=0.03, whole=1.0)
    together = 0
    for seed in range(8):
        for was, now in zip(*_corrupted(_sequences(100, seed), seed), strict=True):
            powers = np.isin(was["ids"], POWERS) & (was["ids"] != now["ids"])
            assert (np.abs(was["ids"] - now["ids"])[powers] <= 2 * corruption.MOST_MAGNITUDES).all()
            groups, counts = np.unique(was["group"][powers & (was["group"] >= 0)], return_counts=True)
            together += int((counts > 1).sum())
            for group in groups:
                own = was["group"] == group
                assert len(set(now["group"][own])) == 1
    assert together > 5


@pytest.mark.parametrize("which", [0, 1, 2])
def test_calls_are_copied_reordered_and_exchanged(monkeypatch, which):
    _only(monkeypatch, rearranged=1.0, changed=0.0)
    tables = ("copied", "reordered", "exchanged")
    for name in tables:
        if name != tables[which]:
            monkeypatch.setattr(corruption, name, lambda *_: None)
    before, after = _corrupted(_sequences(300))
    done = 0
    for was, now in zip(before, after, strict=True):
        label = now["label"]
        if not label.any():
            assert np.array_equal(was["ids"], now["ids"])
            continue
        done += 1
        place = np.flatnonzero(label)
        if which == 0:
            begin, length = place[0], len(place)
            assert np.array_equal(place, np.arange(begin, begin + length))
            assert np.array_equal(now["ids"][place], now["ids"][begin - length : begin])
            assert np.array_equal(was["ids"], np.delete(now["ids"], place))
        if which == 1:
            assert np.array_equal(np.sort(was["ids"]), np.sort(now["ids"]))
            assert not np.array_equal(was["ids"], now["ids"])
            assert set(now["field"][label]) <= {Field.KIND, Field.TARGET, Field.SELECTOR}
            assert len(set(now["node"][label])) == 2
        if which == 2:
            begin, end = place[0], place[-1] + 1
            assert np.array_equal(was["ids"][:begin], now["ids"][:begin])
            tail = len(now["ids"]) - end
            assert np.array_equal(was["ids"][len(was["ids"]) - tail :], now["ids"][end:])
            assert len(now["ids"]) <= LONGEST
    assert done > 15


def test_long_transactions_keep_what_earlier_windows_named(monkeypatch):
    """A group of an earlier window keeps its number, and what is new comes after all of those."""
    _only(monkeypatch, rearranged=1.0, changed=0.1)
    sequences = _sequences(40, seed=3, most=60)
    table = window_table(sequences, 64, SHAPE)
    before, after = _corrupted(sequences, longest=64)
    later = 0
    for window, (was, now) in enumerate(zip(before, after, strict=True)):
        assert len(now["ids"]) <= 64
        if not table.index_W[window]:
            continue
        sequence = sequences[table.sequence_W[window]]
        earlier = sequence.group[: table.start_W[window] - table.start_W[window - table.index_W[window]]]
        base = int(earlier.max(initial=-1)) + 1
        if not now["label"].any():
            assert np.array_equal(was["group"], now["group"])
        new = now["group"][now["group"] >= base]
        _, first = np.unique(new, return_index=True)
        assert np.array_equal(new[np.sort(first)], base + np.arange(len(first)))
        later += len(new) > 0
    assert later > 5


def _best_unigram(ids, label):
    """AUROC on one half of the label rates of the ids in the other half, shrunk towards their mean."""
    half = len(ids) // 2
    seen = np.bincount(ids[:half], minlength=SHAPE.size)
    rate = (np.bincount(ids[:half], label[:half], SHAPE.size) + 5 * label[:half].mean()) / (seen + 5)
    return roc_auc_score(label[half:], rate[ids[half:]])


def test_a_callee_is_not_given_away_by_its_frequency(monkeypatch):
    _only(monkeypatch, rearranged=0.0, changed=0.1, whole=0.0)
    drawn, uniform = [], []
    rng = np.random.default_rng(9)
    for seed in range(4):
        _, after = _corrupted(_sequences(200, seed), seed)
        for window in after:
            callee = window["field"] == Field.TARGET
            ids, label = window["ids"][callee], window["label"][callee]
            drawn.append(np.stack((ids, label)))
            uniform.append(np.stack((np.where(label, rng.choice(KNOWN, len(ids)), ids), label)))
    ids, label = np.concatenate(drawn, axis=1)
    assert label.sum() > 400
    assert _best_unigram(ids, label) < 0.58
    # The same statistic sees a callee that was drawn uniformly.
    assert _best_unigram(*np.concatenate(uniform, axis=1)) > 0.75


def test_names_of_unknown_values_are_not_given_away_by_their_number(monkeypatch):
    """Foreign unknown values get names as random as the real ones have."""
    _only(monkeypatch, rearranged=1.0, changed=0.1)
    found = []
    for seed in range(4):
        _, after = _corrupted(_sequences(200, seed), seed)
        for window in after:
            alias = np.isin(window["ids"], ALIASES)
            found.append(np.stack((window["ids"][alias], window["label"][alias])))
    ids, label = np.concatenate(found, axis=1)
    assert 200 < label.sum() < len(label) - 200
    assert abs(roc_auc_score(label, ids) - 0.5) < 0.05
    assert abs(_best_unigram(ids, label) - 0.5) < 0.07


def test_the_generator_decides_and_nothing_else():
    sequences = _sequences(60)
    runs = [_corrupted(sequences, seed) for seed in (1, 1, 2)]
    for (_, first), (_, second) in ((runs[0], runs[1]),):
        for one, two in zip(first, second, strict=True):
            assert all(np.array_equal(one[name], two[name]) for name in one)
    assert any(not np.array_equal(a["ids"], b["ids"]) for a, b in zip(runs[0][1], runs[2][1], strict=True))
    untouched = np.mean([not window["label"].any() for window in runs[0][1]])
    assert corruption.UNTOUCHED / 2 < untouched < 0.9


def test_any_tokens_can_be_corrupted(sequences):
    """Tokens that no transaction has: nothing breaks, and nothing grows past the longest window."""
    shape = VocabularyShape(300, ((40, 56), (100, 103)))
    table = window_table(sequences, 96, shape)
    cut = cut_windows(table, np.arange(len(table.length_W))[::-1].copy())
    for seed in range(30):
        other, label = corrupt(table, cut, table.ids_T[cut.place_T], shape, np.random.default_rng(seed))
        assert len(label) == len(other.ids_T) == other.length_W.sum()
        assert len(other.length_W) == len(table.length_W)
        assert other.length_W.max() <= 96
        assert 1 < other.ids_T.min() <= other.ids_T.max() < 300
