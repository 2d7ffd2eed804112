"""The LiteSVM world: same seed same bytes, real executions, verified attacks, and the road over HTTP."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("solders", reason="solders, which contains LiteSVM, is not installed")

from sklearn.metrics import roc_auc_score

from blockscan.archive import Archive
from blockscan.chains.solana import parse, parse_record
from blockscan.chains.solana_rpc import SolanaNode
from blockscan.chains.transport import Endpoint
from blockscan.config import TokenizerConfig
from blockscan.detect.accounts import Recent
from blockscan.detect.facts import FACTS, fact_values, facts_of
from blockscan.detect.history import history_of
from blockscan.detect.levels import alarm_band, rank
from blockscan.detect.score import ScoreModel, summarize
from blockscan.errors import ConfigError
from blockscan.tokens import TokenLosses
from blockscan.transaction import Call, LogOrder, TraceSource, Transaction, walk
from pipelines.ingest import ingest_node
from pipelines.ranges import BlockRange
from pipelines.simulate_solana import raw_blocks
from pipelines.simulation.solana.attacks import DEV, EVAL
from pipelines.simulation.solana.habits import HARD
from pipelines.simulation.solana.server import serve
from pipelines.simulation.solana_world import SolanaChain, build
from tokenizer.txtokenizer import TxTokenizer

SIZE = {"transactions": 450, "incidents": 12}


def digest(chain: SolanaChain) -> str:
    state = hashlib.sha256()
    for slot, block in chain.blocks.items():
        state.update(slot.to_bytes(8) + block)
    state.update(repr((chain.labels, chain.incidents, chain.train_until)).encode())
    return state.hexdigest()


@pytest.fixture(scope="module")
def chains() -> dict[str, SolanaChain]:
    return {split: build(11, split=split, **SIZE) for split in ("dev", "eval")}


@pytest.fixture(scope="module")
def parsed(chains: dict[str, SolanaChain]) -> dict[str, list[Transaction]]:
    return {split: [parse_record(record) for record in chain.records()] for split, chain in chains.items()}


@pytest.fixture(scope="module")
def url(chains: dict[str, SolanaChain]) -> Iterator[str]:
    with serve(chains["dev"].blocks) as served:
        yield served


def test_same_seed_same_bytes_and_another_seed_others() -> None:
    small = {"transactions": 200, "incidents": 6, "split": "eval"}
    first = digest(build(1, **small))
    assert digest(build(1, **small)) == first != digest(build(2, **small))


def test_records_are_whole_executions(
    chains: dict[str, SolanaChain], parsed: dict[str, list[Transaction]]
) -> None:
    """Every instruction has its logs, and lamports are conserved but for the fee."""
    for split, chain in chains.items():
        assert len(parsed[split]) == len(chain.labels) >= SIZE["transactions"]
        assert len({one.hash for one in parsed[split]}) == len(chain.labels)
        assert {one.source for one in parsed[split]} == {TraceSource.SOLANA_LOGS}
        orders = Counter(one.log_order for one in parsed[split])
        assert orders.keys() <= {LogOrder.EXACT, LogOrder.CUT} and orders[LogOrder.CUT] < 10
        nested = sum(any(visit.depth >= 2 for visit in walk(one.root)) for one in parsed[split])
        assert nested > len(chain.labels) / 10
        for record in chain.records():
            meta = record["tx"]["meta"]
            assert sum(meta["preBalances"]) - sum(meta["postBalances"]) == meta["fee"]
        failed = sum(not one.ok for one in parsed[split]) / len(parsed[split])
        assert 0.01 < failed < 0.12


def test_time_passes_and_some_slots_are_skipped(chains: dict[str, SolanaChain]) -> None:
    chain = chains["dev"]
    slots = list(chain.blocks)
    assert slots == sorted(slots) and slots[-1] - slots[0] + 1 > len(slots)
    blocks = [json.loads(block) for block in chain.blocks.values()]
    assert [block["parentSlot"] for block in blocks[1:]] == slots[:-1]
    assert [block["previousBlockhash"] for block in blocks[1:]] == [
        block["blockhash"] for block in blocks[:-1]
    ]
    assert len({block["blockhash"] for block in blocks}) == len(blocks)
    times = [block["blockTime"] for block in blocks]
    assert times == sorted(times) and times[-1] - times[0] == (slots[-1] - slots[0]) * 2 // 5


def test_every_family_does_its_damage_after_the_data_that_teach(chains: dict[str, SolanaChain]) -> None:
    """Losses are recomputed from the records' balances, apart from the attacks' own verification."""
    assert not DEV.keys() & EVAL.keys() and len(DEV) + len(EVAL) >= 10
    for split, families in (("dev", DEV), ("eval", EVAL)):
        chain = chains[split]
        labels = {row.tx_hash: row for row in chain.labels}
        assert Counter(incident.family for incident in chain.incidents) == {name: 2 for name in families}
        moved: dict[str, int] = defaultdict(int)
        for record in chain.records():
            row = labels[record["signature"]]
            if row.label != "attack":
                continue
            assert row.stage in ("fund", "prep", "exploit", "exit") and row.family in families
            assert record["slot"] > chain.calibrate_until
            meta = record["tx"]["meta"]
            if row.stage == "exploit" and meta["err"] is None:
                had, has = (held(meta[f"{when}TokenBalances"]) for when in ("pre", "post"))
                moved[row.incident] += sum(abs(has[key] - had[key]) for key in {*had, *has})
                moved[row.incident] += max(
                    abs(a - b) for a, b in zip(meta["preBalances"][1:], meta["postBalances"][1:], strict=True)
                )
        for incident in chain.incidents:
            assert incident.taken > 0 and incident.victims > 0
            if incident.family != "freeze_ransom":  # what it takes is access; the ransom is paid in the exit
                assert moved[incident.name] > 0, incident


def held(balances: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """Tokens by owner and mint."""
    found: Counter[tuple[str, str]] = Counter()
    for one in balances:
        found[one["owner"], one["mint"]] += int(one["uiTokenAmount"]["amount"])
    return found


def test_benign_life_has_what_looks_like_attacks(
    chains: dict[str, SolanaChain],
) -> None:
    kinds = Counter(row.kind for chain in chains.values() for row in chain.labels if row.label == "benign")
    assert len(kinds) >= 20
    assert {kind: kinds[kind] for kind in HARD if kinds[kind] < 2} == {}


def test_nothing_simple_gives_the_attacks_away(
    chains: dict[str, SolanaChain], parsed: dict[str, list[Transaction]]
) -> None:
    """AUROC of single facts on exploits against later benign transactions, both splits together."""
    facts: dict[str, list[float]] = defaultdict(list)
    exploit = []
    for split, chain in chains.items():
        labels = {row.tx_hash: row for row in chain.labels}
        before: Counter[str] = Counter()
        for one in parsed[split]:
            row = labels[one.hash]
            before[one.sender] += 1
            if (one.block_number or 0) <= chain.calibrate_until or row.label == "grey":
                continue
            if row.label == "attack" and row.stage != "exploit":
                continue
            exploit.append(row.label == "attack")
            calls = [visit.step for visit in walk(one.root) if isinstance(visit.step, Call)]
            facts["calls"].append(len(calls))
            facts["earlier transactions of the sender"].append(before[one.sender])
            facts["signers"].append(len(one.root.accounts))
            facts["fee"].append(one.root.value)
            facts["accounts"].append(sum(len(call.accounts) for call in calls))
            facts["input bytes"].append(sum(len(call.data) for call in calls))
    assert 15 < sum(exploit) < len(exploit) / 3
    for name, values in facts.items():
        auroc = roc_auc_score(exploit, np.array(values))
        assert max(auroc, 1 - auroc) < 0.80, (name, auroc)


def test_the_server_answers_as_a_node(chains: dict[str, SolanaChain], url: str) -> None:
    chain, endpoint = chains["dev"], Endpoint(url)
    node = SolanaNode(endpoint)
    assert (node.head(), node.family, node.chain) == (chain.last, "solana", "solana-B1ockSca")
    raw = node.fetch(chain.first)
    assert len(parse(raw)) == len(raw.tx_hashes) > 0
    found, _ = endpoint.fetch("getTransaction", [raw.tx_hashes[0], {"maxSupportedTransactionVersion": 1}])
    assert replaced(parse_record(found), parse(raw)[0])
    skipped = next(slot for slot in range(chain.first, chain.last) if slot not in chain.blocks)
    assert skipped - 1 in chain.blocks
    empty = node.fetch(skipped)
    assert parse(empty) == [] and empty.hash == empty.parent_hash == node.fetch(skipped - 1).hash


def replaced(bare: Transaction, whole: Transaction) -> bool:
    """Whether all is the same but the block's hash, the place in it and the cluster, which one lacks."""
    names = ("hash", "sender", "ok", "gas_used", "root", "block_number", "time", "log_order")
    return all(getattr(bare, name) == getattr(whole, name) for name in names)


