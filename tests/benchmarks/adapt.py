"""LoRA+ beside full fine-tuning and training from scratch, on few transactions of a new chain or protocol.

    python tests/benchmarks/adapt.py --base model --archive other-chain --transactions 200 1000

The first N transactions (in time order) of the archive train, for equally many steps on equally many tokens
each; the following ones judge, the same for all N. Prints nats per hidden token, asserts nothing. Every way
takes the best of the learning rates given, on the judging transactions: that favours all of them alike.
"""

import argparse
import platform
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from blockscan.config import Config, TrainConfig, load_config
from blockscan.model.checkpoint import load_checkpoint
from blockscan.model.encoder import MaskedLM
from blockscan.model.masking import Example, fixed_examples
from blockscan.model.objective import training_loss
from blockscan.tokens import TokenSequence
from pipelines.adapt import adapted
from pipelines.encode import encode_all
from pipelines.labels import hash_key
from pipelines.model_dir import ModelDir
from pipelines.pretrain import Start, pretrain
from pipelines.ranges import parse_range
from pipelines.sources import Rejects, open_shards
from tokenizer.txtokenizer import TxTokenizer

PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "presets"
WAYS = ("LoRA+", "full fine-tuning", "from scratch")


@dataclass(frozen=True, slots=True)
class Setting:
    """What all ways share: the base, its tokenizer's fingerprint, the config, the judging examples."""

    base: ModelDir
    tokenizer: str
    config: Config
    judging: Sequence[Example]


def loss_of(model: MaskedLM, examples: Sequence[Example]) -> float:
    """Mean loss in nats per hidden token."""
    hidden = sum(len(example.target_M) for example in examples)
    plain = TrainConfig(bf16=False)
    with torch.no_grad():
        shares = [training_loss(model, each, plain, hidden=hidden, judged=1).masked for each in examples]
    return float(sum(shares))


def begin(way: str, setting: Setting, rate: float) -> tuple[Start | None, Config]:
    """What a way starts from, and its config."""
    config = setting.config
    train = replace(config.train, steps=config.adapt.steps, learning_rate=rate)
    if way == "LoRA+":
        config = replace(config, adapt=replace(config.adapt, learning_rate=rate))
        return adapted(setting.base, config, tokenizer_fingerprint=setting.tokenizer, device="cpu")
    if way == "full fine-tuning":
        base = load_checkpoint(setting.base.checkpoint, tokenizer_fingerprint=setting.tokenizer)
        return Start(base.train(), "base"), replace(config, train=train)
    return None, replace(config, train=train)


def measure(
    way: str, setting: Setting, sequences: Sequence[TokenSequence], shape_of: MaskedLM, rate: float
) -> tuple[float, int, float]:
    """Judged loss in nats, parameters that learn, and CPU seconds a step."""
    start, config = begin(way, setting, rate)
    weights = (start.model if start else shape_of).parameters()
    learning = sum(weight.numel() for weight in weights if weight.requires_grad)
    with tempfile.TemporaryDirectory() as scratch:
        out, began = Path(scratch) / "checkpoint", time.process_time()
        pretrain(
            sequences,
            shape_of.vocabulary,
            config=config,
            out=out,
            tokenizer_fingerprint=setting.tokenizer,
            start=start,
        )
        seconds = time.process_time() - began
        made = load_checkpoint(out, tokenizer_fingerprint=setting.tokenizer)
    return loss_of(made, setting.judging), learning, seconds / config.train.steps


def main() -> None:
    """Measure and print."""
    given = _arguments()
    base = ModelDir(given.base)
    tokenizer = TxTokenizer.load(base.tokenizer)
    exclude = frozenset(map(hash_key, given.exclude.read_text().split())) if given.exclude else frozenset()
    shards = open_shards(given.archive, Rejects(), parse_range(given.blocks) if given.blocks else None)
    sequences = [each.sequence for each in encode_all(shards, tokenizer, exclude=exclude)]
    model = load_checkpoint(base.checkpoint, tokenizer_fingerprint=tokenizer.fingerprint)
    config = load_config(PRESETS / f"{given.preset}.toml", given.set)
    config = replace(config, model=model.config)
    most = max(given.transactions)
    later = sequences[most : most + given.judging]
    judging = list(fixed_examples(later, model.config.longest, model.vocabulary, config.train))
    setting = Setting(base, tokenizer.fingerprint, config, judging)
    whole = sum(weight.numel() for weight in model.parameters())
    _head(len(later), sum(map(len, later)), config)
    print(f"{'base as it is':>36}{loss_of(model, judging):10.3f}", flush=True)
    for count in given.transactions:
        for way in WAYS:
            tried = [(*measure(way, setting, sequences[:count], model, rate), rate) for rate in given.rates]
            loss, learning, seconds, rate = min(tried)
            print(f"{count:>12,}  {way:>22}{loss:10.3f}{rate:12g}{learning / whole:11.1%}", end="")
            print(f"{seconds:14.3f}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="directory of the trained model")
    parser.add_argument("--archive", type=Path, required=True, help="the new transactions")
    parser.add_argument("--blocks", help="of the archive, such as 1500:2000")
    parser.add_argument("--exclude", type=Path, help="hashes to leave out, separated by white space")
    parser.add_argument("--transactions", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--judging", type=int, default=500, help="transactions after the last that train")
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3])
    parser.add_argument("--preset", default="demo", help="for batches and schedule")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as adapt.steps=100")
    return parser.parse_args()


def _head(count: int, tokens: int, config: Config) -> None:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    print(f"commit {commit.stdout.strip()}, {platform.processor() or platform.machine()}, ", end="")
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{config.adapt.steps} steps of {config.train.batch_tokens:,} tokens, ", end="")
    print(f"judged by {count:,} later transactions ({tokens:,} tokens)")
    print(f"{'transactions':>12}  {'':>22}{'nats':>10}{'rate':>12}{'learning':>11}{'CPU s/step':>14}")


if __name__ == "__main__":
    main()
