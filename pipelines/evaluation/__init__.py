"""The parts of `blockscan evaluate`: which transactions count, the figures, the tables and the report."""
