"""Round trip on recorded mainnet transactions, where they lie beside the repository."""

import gzip
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from blockscan.chains.ethereum import parse_record
from blockscan.config import TokenizerConfig
from blockscan.transaction import Transaction
from tokenizer.txtokenizer import TxTokenizer

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "evm"
FILES = ("blocks_semiotic-ai_flat-files-decoder", "blocks_flashbots_mev-inspect-py", "attacks_onchain")


def read(name: str) -> list[Transaction]:
    with gzip.open(FOLDER / f"{name}.jsonl.gz", "rt") as lines:
        return [parse_record(json.loads(line)) for line in islice(lines, 0, 400, 8)]


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded mainnet transactions are not here")
def test_real_transactions_survive_the_round_trip() -> None:
    seen = [transaction for name in FILES for transaction in read(name)]
    tokenizer = TxTokenizer.fit(seen[::2], TokenizerConfig(aliases=2000))
    for transaction in seen:
        sequence = tokenizer.encode(transaction)
        left = tokenizer.canonical(transaction)
        assert tokenizer.decode(sequence) == left
        assert np.array_equal(tokenizer.encode(replace(transaction, root=left)).ids, sequence.ids)
        assert len(tokenizer.unit_texts(transaction)) == sequence.unit[-1] + 1
