"""What contracts hold and who put it there: from the history on, through what is scored, and back again."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from blockscan.detect import books as module
from blockscan.detect.books import Books
from blockscan.detect.dealings import MOST_TRANSFERS, dealing_in, dealings_facts, joint_of
from blockscan.detect.fact import Fact
from blockscan.detect.facts import facts_of
from blockscan.detect.flow import ETHER, ZERO
from blockscan.detect.history import history_of, merged
from blockscan.detect.history_file import load_history, save_history
from blockscan.transaction import Call, CallKind, Log, LogOrder, TraceSource, Transaction

USER, THIEF, MAKER, VAULT, YOUNG, TOKEN, GOLD, TOOL, OLD = ("0x" + letter * 40 for letter in "abcdef789")
TRANSFER = bytes.fromhex("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef")


def word(value: int | str) -> bytes:
    return value.to_bytes(32) if isinstance(value, int) else bytes.fromhex(value[2:]).rjust(32, b"\0")


def moved(giver: str, taker: str, amount: int, asset: str = TOKEN) -> Log:
    return Log(asset, (TRANSFER, word(giver), word(taker)), word(amount))


def call(caller: str, target: str, *steps: Call | Log, kind=CallKind.CALL, value=0, error=None) -> Call:
    return Call(kind, caller, target, b"\1\2\3\4", b"", value, error, None, steps)


def at(root: Call, block: int = 9, chain: str = "ethereum") -> Transaction:
    return Transaction(
        chain, f"0x{block:x}", block, None, 0, block, root.caller, True, None, root,
        TraceSource.CALL_TRACER_LOGS, LogOrder.EXACT,
    )  # fmt: skip


def make(contract: str, maker: str = MAKER, block: int = 1, **how) -> Transaction:
    return at(call(maker, TOOL, call(TOOL, contract, kind=CallKind.CREATE2, **how)), block)


def put(amount: int, user: str = USER, block: int = 2, contract: str = VAULT) -> Transaction:
    return at(call(user, contract, moved(user, contract, amount)), block)


def take(amount: int, user: str = THIEF, *others: Log, block: int = 9, contract: str = VAULT) -> Transaction:
    return at(call(user, contract, moved(contract, user, amount), *others), block)


PAST = [make(VAULT), put(700), put(300, THIEF), put(1000, USER, 3, OLD), at(call(USER, VAULT, value=50), 3)]


@pytest.fixture
def books() -> Books:
    return Books(history_of(PAST))


def share(books: Books, transaction: Transaction) -> float:
    """The fact as it is scored: by itself what the history knows, together what came since."""
    facts, dealing = facts_of(transaction, books.history), dealing_in(transaction, books.history)
    joint = {each.name: each.value for each in joint_of(facts, [], dealing, books)}
    return joint.get("withdrawn", facts["withdrawn"].value)


def note(books: Books, *transactions: Transaction) -> None:
    for each in transactions:
        books.add(dealing_in(each, books.history))


def test_who_takes_what_others_put_in(books: Books) -> None:
    assert share(books, take(900)) == pytest.approx(0.6), "300 of it were his"
    assert share(books, take(1000, TOOL)) == 1.0
    assert share(books, take(300)) == share(books, take(700, USER)) == 0.0
    assert share(books, at(call(THIEF, VAULT, call(VAULT, THIEF, value=50)))) == 1.0, "ether as well"
    said = facts_of(take(1000, TOOL), books.history)["withdrawn"]
    assert (
        said.found == f"100% of what {VAULT} is known to have, 1e+03 units of {TOKEN} to the sender"
        and said.node == 0
    )
    assert share(books, make(YOUNG, THIEF, 9)) == 0.0
    assert share(books, take(5000, TOOL)) == 1.0, "a token that keeps other books"


def test_it_does_not_matter_where_it_is_sent(books: Books) -> None:
    elsewhere = at(call(THIEF, VAULT, moved(VAULT, TOOL, 400), moved(VAULT, USER, 600)))
    assert share(books, elsewhere) == pytest.approx(0.4), "700 were the user's"
    said = facts_of(elsewhere, books.history)["withdrawn"].found
    assert said == f"40% of what {VAULT} is known to have, 400 units of {TOKEN} to {TOOL}"
    little = facts_of(at(call(THIEF, VAULT, moved(VAULT, TOOL, 4))), books.history)["withdrawn"].found
    assert little.startswith("0.4% of what ")
    bought = at(call(THIEF, VAULT, moved(VAULT, TOOL, 400), call(TOOL, OLD, value=5)))
    assert share(books, bought) == 0.0, "the taker gave something for it"
    made = at(call(MAKER, VAULT, moved(VAULT, TOOL, 400)))
    assert share(books, made) == 0.0, "who had it created may send it where he likes"


def test_who_pays_or_made_it_takes_nothing(books: Books) -> None:
    paid = moved(THIEF, VAULT, 5, GOLD)
    known = Books(
        history_of([*PAST, *(at(call(USER, TOOL, moved(USER, TOOL, 5 + n, GOLD)), 3) for n in range(12))])
    )
    assert share(known, take(1000, TOOL)) == 1.0
    assert share(known, take(900, THIEF, paid)) == 0.0
    assert share(books, take(900, THIEF, paid)) > 0, "with a token that nobody knows"
    by_another = take(900, THIEF, moved(USER, VAULT, 5, GOLD))
    assert share(known, by_another) == 0.0, "the vault was paid, whoever did it"
    assert share(books, take(1000, MAKER)) == 0.0
    assert share(books, take(1000, TOOL, contract=OLD)) == 0.0, "what it had at first nobody knows"
    assert share(books, take(1000, TOOL, moved(TOOL, VAULT, 1000))) == 0.0, "and gives it back"
    passed_on = at(call(TOOL, VAULT, moved(USER, VAULT, 900), moved(VAULT, TOOL, 900)))
    assert share(books, passed_on) == 0.0, "the vault had as much after as before"


def test_the_books_go_on_with_what_is_scored(books: Books) -> None:
    note(books, put(4000, TOOL, 5))
    assert share(books, take(4000, TOOL)) == 0.0
    assert share(books, take(2500, THIEF)) == pytest.approx(2200 / 5000)
    note(books, take(4000, TOOL, block=6))
    assert share(books, take(500, TOOL)) == 0.5, "he has got back what was his"
    note(books, make(YOUNG, block=6), put(10, USER, 7, YOUNG))
    assert share(books, take(10, THIEF, contract=YOUNG)) == 1.0
    assert share(books, take(10, MAKER, contract=YOUNG)) == 0.0
    failed = at(call(MAKER, TOOL, call(TOOL, GOLD, kind=CallKind.CREATE, error="reverted")), 7)
    note(books, failed, put(10, USER, 7, GOLD))
    assert not books.known(GOLD)


def test_the_past_is_entered_once(books: Books) -> None:
    note(books, put(700), replace(put(700), block_number=3))
    assert share(books, take(1000, TOOL)) == 1.0 and books.held(VAULT, TOKEN) == 1000
    note(books, put(500, TOOL, 4))
    assert books.held(VAULT, TOKEN) == 1500
    note(books, replace(put(500, TOOL, 3), chain="base"))
    assert books.held(VAULT, TOKEN) == 2000, "of another chain nothing was counted"
    note(books, replace(put(500, TOOL), block_number=None))
    assert books.held(VAULT, TOKEN) == 2500


def test_of_what_they_held_when_they_began_the_books_say_nothing(books: Books) -> None:
    """A deposit that was taken back in the same blocks would make a thief of the depositor."""
    note(books, put(4000, TOOL, 4), take(4000, TOOL, block=5))
    on = Books(books.history, books.entered())
    assert share(on, take(4000, TOOL, block=5)) == 0.0
    assert share(on, take(900, block=3)) == facts_of(take(900, block=3), on.history)["withdrawn"].value == 0.0
    assert share(on, take(900, block=6)) == pytest.approx(0.6)
    assert share(on, replace(take(900, block=3), block_number=None)) == pytest.approx(0.6)
    assert share(on, replace(take(900, block=3), chain="base")) == pytest.approx(0.6)


def test_blocks_that_left_the_chain_are_taken_back(books: Books) -> None:
    note(books, put(5, TOOL, 4), put(70, TOOL, 5), put(900, TOOL, 6), take(3, TOOL, block=6))
    books.take_back("ethereum", 5)
    assert books.held(VAULT, TOKEN) == 1005 and books.put(TOOL, VAULT, TOKEN) == 5
    books.take_back("ethereum", 1)
    assert books.held(VAULT, TOKEN) == 1000 and books.put(TOOL, VAULT, TOKEN) == 0


def test_a_contract_that_left_the_chain_was_never_made(books: Books) -> None:
    note(books, make(YOUNG, block=5), make(OLD, block=6), put(10, USER, 6, YOUNG))
    assert books.reached == {"ethereum": 6}
    books.take_back("ethereum", 6)
    assert books.known(YOUNG) and not books.known(OLD) and books.reached == {"ethereum": 5}
    note(books, make(OLD, THIEF, 6))
    assert books.made_by(OLD, THIEF) and not books.made_by(OLD, MAKER)


def test_whole_contracts_are_forgotten_that_changed_longest_ago(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deposit that is forgotten while what is held is known would make a thief of the depositor."""
    note(books, put(4000, TOOL, 5))
    monkeypatch.setattr(module, "MOST", 5)
    assert share(books, take(2500)) > 0
    note(books, make(YOUNG, block=6), *(put(10, f"0x{n:040x}", 6, YOUNG) for n in range(3)))
    assert not books.known(VAULT) and share(books, take(4000, TOOL)) == share(books, take(2500)) == 0.0
    assert books.known(YOUNG) and share(books, take(30, contract=YOUNG)) == 1.0
    on = Books(books.history, books.entered())
    assert not on.known(VAULT) and on.known(YOUNG)


