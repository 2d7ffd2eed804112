"""Instructions of Solana's well-known programs: names, typed arguments, names of accounts.

Sources: the programs' public interfaces (System and Stake: bincode with a u32 tag; SPL Token, Token-2022,
Associated Token, Compute Budget: one-byte tags; the token metadata interface: 8-byte discriminators).
A line of a table reads `tag name argument:type ... | account ...`, named as the RPC's jsonParsed encoding
names them; `a/b` are two names for one account, `?` marks an account that may be absent.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from blockscan.chains.base58 import KEY_BYTES, key_bytes, key_text
from blockscan.errors import ParseError

Argument: TypeAlias = int | str | None

SYSTEM = "11111111111111111111111111111111"
TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
TOKEN_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
ASSOCIATED_TOKEN = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"
COMPUTE_BUDGET = "ComputeBudget111111111111111111111111111111"
STAKE = "Stake11111111111111111111111111111111111111"
VOTE = "Vote111111111111111111111111111111111111111"
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
MEMO_V1 = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"

INTEGERS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i64": "<q", "enum8": "<B", "enum32": "<I"}

_SYSTEM_TABLE = """
0 createAccount lamports:u64 space:u64 owner:key | source newAccount
1 assign owner:key | account
2 transfer lamports:u64 | source destination
3 createAccountWithSeed base:key seed:str lamports:u64 space:u64 owner:key | source newAccount base?
4 advanceNonce | nonceAccount recentBlockhashesSysvar nonceAuthority
5 withdrawFromNonce lamports:u64 | nonceAccount destination recentBlockhashesSysvar rentSysvar nonceAuthority
6 initializeNonce nonceAuthority:key | nonceAccount recentBlockhashesSysvar rentSysvar
7 authorizeNonce newAuthorized:key | nonceAccount nonceAuthority
8 allocate space:u64 | account
9 allocateWithSeed base:key seed:str space:u64 owner:key | account base
10 assignWithSeed base:key seed:str owner:key | account base
11 transferWithSeed lamports:u64 sourceSeed:str sourceOwner:key | source sourceBase destination
12 upgradeNonce | nonceAccount
"""
_TOKEN_TABLE = """
0 initializeMint decimals:u8 mintAuthority:key freezeAuthority:key? | mint rentSysvar
1 initializeAccount | account mint owner rentSysvar
2 initializeMultisig m:u8 | multisig rentSysvar
3 transfer amount:u64 | source destination authority
4 approve amount:u64 | source delegate owner
5 revoke | source owner
6 setAuthority authorityType:enum8 newAuthority:key? | mint/account authority
7 mintTo amount:u64 | mint account mintAuthority
8 burn amount:u64 | account mint authority
9 closeAccount | account destination owner
10 freezeAccount | account mint freezeAuthority
11 thawAccount | account mint freezeAuthority
12 transferChecked amount:u64 decimals:u8 | source mint destination authority
13 approveChecked amount:u64 decimals:u8 | source mint delegate owner
14 mintToChecked amount:u64 decimals:u8 | mint account mintAuthority
15 burnChecked amount:u64 decimals:u8 | account mint authority
16 initializeAccount2 owner:key | account mint rentSysvar
17 syncNative | account
18 initializeAccount3 owner:key | account mint
19 initializeMultisig2 m:u8 | multisig
20 initializeMint2 decimals:u8 mintAuthority:key freezeAuthority:key? | mint
21 getAccountDataSize extensionTypes:u16s | mint
22 initializeImmutableOwner | account
23 amountToUiAmount amount:u64 | mint
24 uiAmountToAmount uiAmount:text | mint
25 initializeMintCloseAuthority newAuthority:key? | mint
26.0 initializeTransferFeeConfig transferFeeConfigAuthority:key? withdrawWithheldAuthority:key? \
transferFeeBasisPoints:u16 maximumFee:u64 | mint
26.1 transferCheckedWithFee amount:u64 decimals:u8 fee:u64 | source mint destination authority
26.2 withdrawWithheldTokensFromMint | mint feeRecipient withdrawWithheldAuthority
26.5 setTransferFee transferFeeBasisPoints:u16 maximumFee:u64 | mint transferFeeConfigAuthority
28.0 initializeDefaultAccountState accountState:u8 | mint
28.1 updateDefaultAccountState accountState:u8 | mint freezeAuthority
29 reallocate extensionTypes:u16s | account payer systemProgram owner
30.0 enableRequiredMemoTransfers | account owner
30.1 disableRequiredMemoTransfers | account owner
31 createNativeMint | payer nativeMint systemProgram
32 initializeNonTransferableMint | mint
34.0 enableCpiGuard | account owner
34.1 disableCpiGuard | account owner
35 initializePermanentDelegate delegate:key | mint
36.0 initializeTransferHook authority:key0 programId:key0 | mint
36.1 updateTransferHook programId:key0 | mint authority
38 withdrawExcessLamports | source destination authority
39.0 initializeMetadataPointer authority:key0 metadataAddress:key0 | mint
39.1 updateMetadataPointer metadataAddress:key0 | mint authority
210.225.30.162.88.184.77.141 initializeTokenMetadata name:str4 symbol:str4 uri:str4 \
| metadata updateAuthority mint mintAuthority
215.228.166.228.84.100.86.123 updateTokenMetadataAuthority newAuthority:key0 | metadata updateAuthority
"""
_ASSOCIATED_TABLE = """
0 create | source account wallet mint systemProgram tokenProgram
1 createIdempotent | source account wallet mint systemProgram tokenProgram
2 recoverNested | nestedSource nestedMint destination nestedOwner ownerMint wallet tokenProgram
"""
_BUDGET_TABLE = """
1 requestHeapFrame bytes:u32 |
2 setComputeUnitLimit units:u32 |
3 setComputeUnitPrice microLamports:u64 |
4 setLoadedAccountsDataSizeLimit bytes:u32 |
"""
_STAKE_TABLE = """
0 initialize authorized.staker:key authorized.withdrawer:key lockup.unixTimestamp:i64 lockup.epoch:u64 \
lockup.custodian:key | stakeAccount rentSysvar
1 authorize newAuthority:key authorityType:enum32 | stakeAccount clockSysvar authority custodian?
2 delegate | stakeAccount voteAccount clockSysvar stakeHistorySysvar stakeConfigAccount stakeAuthority
3 split lamports:u64 | stakeAccount newSplitAccount stakeAuthority
4 withdraw lamports:u64 \
| stakeAccount destination clockSysvar stakeHistorySysvar withdrawAuthority custodian?
5 deactivate | stakeAccount clockSysvar stakeAuthority
7 merge | destination source clockSysvar stakeHistorySysvar stakeAuthority
9 initializeChecked | stakeAccount rentSysvar staker withdrawer
10 authorizeChecked authorityType:enum32 | stakeAccount clockSysvar authority newAuthority custodian?
"""
_MEMO_TABLE = "- memo text:text |"


@dataclass(frozen=True, slots=True)
class Layout:
    """One instruction: `name` is "program:instruction", `tag` the bytes that it begins with."""

    name: str
    tag: bytes
    arguments: tuple[tuple[str, str], ...]
    accounts: tuple[str, ...]

    def unpack(self, data: bytes) -> tuple[Argument, ...] | None:
        """The arguments of instruction data, or None where it is not exactly of this layout."""
        place = len(self.tag)
        found: list[Argument] = []
        try:
            for _, kind in self.arguments:
                values, place = _read(kind, data, place)
                found.extend(values)
        except (struct.error, UnicodeDecodeError, IndexError):
            return None
        return tuple(found) if data == self.pack(found) else None

    def pack(self, values: Sequence[Argument]) -> bytes:
        """Instruction data of arguments: the inverse of `unpack`.

        Raises:
            ParseError: the arguments are not of the layout's types, or out of their range.
        """
        waiting = list(values)
        parts = [self.tag]
        try:
            for _, kind in self.arguments:
                if kind == "u16s":
                    parts += [struct.pack("<H", value) for value in waiting]
                    waiting.clear()
                else:
                    parts.append(_write(kind, waiting.pop(0)))
        except (struct.error, TypeError, IndexError, AttributeError) as error:
            raise ParseError(f"arguments of {self.name} are not of its types: {error}") from error
        if waiting:
            raise ParseError(f"{self.name} takes {len(self.arguments)} arguments, not {len(values)}")
        return b"".join(parts)


def _read(kind: str, data: bytes, place: int) -> tuple[list[Argument], int]:
    if kind in INTEGERS:
        form = INTEGERS[kind]
        return [struct.unpack_from(form, data, place)[0]], place + struct.calcsize(form)
    if kind in ("key", "key0"):
        raw = data[place : place + KEY_BYTES]
        if len(raw) < KEY_BYTES:
            raise IndexError
        return [None if kind == "key0" and not any(raw) else key_text(raw)], place + KEY_BYTES
    if kind == "key?":
        return _read("key", data, place + 1) if data[place] else ([None], place + 1)
    if kind == "u16s":
        return [value for (value,) in struct.iter_unpack("<H", data[place:])], len(data)
    if kind == "text":
        return [data[place:].decode()], len(data)
    form = "<Q" if kind == "str" else "<I"
    begin = place + struct.calcsize(form)
    end = begin + struct.unpack_from(form, data, place)[0]
    return [data[begin:end].decode()], end


def _write(kind: str, value: Argument) -> bytes:
    if kind in INTEGERS:
        return struct.pack(INTEGERS[kind], value)
    if kind == "key?":
        return b"\0" if value is None else b"\1" + _write("key", value)
    if kind == "key0" and value is None:
        return bytes(KEY_BYTES)
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    if kind in ("key", "key0"):
        return key_bytes(value)
    raw = value.encode()
    return raw if kind == "text" else struct.pack("<Q" if kind == "str" else "<I", len(raw)) + raw


def _table(program: str, text: str, tag_form: str = "<B") -> dict[bytes, Layout]:
    layouts = {}
    for line in filter(None, text.splitlines()):
        left, _, accounts = line.partition("|")
        tag_text, name, *arguments = left.split()
        numbers = [] if tag_text == "-" else tag_text.split(".")
        tag = b"".join(struct.pack(tag_form, int(number)) for number in numbers)
        pairs = tuple((one.partition(":")[0], one.partition(":")[2]) for one in arguments)
        layouts[tag] = Layout(f"{program}:{name}", tag, pairs, tuple(accounts.split()))
    return layouts


_TOKEN_LAYOUTS = _table("spl-token", _TOKEN_TABLE)
_MEMO_LAYOUTS = _table("spl-memo", _MEMO_TABLE)
PROGRAMS: dict[str, dict[bytes, Layout]] = {
    SYSTEM: _table("system", _SYSTEM_TABLE, "<I"),
    TOKEN: _TOKEN_LAYOUTS,
    TOKEN_2022: _TOKEN_LAYOUTS,
    ASSOCIATED_TOKEN: _table("spl-associated-token-account", _ASSOCIATED_TABLE),
    COMPUTE_BUDGET: _table("compute-budget", _BUDGET_TABLE),
    STAKE: _table("stake", _STAKE_TABLE, "<I"),
    MEMO: _MEMO_LAYOUTS,
    MEMO_V1: _MEMO_LAYOUTS,
}
"""Program id -> tag -> layout."""
LAYOUTS = {layout.name: layout for table in PROGRAMS.values() for layout in table.values()}
"""Every layout by its name."""
_TAG_WIDTHS = (8, 4, 2, 1, 0)


def layout_of(program: str | None, data: bytes) -> Layout | None:
    """The layout whose tag some instruction data begins with; None for other programs and tags."""
    table = PROGRAMS.get(program or "")
    if table is None:
        return None
    return next((found for width in _TAG_WIDTHS if (found := table.get(data[:width]))), None)


def decode_instruction(program: str | None, data: bytes) -> tuple[Layout, tuple[Argument, ...]] | None:
    """Layout and arguments of instruction data; None where no layout fits it exactly."""
    layout = layout_of(program, data)
    arguments = None if layout is None else layout.unpack(data)
    return None if layout is None or arguments is None else (layout, arguments)
