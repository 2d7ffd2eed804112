"""Every error a user can cause or meet; the CLI turns exactly these into one line and exit status 1.

A message says what went wrong, where, and what to do about it.
"""


class BlockScanError(Exception):
    """Base of all errors that are reported to the user without a traceback."""


class ConfigError(BlockScanError):
    """A preset, an option or a combination of options that cannot be used."""


class ChainError(BlockScanError):
    """A node or a file of chain data did not give what was asked of it."""


class RpcError(ChainError):
    """A JSON-RPC endpoint failed, refused or answered something that is not an answer."""


class UnsupportedTrace(ChainError):
    """The endpoint offers none of the trace methods that the chain adapter can read."""


class ParseError(BlockScanError):
    """One transaction's raw data is not of the form that its source declares."""


class ArtifactError(BlockScanError):
    """A directory that should hold an archive, tokenizer, checkpoint or calibration does not."""


class StoreError(BlockScanError):
    """The result store cannot be opened, read or written."""


class ReceiverError(BlockScanError):
    """Who is to be told of alerts cannot be told, or refused to be."""
