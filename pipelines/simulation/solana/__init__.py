"""A Solana world on LiteSVM: token-level life, labelled attacks, getTransaction-shaped records."""
