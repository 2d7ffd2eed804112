"""Hand-assembled helper contracts: reactions answer every time and act a limited number of times."""

import pytest

from pipelines.simulation.bytecode import Assembler, Reaction, Step, contract_code, deploy_code, script_code
from pipelines.simulation.chain import CHAIN_ID, START
from pipelines.simulation.engine import Account, Tx
from pipelines.simulation.pyevm import PyEvm

RUN, HOOK, NOTE = b"\x01run", b"hook", b"note"
ANSWER = b"\x07".rjust(32, b"\0")


@pytest.fixture
def chain():
    engine = PyEvm(chain_id=CHAIN_ID, timestamp=START)
    who = Account.from_seed(b"author")
    engine.fund(who.address, 10**21, 0)

    def send(to, data):
        return engine.tx(Tx(who, to, data, 0, 5_000_000, 10**11, None))

    return engine, who, send


def notebook():
    """A contract whose `note` logs once per call."""

    def body(asm: Assembler) -> None:
        asm.push(b"\x11" * 32).push(0).push(0).op(0xA1)

    return deploy_code(contract_code([(NOTE, body)]))


def test_a_reaction_acts_its_number_of_times_and_answers_always(chain):
    engine, who, send = chain
    book = send(None, notebook()).made
    reaction = Reaction(HOOK, [Step(book, 0, NOTE), Step(book, 0, NOTE)], answer=ANSWER, times=2)
    script = send(None, script_code(RUN, [], reactions=[reaction])).made
    caller = send(None, script_code(RUN, [Step(script, 0, HOOK)] * 4)).made
    receipt = send(caller, RUN)
    assert receipt.ok
    assert len(receipt.logs) == 2 * 2
    assert engine.call(who.address, script, HOOK, 0).output == ANSWER
    assert send(script, HOOK).logs == ()


def test_scripts_without_reactions_ignore_callbacks(chain):
    _, _, send = chain
    book = send(None, notebook()).made
    script = send(None, script_code(RUN, [Step(book, 0, NOTE)])).made
    assert send(script, HOOK).logs == ()
    assert len(send(script, RUN).logs) == 1


def test_two_reactions_count_apart(chain):
    _, _, send = chain
    book = send(None, notebook()).made
    other = b"othr"
    reactions = [Reaction(HOOK, [Step(book, 0, NOTE)]), Reaction(other, [Step(book, 0, NOTE)], times=3)]
    script = send(None, script_code(RUN, [], reactions=reactions)).made
    assert [len(send(script, HOOK).logs) for _ in range(3)] == [1, 0, 0]
    assert [len(send(script, other).logs) for _ in range(4)] == [1, 1, 1, 0]
