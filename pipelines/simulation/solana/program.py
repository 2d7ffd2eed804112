"""The swap and lending program of the Solana world, and how its C source becomes what LiteSVM loads.

`python -m pipelines.simulation.solana.program` compiles `programs/market.c` anew with the clang inside PyPI's
`ziglang` (not needed otherwise) and writes `programs/market.so`. The compiler gives one section of code for
the BPF machine; `link` puts it into the ELF form that Solana's loader takes (version 0: ET_DYN, syscalls as
R_BPF_64_32 relocations against dynamic symbols).
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines.simulation.engine import SimulationError

FOLDER = Path(__file__).parent / "programs"
MARKET = FOLDER / "market.so"
SYSCALLS = {1: "sol_invoke_signed_c"}
"""What the numbers that the source calls stand for."""
_FLAGS = (
    *("-target", "bpfel-freestanding", "-mcpu=v1", "-O2", "-fno-builtin", "-mllvm", "-bpf-stack-size=4096"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fno-stack-protector", "-c"),
)
_CALL, _LEN = 0x85, 8
_MACHINE, _SHARED = 247, 3
_PROGBITS, _STRTAB, _DYNAMIC, _REL, _DYNSYM = 1, 3, 6, 9, 11


def code_of(made: bytes) -> bytes:
    """The section `.text` of a relocatable ELF file.

    Raises:
        SimulationError: there is none, or it needs data or relocations that `link` does not know.
    """
    (offset,) = struct.unpack_from("<Q", made, 40)
    count, names = struct.unpack_from("<HH", made, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", made, offset + 64 * place) for place in range(count)]
    found = {}
    for section in sections:
        begin = sections[names][4] + section[0]
        name = made[begin : made.index(b"\0", begin)].decode()
        found[name] = made[section[4] : section[4] + section[5]]
    unknown = [name for name in found if name.startswith((".rodata", ".data", ".bss", ".rel"))]
    if unknown or not found.get(".text"):
        raise SimulationError(f"the program must be code alone, but it has {unknown or 'no code'}")
    return found[".text"]


def link(code: bytes) -> bytes:
    """The shared object that Solana's loader takes, with `code` as its only section of instructions.

    Raises:
        SimulationError: the code calls a number that is no key of SYSCALLS.
    """
    text = bytearray(code)
    base = 64 + 3 * 56
    relocations = b""
    for place in range(0, len(text), _LEN):
        if text[place] == _CALL:
            (number,) = struct.unpack_from("<i", text, place + 4)
            if number not in SYSCALLS or text[place + 1]:
                raise SimulationError(f"instruction {place // _LEN} calls {number}, which is no syscall")
            struct.pack_into("<BBhi", text, place, _CALL, 0x10, 0, -1)
            relocations += struct.pack("<QQ", base + place, (number << 32) | 10)
    strings, symbols = b"\0", bytes(24)
    for name in SYSCALLS.values():
        symbols += struct.pack("<IBBHQQ", len(strings), 0x10, 0, 0, 0, 0)
        strings += name.encode() + b"\0"
    strings = strings.ljust(-(-len(strings) // 8) * 8, b"\0")
    at = _places(base, bytes(text), symbols, strings, relocations, bytes(16 * 9))
    table = [(6, at[1]), (11, 24), (5, at[2]), (10, len(strings)), (17, at[3])]
    table += [(18, len(relocations)), (19, 16), (22, 0), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in table)
    sections = [
        (".text", _PROGBITS, 6, at[0], bytes(text), 0, 0, 0),
        (".dynsym", _DYNSYM, 2, at[1], symbols, 3, 1, 24),
        (".dynstr", _STRTAB, 2, at[2], strings, 0, 0, 0),
        (".rel.dyn", _REL, 2, at[3], relocations, 2, 0, 16),
        (".dynamic", _DYNAMIC, 3, at[4], dynamic, 3, 0, 16),
    ]
    return _elf(sections, base)


def _places(begin: int, *parts: bytes) -> list[int]:
    places = []
    for part in parts:
        places.append(begin)
        begin += len(part)
    return places


def _elf(sections: list[tuple[str, int, int, int, bytes, int, int, int]], base: int) -> bytes:
    """Header, program headers (code; the rest; the dynamic table), sections, section headers."""
    names = b"\0" + b"".join(section[0].encode() + b"\0" for section in sections) + b".shstrtab\0"
    content = b"".join(section[4] for section in sections)
    end = base + len(content)
    headers = bytes(64)
    for name, kind, flags, at, data, linked, info, entry in sections:
        place = names.index(name.encode() + b"\0")
        headers += struct.pack("<IIQQQQIIQQ", place, kind, flags, at, at, len(data), linked, info, 8, entry)
    place = names.index(b".shstrtab")
    headers += struct.pack("<IIQQQQIIQQ", place, _STRTAB, 0, 0, end, len(names), 0, 0, 1, 0)
    padded = names.ljust(-(-len(names) // 8) * 8, b"\0")
    code, dynamic = sections[0], sections[-1]
    loaded = [(1, 5, base, len(code[4])), (1, 6, sections[1][3], end - sections[1][3])]
    loaded.append((2, 6, dynamic[3], len(dynamic[4])))
    programs = b"".join(
        struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, 8) for kind, flags, at, size in loaded
    )
    identity = b"\x7fELF\2\1\1".ljust(16, b"\0")
    tail = (_SHARED, _MACHINE, 1, base, 64, end + len(padded), 0, 64, 56, len(loaded), 64, len(sections) + 2)
    header = identity + struct.pack("<HHIQQQIHHHHHH", *tail, len(sections) + 1)
    return header + programs + content + padded + headers


def compile_source(source: Path) -> bytes:
    """Compile a C source with ziglang's clang and link it.

    Raises:
        SimulationError: ziglang is not installed, or refuses the source.
    """
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "program.o"
        command = [sys.executable, "-m", "ziglang", "cc", *_FLAGS, str(source), "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SimulationError(
                f"{source.name} does not compile (is ziglang installed?): {done.stderr[-300:]}"
            )
        return link(code_of(made.read_bytes()))


if __name__ == "__main__":
    MARKET.write_bytes(compile_source(FOLDER / "market.c"))
