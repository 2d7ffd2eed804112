"""Attack families of the Solana world. DEV and EVAL have no family in common.

Mechanics are those of public reports: approval phishing and wallet drainers, leaked mint and freeze
authorities, SetAuthority phishing, Token-2022's permanent delegate in rug pulls, close-authority theft, fake
airdrops, stolen multisig keys, address poisoning.
"""

from __future__ import annotations

from pipelines.simulation.solana.incident import (
    Family,
)
from pipelines.simulation.solana.lure_attacks import (
    address_poisoning,
    fake_airdrop,
    freeze_ransom,
    multisig_theft,
    rent_theft,
)
from pipelines.simulation.solana.market_attacks import fake_price_accounts, oracle_manipulation
from pipelines.simulation.solana.token_attacks import (
    approval_drain,
    authority_takeover,
    mint_abuse,
    permanent_delegate,
    wallet_drain,
)

DEV: dict[str, Family] = {
    "approval_drain": approval_drain,
    "mint_abuse": mint_abuse,
    "authority_takeover": authority_takeover,
    "wallet_drain": wallet_drain,
    "permanent_delegate": permanent_delegate,
    "oracle_manipulation": oracle_manipulation,
}
EVAL: dict[str, Family] = {
    "freeze_ransom": freeze_ransom,
    "rent_theft": rent_theft,
    "fake_airdrop": fake_airdrop,
    "multisig_theft": multisig_theft,
    "address_poisoning": address_poisoning,
    "fake_price_accounts": fake_price_accounts,
}
"""Families by split: what is chosen on one is judged on the other."""
TIERS = {
    "approval_drain": "mimicry",
    "mint_abuse": "mimicry",
    "authority_takeover": "mimicry",
    "wallet_drain": "structural",
    "permanent_delegate": "context",
    "oracle_manipulation": "structural",
    "freeze_ransom": "context",
    "rent_theft": "mimicry",
    "fake_airdrop": "mimicry",
    "multisig_theft": "context",
    "address_poisoning": "context",
    "fake_price_accounts": "structural",
}
"""How much of an attack one transaction shows; the tiers are those of `pipelines.simulation.attacks.family`.

Context are those whose theft is, instruction for instruction, what the rightful owner of the key does too.
"""
