"""Attacks with ground truth: one file per family, each a session that proves its gain from balances."""
