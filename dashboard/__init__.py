"""The Streamlit dashboard; reads results through blockscan.store and nothing else."""