def test_the_road_from_the_node_to_tokens(chains: dict[str, SolanaChain], url: str, tmp_path: Path) -> None:
    """Ingest over HTTP, skipped slots among them; resume; fit; encode; decode."""
    chain = chains["dev"]
    out = tmp_path / "archive"
    cut = chain.first + 20
    first = ingest_node(SolanaNode(Endpoint(url)), BlockRange(chain.first, cut), out)
    report = ingest_node(SolanaNode(Endpoint(url)), BlockRange(chain.first, chain.last + 1), out)
    assert 0 < first.added < first.added + report.added == len(chain.labels)
    assert report.rejected == () and report.coverage.gaps == ()
    assert report.coverage.blocks == ((chain.first, chain.last),)
    archive = Archive(out)
    assert archive.family == "solana"
    transactions = [one for raw in archive.raw_blocks() for one in parse(raw)]
    assert {one.hash for one in transactions} == {row.tx_hash for row in chain.labels}
    past = [one for one in transactions if (one.block_number or 0) <= chain.train_until]
    tokenizer = TxTokenizer.fit(past, TokenizerConfig())
    lengths = []
    for one in transactions[::3]:
        sequence = tokenizer.encode(one)
        assert tokenizer.decode(sequence) == tokenizer.canonical(one)
        lengths.append(len(sequence))
    assert 20 < np.median(lengths) < 400


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigError, match="give one of dev, eval"):
        build(1, transactions=300, incidents=1, split="test")
    with pytest.raises(ConfigError, match="ten for each incident"):
        build(1, transactions=300, incidents=100, split="dev")


