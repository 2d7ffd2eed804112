"""A small DeFi world on a real EVM: benign traffic, labelled attacks, a recording, a replay server."""
