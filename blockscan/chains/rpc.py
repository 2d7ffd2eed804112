"""Fetch raw EVM blocks from a node: the impure half of the Ethereum adapter."""

from typing import Any

from blockscan.archive import RawBlock
from blockscan.chains.ethereum import chain_name
from blockscan.chains.frames import read_quantity
from blockscan.chains.transport import Endpoint, MethodRefused
from blockscan.errors import ChainError, UnsupportedTrace
from blockscan.transaction import TraceSource

_TRACER = {"tracer": "callTracer", "tracerConfig": {"withLog": True}, "timeout": "60s"}


class EthereumNode:
    """A node that can trace: probes once which trace method it has, then fetches block by block."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Ask the node for its chain id.

        Raises:
            RpcError: the node does not answer.
        """
        self._endpoint = endpoint
        self.chain_id = read_quantity(endpoint.fetch("eth_chainId", [])[0], "eth_chainId")
        self.chain = chain_name(self.chain_id)
        self._source: TraceSource | None = None

    def head(self) -> int:
        """Number of the newest block."""
        return read_quantity(self._endpoint.fetch("eth_blockNumber", [])[0], "eth_blockNumber")

    def fetch(self, number: int) -> RawBlock:
        """One block with receipts and traces, as the node sent them.

        Raises:
            ChainError: the block does not exist, or its parts do not belong together.
            UnsupportedTrace: the node has neither debug_traceBlockByNumber nor trace_block.
        """
        tag = hex(number)
        block, block_body = self._endpoint.fetch("eth_getBlockByNumber", [tag, True])
        if not isinstance(block, dict):
            raise ChainError(f"{self._endpoint.shown} has no block {number:,}; ask for a smaller range")
        receipts, receipts_body = self._endpoint.fetch("eth_getBlockReceipts", [tag])
        traces, traces_body, source = self._traces(tag)
        hashes = tuple(str(entry.get("hash")) for entry in block.get("transactions") or [])
        self._check(number, block, receipts, traces, hashes)
        return RawBlock(
            chain=self.chain,
            number=number,
            hash=str(block.get("hash")),
            parent_hash=str(block.get("parentHash")),
            time=read_quantity(block.get("timestamp"), "timestamp"),
            source=source,
            form="rpc",
            tx_hashes=hashes,
            bodies={"block": block_body, "receipts": receipts_body, "traces": traces_body},
        )

    def _traces(self, tag: str) -> tuple[Any, bytes, TraceSource]:
        if self._source is not TraceSource.TRACE_BLOCK:
            try:
                traces, body = self._endpoint.fetch("debug_traceBlockByNumber", [tag, _TRACER])
            except MethodRefused:
                if self._source is not None:
                    raise
            else:
                self._source = TraceSource.CALL_TRACER_LOGS
                return traces, body, self._source
        try:
            traces, body = self._endpoint.fetch("trace_block", [tag])
        except MethodRefused as error:
            if self._source is not None:
                raise
            raise UnsupportedTrace(
                f"{self._endpoint.shown} offers neither debug_traceBlockByNumber nor trace_block ({error}); "
                "use an archive node or a plan with trace methods"
            ) from error
        self._source = TraceSource.TRACE_BLOCK
        return traces, body, self._source

    def _check(self, number: int, block: Any, receipts: Any, traces: Any, hashes: tuple[str, ...]) -> None:
        """The three answers must speak of the same block."""
        where = f"{self._endpoint.shown} block {number:,}"
        if read_quantity(block.get("number"), "number") != number:
            raise ChainError(f"{where}: the node answered with another block")
        if not isinstance(receipts, list) or not isinstance(traces, list):
            raise ChainError(f"{where}: receipts and traces must be lists")
        if {str(entry.get("blockHash")) for entry in receipts} - {str(block.get("hash"))}:
            raise ChainError(f"{where}: receipts of another block hash (a reorg?); run again")
        if {str(entry.get("transactionHash")) for entry in receipts} != set(hashes):
            raise ChainError(f"{where}: the receipts are not those of the block's transactions; run again")
        key = "transactionHash" if self._source is TraceSource.TRACE_BLOCK else "txHash"
        if {str(entry[key]) for entry in traces if entry.get(key)} != set(hashes):
            raise ChainError(f"{where}: the traces are not those of the block's transactions; run again")
