"""Evidence order, the reason line and the painted tree, on a small flash-loan story and a deep tree."""

import dataclasses

import numpy as np
import pytest

from blockscan.detect.explain import Reading, paint, reason, strongest_evidence
from blockscan.findings import Evidence
from blockscan.tokens import Field, Modality, TokenLosses, TokenSequence
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, TraceStatus, Transaction

NAN = float("nan")


def make_call(target, *steps, kind=CallKind.CALL, data=b"", value=0, error=None):
    return Call(kind, "0xcaller", target, data, b"", value, error, None, tuple(steps))


def make_transaction(root, status=TraceStatus.COMPLETE):
    return Transaction(
        chain="ethereum",
        hash="0xabc",
        block_number=1,
        block_hash="0xb",
        index=0,
        time=1,
        sender="0xa",
        ok=True,
        gas_used=None,
        root=root,
        source=TraceSource.CALL_TRACER_LOGS,
        log_order=LogOrder.EXACT,
        status=status,
    )


def make_reading(tokens, *, texts=None, piece_text=lambda piece: f"piece{piece}", least=1e-9):
    """`tokens`: (field, node, unit, p) each; surprise is -ln p, the model expects pieces 5 and 6."""
    field, node, unit, p = (np.array(column) for column in zip(*tokens, strict=True))
    p = p.astype(np.float64)
    scored = ~np.isnan(p)
    count = len(tokens)
    sequence = TokenSequence(
        "0xabc",
        np.full(count, 6, np.int32),
        np.full(count, Modality.STRUCTURE, np.uint8),
        field.astype(np.uint8),
        node.astype(np.int32),
        np.zeros(count, np.int16),
        unit.astype(np.int32),
        np.full(count, -1, np.int32),
        scored,
    )
    expected = np.where(scored[:, None], [[5, 6, 4]], -1).astype(np.int32)
    losses = TokenLosses("0xabc", -np.log(p).astype(np.float32), np.zeros(count, np.int32), expected, 1)
    unit_text = texts.__getitem__ if texts else "unit{}".format
    return Reading(sequence, losses, p, unit_text, piece_text, lambda *_: least)


STORY = make_transaction(
    make_call(
        "0xrouter",
        Log("0xpool", (b"\x11" * 32,), b""),
        make_call(
            "0xloan",
            make_call(
                "0xvault", Log("0xtoken", (), b""), data=b"\xa9\x05\x9c\xbb\x00", value=7, error="reverted"
            ),
            Log("0xloan", (b"\x22" * 32,), b""),
            kind=CallKind.DELEGATECALL,
        ),
    )
)
STORY_TOKENS = [
    (Field.KIND, 0, 0, 0.9),
    (Field.EMITTER, 0, 1, 0.2),
    (Field.TOPIC0, 0, 2, 0.01),
    (Field.KIND, 1, 3, 0.4),
    (Field.TARGET, 2, 4, 1e-3),
    (Field.TARGET, 2, 4, 1e-7),
    (Field.VALUE, 2, 5, 1e-5),
    (Field.MARK, 2, 6, NAN),
    (Field.EMITTER, 2, 7, 0.5),
    (Field.EMITTER, 1, 8, 0.03),
    (Field.TOPIC0, 1, 9, 1e-2),
]


def test_evidence_is_one_per_value_strongest_first():
    evidence = strongest_evidence(make_reading(STORY_TOKENS))
    assert [each.found for each in evidence[:5]] == ["unit4", "unit5", "unit2", "unit9", "unit8"]
    assert len(evidence) == 9  # ten values, one never scored
    first = evidence[0]
    assert (first.node, first.field, first.p_value) == (2, "target", 1e-7)
    assert first.surprise == pytest.approx(16.118, abs=1e-3)
    assert first.expected == ("piece5", "piece4")  # 6 is what stood there


def test_evidence_is_capped_and_ties_go_to_the_more_surprising_then_the_earlier():
    reading = make_reading([(Field.VALUE, 0, i, 0.5) for i in range(20)])
    reading.losses.surprise[7] = 3.0
    evidence = strongest_evidence(reading, limit=3)
    assert [each.found for each in evidence] == ["unit7", "unit0", "unit1"]


def test_rarity_within_the_field_ranks_before_surprise():
    reading = make_reading([(Field.VALUE, 0, 0, 0.3), (Field.KIND, 0, 1, 1e-6)])
    reading.losses.surprise[:] = (9.0, 2.0)
    assert [each.field for each in strongest_evidence(reading)] == ["kind", "value"]