def test_where_nobody_attacks_false_alarms_stay_in_their_band() -> None:
    """By facts, and what is carried over. What attacks leave behind, as moved prices, is rightly unusual."""
    chain = build(3, transactions=5000, incidents=0, split="dev")
    everything = [one for row in raw_blocks(chain) for one in parse(row)]
    past = [one for one in everything if (one.block_number or 0) <= chain.train_until]
    history = history_of(past)
    facts = [fact_values(facts_of(one, history)) for one in everything[len(past) :]]
    between = sum(chain.train_until < (one.block_number or 0) <= chain.calibrate_until for one in everything)
    nothing = TokenLosses("", np.empty(0), np.empty(0), np.empty((0, 3)), 1)
    seen = [summarize(np.empty(0, np.uint8), nothing, np.empty(0), each) for each in facts]
    model = ScoreModel.fit(seen[: between // 2], parts=FACTS)
    recent, values = Recent(0.2), []
    for one, each in zip(everything[len(past) + between // 2 :], seen[between // 2 :], strict=True):
        own = model.value(each)
        values.append(own + recent.carried(one.sender, one.time)(own, 0.0))
        recent.add(one.sender, one.time, values[-1])
    held, later = np.sort(values[: between - between // 2]), np.array(values[between - between // 2 :])
    assert len(held) > 400 and len(later) > 900
    for level in (0.01, 0.05, 0.2):
        low, high = alarm_band(len(held), level, len(later), confidence=0.99)
        assert low <= np.sum(later >= held[-rank(len(held), level)]) <= high, level