def test_what_can_be_taken_back_is_bounded(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 6)
    note(books, *(put(1, USER, block) for block in (5, 6, 7, 8)))
    assert [each.block for each in books._last] == [6, 7, 8]
    monkeypatch.setattr(module, "UNDONE", 2)
    note(books, make(OLD, block=9))
    assert [each.block for each in books._last] == [8, 9]


def test_of_very_many_new_contracts_the_newest_are_known(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 4)
    note(books, *(make(f"0x{n:040x}", block=6) for n in range(6)))
    assert [books.known(f"0x{n:040x}") for n in range(6)] == [False] * 4 + [True] * 2
    assert books.known(VAULT) and books.made_by(VAULT, MAKER)
    monkeypatch.setattr(module, "MOST", 2)
    note(books, put(1, USER, 7, f"0x{5:040x}"), put(1, THIEF, 7))
    assert not books.known(f"0x{5:040x}") and books.known(VAULT) and not books._lost


def test_books_with_a_gap_know_only_what_was_made_since(books: Books) -> None:
    note(books, make(YOUNG, block=5), put(10, USER, 5, YOUNG))
    books.forget()
    assert not books.known(VAULT) and not books.known(YOUNG) and share(books, take(1000, TOOL)) == 0.0
    note(books, make(OLD, block=2), put(10, USER, 2, OLD), put(10, USER, 3))
    assert share(books, take(10, contract=OLD)) == 1.0
    on = Books(books.history, books.entered())
    assert on.known(OLD) and not on.known(VAULT) and on.held(OLD, TOKEN) == 10 and on.held(VAULT, TOKEN) == 0