def test_reason_says_field_found_expected_and_place():
    line = reason(STORY, strongest_evidence(make_reading(STORY_TOKENS)))
    assert line == (
        "unusual call to unit4, in a CALL 2 deep, to 0xvault; expected piece5 or piece4; "
        "about 1 in 10,000,000 such values of benign transactions (and 1 more rare value)"
    )


def test_reason_claims_no_more_than_the_benign_ones_can_show():
    (value,) = strongest_evidence(make_reading([(Field.VALUE, 0, 0, 1e-7)], least=1 / 20_001))
    assert value.extrapolated and value.least == 1 / 20_001 and value.p_value == pytest.approx(1e-7)
    line = reason(STORY, (value,))
    assert line.endswith("; beyond all 20,000 such values of benign transactions")
    (shown,) = strongest_evidence(make_reading([(Field.VALUE, 0, 0, 1e-4)], least=1e-4))
    assert not shown.extrapolated and reason(STORY, (shown,)).endswith(
        "; about 1 in 10,000 such values of benign transactions"
    )
    fact = Evidence(0, "depth", "28 deep", (), 15.5, 1.8e-7, 1 / 685)
    line = reason(STORY, (fact,))
    assert line.startswith("unusual depth, 28 deep, in the outermost call")
    assert line.endswith("; by this alone beyond all 684 benign transactions")
    of_its_size = dataclasses.replace(fact, field="gain", least=1 / 53)
    assert reason(STORY, (of_its_size,)).endswith(
        "; by this alone beyond all 52 benign transactions of its size"
    )
    often = dataclasses.replace(fact, p_value=0.0016)
    assert reason(STORY, (often,)).endswith("; by this alone about 1 in 625 benign transactions")
    assert not Evidence(0, "depth", "28 deep", (), 15.5, 1e-12).extrapolated  # noted before that was noted


def test_what_is_shown_by_ordinary_ones_too_is_not_called_unusual():
    for p, said in ((0.3, "about 1 in 3"), (0.9, "like most")):
        line = reason(STORY, strongest_evidence(make_reading([(Field.VALUE, 0, 0, p)])))
        assert line.startswith("nothing unusual by itself, rarest: value sent unit0, in the outermost call")
        assert line.endswith(f"; {said} such values of benign transactions")
    odd = reason(STORY, strongest_evidence(make_reading([(Field.VALUE, 0, 0, 0.04)])))
    assert odd.startswith("unusual value sent unit0,") and "; about 1 in 25 such values" in odd


def test_a_rare_fact_leads_before_size_which_is_in_no_frame():
    size = Evidence(0, "calls", "641 calls", (), 15.5, 1e-7, 1e-9)
    gain = Evidence(1, "gain", "9 ether gained", (), 9.0, 1e-4, 1e-9)
    line = reason(STORY, (size, gain))
    assert line.startswith("unusual gain of the sender's side, 9 ether gained, in a DELEGATECALL 1 deep")
    assert line.endswith(" (and 1 more rare value)")
    data = dataclasses.replace(size, field="input_bytes", found="8,410 bytes of input")
    assert reason(STORY, (data,)).startswith("unusual input of all calls together, 8,410 bytes of input; ")
    value = Evidence(1, "value", "5", (), 9.0, 1e-5, 1e-9)
    for others in ((), (dataclasses.replace(gain, p_value=0.002),), (value,)):
        line = reason(STORY, (size, *others))
        assert line.startswith(
            "unusual size, 641 calls; by this alone about 1 in 10,000,000 benign transactions"
        )
    assert reason(STORY, (value, gain)).startswith("unusual value sent 5,"), "the rarest, where it is no size"


def test_whose_loss_it_is_leads_among_what_is_beyond_all_benign_ones():
    number = Evidence(0, "number_low", "0 as argument 2 of route", (), 20.0, 1e-9, 1 / 96)
    loss = Evidence(1, "bystander_loss", "9 ether of 0xvictim", (), 9.0, 1e-4, 1 / 96)
    line = reason(STORY, (number, loss))
    assert line.startswith(
        "unusual loss of an account that makes no call itself, 9 ether of 0xvictim, in a DELEGATECALL"
    )
    assert line.endswith(
        "; by this alone beyond all 95 benign transactions of its size (and 1 more rare value)"
    )
    measured = dataclasses.replace(loss, p_value=0.02)
    assert reason(STORY, (number, measured)).startswith("unusual small or negative argument"), (
        "not beyond all"
    )
    seen = dataclasses.replace(number, least=1e-10)
    assert reason(STORY, (seen, loss)).startswith("unusual small or negative argument"), "one in so many"
    size = Evidence(0, "calls", "641 calls", (), 15.5, 1e-10, 1 / 96)
    assert reason(STORY, (size, number, loss)).startswith("unusual loss of an account")


