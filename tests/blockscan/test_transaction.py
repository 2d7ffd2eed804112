"""Call trees: walking, equality and size, without recursion."""

from dataclasses import replace

from blockscan.transaction import Call, CallKind, Log, call_count, walk


def call(*steps: Call | Log, target: str = "0x" + "aa" * 20) -> Call:
    return Call(CallKind.CALL, "0x" + "11" * 20, target, b"\x01", b"", 0, None, None, steps)


def deep(levels: int, innermost: bytes = b"") -> Call:
    frame = replace(call(), data=innermost)
    for _ in range(levels):
        frame = call(frame)
    return frame


def test_walk_gives_execution_order_with_parents_and_depths() -> None:
    log = Log("0x" + "bb" * 20, (), b"")
    tree = call(call(log, call()), log, call())
    visits = [(type(v.step).__name__, v.node, v.parent, v.depth) for v in walk(tree)]
    assert visits == [
        ("Call", 0, -1, 0),
        ("Call", 1, 0, 1),
        ("Log", 1, 1, 1),
        ("Call", 2, 1, 2),
        ("Log", 0, 0, 0),
        ("Call", 3, 0, 1),
    ]
    assert call_count(tree) == 4


def test_trees_deeper_than_the_interpreter_recurses_compare() -> None:
    assert deep(5000) == deep(5000)
    assert deep(5000) != deep(5000, innermost=b"\x02")
    assert deep(5000) != deep(4999)
    assert call_count(deep(5000)) == 5001
    assert "steps=<1>" in repr(deep(5000))


def test_order_of_steps_is_part_of_equality() -> None:
    log = Log("0x" + "bb" * 20, (), b"")
    assert call(log, call()) != call(call(), log)
    assert hash(call(log)) == hash(call(log))