def test_his_new_contracts_may_take_back_what_they_put_in(books: Books) -> None:
    """What is created in the same transaction cannot have put anything in; what is older can."""
    note(books, put(4000, TOOL, 5))
    own = [dealing_in(make(TOOL, THIEF, 8), books.history)]
    now = dealing_in(at(call(THIEF, TOOL, moved(VAULT, TOOL, 4000))), books.history)
    assert dealings_facts(own, now, books)["withdrawn"].value == 0.0
    more = dealing_in(at(call(THIEF, TOOL, moved(VAULT, TOOL, 4700))), books.history)
    taken = dealings_facts(own, more, books)["withdrawn"].value
    assert taken == pytest.approx(400 / 5000), "300 were the thief's"


def test_junk_in_front_hides_nothing(books: Books) -> None:
    junk = [moved(USER, OLD, 1, GOLD)] * (MOST_TRANSFERS + 9)
    one = at(call(TOOL, VAULT, *junk, moved(VAULT, TOOL, 1000)))
    assert share(books, one) == 1.0
    note(books, one)
    assert books.held(VAULT, TOKEN) == 0


def test_how_much_is_looked_up_is_not_his_choice(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair of his contracts and of who gives him something was."""
    mine = [f"0x1{n:039x}" for n in range(60)]
    gifts = [moved(f"0x2{n:039x}", THIEF, 1) for n in range(500)]
    earlier = [dealing_in(make(one, THIEF, 8), books.history) for one in mine]
    now = dealing_in(at(call(THIEF, TOOL, *gifts, moved(VAULT, THIEF, 1000))), books.history)
    asked: list[str] = []
    monkeypatch.setattr(Books, "made_by", lambda _, contract, account: asked.append(account) or False)
    assert dealings_facts(earlier, now, books)["withdrawn"].value == pytest.approx(0.7)
    assert 60 < len(asked) < 200, "not 60 times 500"


def test_the_contract_that_is_named_is_the_one_by_all_that_is_known(books: Books) -> None:
    note(books, make(YOUNG, block=5), put(10, USER, 5, YOUNG), put(1000, TOOL, 5), take(1000, USER, block=6))
    both = at(call(TOOL, YOUNG, moved(VAULT, TOOL, 1000), moved(YOUNG, TOOL, 10)))
    facts, dealing = facts_of(both, books.history), dealing_in(both, books.history)
    assert VAULT in facts["withdrawn"].found
    (joint,) = joint_of(facts, [], dealing, books)
    assert joint.value == facts["withdrawn"].value == 1.0
    assert f"of what {YOUNG} is known to have" in joint.found


def test_others_go_on_where_these_end(books: Books) -> None:
    note(books, make(YOUNG, block=5), put(10, USER, 5, YOUNG), put(4000, TOOL, 6))
    on = Books(books.history, books.entered())
    for each in (books, on):
        assert each.held(VAULT, TOKEN) == 5000 and each.put(TOOL, VAULT, TOKEN) == 4000
        assert each.made_by(YOUNG, MAKER) and each.known(YOUNG) and not each.known(OLD)
    note(on, put(1, block=6), put(1, block=7))
    assert on.held(VAULT, TOKEN) == 5001 and on.reached == {"ethereum": 7}
    note(on, replace(put(1, block=3), chain="base"))
    later = Books(on.history, on.entered())
    assert later.held(VAULT, TOKEN) == 5002 and later.put(USER, YOUNG, TOKEN) == 10
    assert later.reached == {"ethereum": 7, "base": 3} and later.made_by(YOUNG, MAKER)
    assert later.entered().until == later.reached


def test_books_of_the_past_from_disk_and_together(tmp_path: Path) -> None:
    save_history(history_of(PAST), tmp_path / "one")
    first = history_of(PAST[:2])
    together = merged(first, history_of(PAST[2:], first))
    for known in (load_history(tmp_path / "one"), together):
        books = Books(known)
        assert (books.held(VAULT, TOKEN), books.put(THIEF, VAULT, TOKEN)) == (1000, 300)
        assert books.held(VAULT, ETHER) == 50 and books.held(OLD, TOKEN) == 0
        assert books.known(VAULT) and books.made_by(VAULT, MAKER) and not books.made_by(VAULT, USER)
        assert not books.known(OLD) and not books.known(ZERO)


def test_what_a_token_says_of_itself_is_nobodys(books: Books) -> None:
    note(books, make(TOKEN, block=5), at(call(USER, TOKEN, moved(ZERO, TOKEN, 50)), 5))
    assert share(books, at(call(THIEF, TOKEN, moved(TOKEN, THIEF, 50)))) == 0.0
    assert facts_of(at(call(THIEF, VAULT)), books.history)["withdrawn"] == Fact(0.0)


LONG_INPUT = b"\1\2\3\4" + bytes(7 * 32)


def send(
    data: bytes = LONG_INPUT, target: str = VAULT, user: str = USER, block: int = 5, **how
) -> Transaction:
    return replace(at(Call(CallKind.CALL, user, target, data, b"", 0, how.get("error"), None, ()), block))


def again(books: Books, transaction: Transaction) -> float:
    facts, dealing = facts_of(transaction, books.history), dealing_in(transaction, books.history)
    joint = {each.name: each.value for each in joint_of(facts, [], dealing, books)}
    return joint.get("replayed", facts["replayed"].value)


@pytest.fixture
def heard() -> Books:
    """The past has other input of the name nine times."""
    return Books(history_of([*PAST, *(send(LONG_INPUT + bytes([99, n]), block=3) for n in range(9))]))


def test_input_that_was_sent_before(heard: Books) -> None:
    """Whoever sends it now; how rare that is for the name is what the past says."""
    books = heard
    assert again(books, send()) == 0.0
    note(books, send())
    assert again(books, send(user=THIEF, block=6)) == pytest.approx(-math.log(0.5 / 10))
    assert again(books, send(target=YOUNG)) == 0.0, "another contract has not heard it"
    other = LONG_INPUT[:-1] + b"\1"
    assert again(books, send(other)) == 0.0
    short = LONG_INPUT[:-1]
    note(books, send(short), send(other, error="reverted", block=6))
    assert again(books, send(short)) == 0.0, "alike by chance"
    assert again(books, send(other)) == 0.0, "what failed can be sent again"
    facts = dealings_facts([], dealing_in(send(user=THIEF), books.history), books)
    assert facts["replayed"].found == f"0x01020304 of {VAULT}"


def test_what_is_part_of_the_past_itself_was_not_sent_before(heard: Books) -> None:
    """Else whoever scores the blocks that were counted, or calibrated on, gets an alarm for each of them."""
    note(heard, send(block=5))
    on = Books(heard.history, heard.entered())
    counted, calibrated = send(LONG_INPUT + bytes([99, 0]), block=3), send(block=5)
    assert again(on, counted) == again(on, calibrated) == 0.0
    assert again(on, replace(calibrated, block_number=None)) == 0.0, "it may be"
    on.forget()
    assert again(on, counted) == again(on, calibrated) == 0.0
    assert min(again(on, replace(each, block_number=6)) for each in (counted, calibrated)) > 0


def test_what_was_read_without_a_block_is_no_replay_of_itself(heard: Books) -> None:
    """A file may lack the number that the archive has."""
    without = [replace(send(LONG_INPUT + bytes([n])), block_number=None) for n in range(2)]
    books = Books(merged(heard.history, history_of(without[:1])))
    note(books, without[1])
    assert [again(books, replace(each, block_number=6)) for each in without] == [0.0, 0.0]


def test_what_was_sent_on_another_chain_was_not_sent_before(heard: Books) -> None:
    """Wallets and factories have one address on many chains, and their blocks are numbered apart."""
    note(heard, send())
    sent, counted = send(block=6), send(LONG_INPUT + bytes([99, 0]), block=6)
    assert min(again(heard, each) for each in (sent, counted)) > 0
    elsewhere = [replace(each, chain="base") for each in (sent, counted)]
    assert [again(heard, each) for each in elsewhere] == [0.0, 0.0]
    note(heard, elsewhere[0])
    assert again(heard, replace(elsewhere[0], block_number=7)) == pytest.approx(-math.log(0.5 / 10))


def test_names_whose_input_is_sent_again_and_again() -> None:
    """A keeper says the same every hour; of a message of another name once is odd."""
    keeper = b"\5\6\7\x08" + bytes(7 * 32)
    past = history_of(
        [*(send(keeper) for _ in range(10)), *(send(LONG_INPUT[:-1] + bytes([n])) for n in range(9))]
    )
    books = Books(past)
    assert again(books, send(keeper, block=6)) == pytest.approx(-math.log(9.5 / 11))
    assert again(books, send(block=6)) == pytest.approx(-math.log(0.5 / 10)), "the past has it"
    other = rb"\9\9\9\9" + bytes(7 * 32)
    note(books, send(other))
    assert again(books, send(other, block=6)) == 0.0, "of a name that the past hardly knows"
    for runs, known in ((2, False), (3, True)):
        books = Books(history_of(send(other + bytes([n]), block=3) for n in range(runs)))
        note(books, send(other))
        assert (again(books, send(other, block=6)) > 0) == known
    more = history_of([send(keeper)], past)
    assert merged(past, more).seen("sent", keeper[:4], "again") == 10


def test_what_was_sent_goes_where_the_books_go(heard: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    books = heard
    note(books, send(), send(LONG_INPUT + b"2", block=6), send(block=6))
    on = Books(books.history, books.entered())
    assert again(on, send(block=7)) > 0 and again(on, send(LONG_INPUT + b"2", block=7)) > 0
    books.take_back("ethereum", 6)
    assert again(books, send()) > 0, "it was sent in block 5 as well"
    assert again(books, send(LONG_INPUT + b"2")) == 0.0
    books.forget()
    assert again(books, send()) > 0, "a gap takes nothing from what is known"
    monkeypatch.setattr(module, "MOST", 2)
    note(books, *(send(LONG_INPUT + bytes([n]), block=7) for n in range(2)))
    assert again(books, send()) == 0.0 and again(books, send(LONG_INPUT + b"\0")) > 0


def test_what_was_sent_longest_ago_is_forgotten_first(heard: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by books that go on where others ended."""
    several = [send(LONG_INPUT + bytes([n]), block=7) for n in range(6)]
    note(heard, *several)
    monkeypatch.setattr(module, "MOST", 6)
    on = Books(heard.history, heard.entered())
    note(on, send(block=8))
    assert [again(on, replace(each, block_number=9)) > 0 for each in several] == [False] + [True] * 5