def test_reason_at_the_root_and_without_expectation():
    reading = make_reading([(Field.SELECTOR, 0, 0, 1e-3)])
    reading.losses.expected[:] = -1
    line = reason(STORY, strongest_evidence(reading))
    assert line == (
        "unusual function unit0, in the outermost call, to 0xrouter; "
        "about 1 in 1,000 such values of benign transactions"
    )


def test_reason_of_truncated_and_of_unscored():
    cut = dataclasses.replace(STORY, status=TraceStatus.TRUNCATED)
    assert reason(cut, ()) == "trace cut off at a size cap; nothing in it could be scored"
    untraced = dataclasses.replace(cut, source=TraceSource.RECEIPT)
    assert reason(untraced, ()) == "untraceable; nothing in it could be scored"
    assert reason(STORY, strongest_evidence(make_reading([(Field.MARK, 0, 0, NAN)]))) == (
        "nothing in it could be scored"
    )


def test_painted_tree_has_every_call_and_log_in_order_with_its_heat():
    frames = paint(STORY, make_reading(STORY_TOKENS))
    shown = [(f.kind, f.node, f.parent, f.depth, f.target, round(f.heat, 3)) for f in frames]
    assert shown == [
        ("CALL", 0, -1, 0, "0xrouter", 0.011),
        ("LOG", 0, 0, 1, "0xpool", 0.5),
        ("DELEGATECALL", 1, 0, 1, "0xloan", 0.099),
        ("CALL", 2, 1, 2, "0xvault", 1.0),
        ("LOG", 2, 2, 3, "0xtoken", 0.075),
        ("LOG", 1, 1, 2, "0xloan", 0.5),
    ]
    vault = frames[3]
    assert (vault.selector, vault.value, vault.error) == ("0xa9059cbb", "7", "reverted")
    assert [each.found for each in vault.evidence] == ["unit4", "unit5"]
    assert [each.found for each in frames[5].evidence] == ["unit9", "unit8"]
    assert frames[0].evidence == ()


def test_a_fact_warms_the_call_that_shows_it_and_cools_none():
    loan, vault = (Evidence(node, "gain", "much", (), 9.0, p) for node, p in ((1, 0.0), (2, 0.01)))
    plain, warm = (paint(STORY, make_reading(STORY_TOKENS), facts) for facts in ((), (loan, vault)))
    assert [frame.heat for frame in warm] == [
        1.0 if frame.node == 1 and frame.kind != "LOG" else frame.heat for frame in plain
    ]
    assert [frame.evidence for frame in warm] == [frame.evidence for frame in plain]


def test_logs_that_the_tokens_do_not_tell_apart_are_painted_on_their_call():
    tokens = [token for token in STORY_TOKENS if token[:2] != (Field.EMITTER, 0)]
    frames = paint(STORY, make_reading(tokens))
    assert [frame.heat for frame in frames if frame.kind == "LOG"] == [0.0, 0.0, 0.0]
    assert frames[0].heat == pytest.approx(0.5)


def test_a_tree_1024_deep_is_painted():
    root = make_call("0x1023")
    for depth in reversed(range(1023)):
        root = make_call(f"0x{depth}", root)
    tokens = [(Field.TARGET, node, node, 1e-5 if node == 1000 else 0.5) for node in range(1024)]
    reading = make_reading(tokens)
    frames = paint(make_transaction(root), reading)
    assert len(frames) == 1024 and frames[-1].depth == 1023
    assert [frame.node for frame in frames if frame.heat == 1.0] == [1000]
    line = reason(make_transaction(root), strongest_evidence(reading))
    assert "in a CALL 1000 deep, to 0x1000" in line


def test_hostile_text_is_made_safe_everywhere():
    hostile = "\x1b[31m\u202eevil\u200b[/]\n" + "A" * 500
    root = make_call(hostile, Log(hostile, (), b""), error=hostile)
    transaction = make_transaction(dataclasses.replace(root, caller=hostile))
    reading = make_reading(
        [(Field.TARGET, 0, 0, 1e-5), (Field.EMITTER, 0, 1, 1e-3)],
        texts=[hostile] * 2,
        piece_text=lambda piece: hostile,
    )
    evidence = strongest_evidence(reading)
    frames = paint(transaction, reading)
    texts = [reason(transaction, evidence)]
    for each in (*evidence, *(e for frame in frames for e in frame.evidence)):
        texts += [each.found, *each.expected]
    for frame in frames:
        texts += [frame.caller, frame.target, frame.error]
    assert len(texts) > 12
    for text in texts:
        assert not set(text) & set("\x1b\u202e\u200b\n")
        assert len(text) < 800
