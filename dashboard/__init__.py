"""The Streamlit dashboard; reads results through blockscan.store and nothing else."""

STORE_VARIABLE = "BLOCKSCAN_STORE"
"""The environment variable that names the store to show; the launcher sets it."""
