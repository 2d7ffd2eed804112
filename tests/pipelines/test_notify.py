"""`blockscan notify` against a receiver on loopback: what arrives, what is tried again, what never shows."""

import json
import logging
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from blockscan.errors import ConfigError, ReceiverError
from blockscan.findings import TxScore
from blockscan.store import ScoredBlock, open_store
from blockscan.store_notices import open_outbox
from blockscan.store_schema import SEVERITIES
from pipelines import notify, webhook
from pipelines.cli_notify import Severity

SECRET, TOKEN = "s3cr3t-of-hmac", "T0KEN-in-the-path"
HOSTILE = (
    "<!channel> @everyone [x](http://evil.example/?q) evil.example evil。example *b* \x1b[31m\u202e &lt;"
    " :tada: _i_ __u__ transfer_from: 1"
)


@dataclass
class Receiver:
    """What came, and what is answered: the next of `answers`, then 200."""

    url: str = ""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    before: Callable[[], None] = lambda: None

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(body["event"], body["tx_hash"]) for body in self.bodies]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.requests.append((dict(self.headers), body))
            made.before()
            status, headers = made.answers.pop(0) if made.answers else (200, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(TOKEN.encode() * 1000)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/services/{TOKEN}?key={TOKEN}"
    monkeypatch.setenv("BLOCKSCAN_WEBHOOK_URL", made.url)
    monkeypatch.setenv("BLOCKSCAN_WEBHOOK_SECRET", SECRET)
    monkeypatch.setattr(notify, "PAUSE", 0.0)
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tx_hash(number: int) -> str:
    return f"0x{number:064x}"


def make_score(number: int, **changes: object) -> TxScore:
    score = TxScore(
        chain="ethereum",
        tx_hash=tx_hash(number),
        block_number=number,
        tx_index=0,
        time=number * 12,
        sender="0xeve",
        target="0xpool",
        value=4.5,
        p_value=0.0005,
        reason=f"unusual gain {number}, in the outermost call; about 1 in 10,000 (and 2 more rare values)",
        evidence=(),
        calls=1,
        tokens=1,
        windows=1,
        source="s",
        trace_status="complete",
        model="m",
        calibration="c",
    )
    return replace(score, **changes)


@pytest.fixture
def store(tmp_path: Path, receiver: Receiver, cli: Any) -> Path:
    """A store whose receiver has begun, before there was any alert."""
    path = tmp_path / "scores.sqlite"
    open_store(path).close()
    assert run(cli, path) == {"sent": 0, "refused": 0, "waiting": 0}
    return path


def alert(path: Path, *numbers: int, severity: str = "high", **changes: object) -> None:
    with open_store(path) as results:
        scores = [make_score(number, **changes) for number in numbers]
        results.write([(score, severity, None) for score in scores])
        results.put_blocks(
            ScoredBlock(score.chain, score.block_number or 0, f"0xb{score.tx_hash}", (score.tx_hash,))
            for score in scores
        )


def orphan(path: Path, number: int) -> None:
    with open_store(path) as results:
        results.orphan_blocks("ethereum", [f"0xb{tx_hash(number)}"])


def run(cli: Any, path: Path, *options: object) -> Any:
    done = cli("notify", "--store", path, "--allow-private", "--json", *options)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_alert_arrives_once_with_what_alerts_say_of_it(store: Path, receiver: Receiver, cli: Any) -> None:
    alert(store, 2, 1)
    assert run(cli, store) == {"sent": 2, "refused": 0, "waiting": 0}
    assert receiver.told == [("raised", tx_hash(1)), ("raised", tx_hash(2))], "in the order of the chain"
    listed = json.loads(cli("alerts", "--store", store, "--json").stdout)["alerts"]
    for each in receiver.bodies:
        facts = next(facts for facts in listed if facts["tx_hash"] == each["tx_hash"])
        assert each == facts | {"event": "raised", "text": each["text"]}
    assert receiver.bodies[0]["text"] == (
        f"high alert: ethereum block 1, p 0.0005, transaction {tx_hash(1)}: {make_score(1).reason}"
    )
    headers = receiver.requests[0][0]
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == f"ethereum:{tx_hash(1)}:raised:1"
    assert run(cli, store)["sent"] == 0 and len(receiver.requests) == 2


def test_the_signature_is_verified_as_the_documentation_says(
    store: Path, receiver: Receiver, cli: Any
) -> None:
    alert(store, 1)
    run(cli, store)
    text = (Path(__file__).parents[2] / "docs" / "notify.md").read_text()
    documented: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], documented)
    headers, body = receiver.requests[0]
    now = int(headers["X-BlockScan-Timestamp"])
    genuine = documented["genuine"]
    assert genuine(SECRET, headers, body, now)
    assert not genuine("other", headers, body, now)
    assert not genuine(SECRET, headers, body + b" ", now)
    assert not genuine(SECRET, headers | {"X-BlockScan-Timestamp": str(now + 1)}, body, now)
    assert not genuine(SECRET, headers, body, now + 301), "what is old was recorded and is played again"


def test_without_a_secret_nothing_is_signed(
    store: Path, receiver: Receiver, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BLOCKSCAN_WEBHOOK_SECRET")
    alert(store, 1)
    run(cli, store)
    assert "X-BlockScan-Signature" not in receiver.requests[0][0]
    to = webhook.read_webhook({**os.environ, webhook.SECRET: "\udcff"}, allow_private=True)
    assert to.secret == b"\xff"


def test_a_first_run_leaves_out_what_is_there_unless_all_is_asked_for(
    tmp_path: Path, receiver: Receiver, cli: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "old.sqlite"
    alert(path, *range(1, 6))
    first = cli("notify", "--store", path, "--allow-private")
    assert first.exit_code == 0 and receiver.requests == []
    assert "5 alerts of before are left out; --all sends them" in caplog.text
    orphan(path, 2)
    alert(path, 5, severity="medium", calibration="c2")
    alert(path, 7)
    assert run(cli, path)["sent"] == 1 and receiver.told == [("raised", tx_hash(7))]
    run(cli, path, "--receiver", "second", "--all")
    assert [name for _, name in receiver.told[1:]] == [tx_hash(number) for number in (1, 3, 4, 5, 7)]
    del receiver.requests[:]
    assert run(cli, path, "--all")["sent"] == 4, "what was left out and is on the chain"
    assert run(cli, path, "--all")["sent"] == 0


def test_what_left_the_chain_and_came_back_is_told_to_who_was_told_of_it(
    store: Path, receiver: Receiver, cli: Any
) -> None:
    alert(store, 1, 2)
    orphan(store, 2)
    run(cli, store)
    assert receiver.told == [("raised", tx_hash(1))], "nobody need hear of 2"
    for _ in range(2):
        orphan(store, 1)
        run(cli, store)
        alert(store, 1)
        run(cli, store)
    assert [event for event, _ in receiver.told[1:]] == ["orphaned", "restored"] * 2
    assert receiver.bodies[1]["status"] == "orphaned" and receiver.bodies[2]["status"] == "open"
    keys = [headers["Idempotency-Key"] for headers, _ in receiver.requests]
    assert len(set(keys)) == 5, "each is another event"
    orphan(store, 1)
    alert(store, 1)
    assert run(cli, store)["sent"] == 0, "what came and went between two looks"
    alert(store, 2)
    run(cli, store)
    assert receiver.told[-1] == ("raised", tx_hash(2))


def test_a_decision_on_what_left_the_chain_brings_it_not_back(
    store: Path, receiver: Receiver, cli: Any
) -> None:
    alert(store, 1)
    run(cli, store)
    orphan(store, 1)
    run(cli, store)
    with open_store(store) as results:
        results.set_status(f"ethereum:{tx_hash(1)}", "dismissed", note="of a lost block", by="ann")
    assert run(cli, store)["sent"] == 0
    with open_store(store) as results:
        results.put_blocks([ScoredBlock("ethereum", 2, "0xother", (tx_hash(1),))])
    run(cli, store)
    assert [event for event, _ in receiver.told] == ["raised", "orphaned", "restored"]
    assert receiver.bodies[-1]["status"] == "dismissed"


def test_a_score_of_another_calibration_brings_nothing_back(
    store: Path, receiver: Receiver, cli: Any
) -> None:
    """It is not marked as orphaned; the alert is."""
    alert(store, 1)
    run(cli, store)
    orphan(store, 1)
    run(cli, store)
    with open_store(store) as results:
        results.write([(make_score(1, calibration="c2"), "high", None)])
    assert run(cli, store)["sent"] == 0


def test_the_line_for_a_chat_says_what_is_known_of_an_alert_by_now(
    tmp_path: Path, receiver: Receiver, cli: Any
) -> None:
    path = tmp_path / "old.sqlite"
    alert(path, 1, 2)
    with open_store(path) as results:
        results.write([(make_score(number, calibration="c2"), None, None) for number in (1, 2)])
        results.set_status(f"ethereum:{tx_hash(1)}", "dismissed", note="a false alarm", by="ann")
    run(cli, path, "--all")
    orphan(path, 2)
    run(cli, path)
    begun = [body["text"].split(": ethereum")[0] for body in receiver.bodies]
    assert begun == [
        "high alert (dismissed, lapsed)",
        "high alert (lapsed)",
        "withdrawn, its block left the chain: high alert (lapsed)",
    ]


def test_what_is_below_the_severity_is_left_out_until_it_becomes_worse(
    store: Path, receiver: Receiver, cli: Any
) -> None:
    assert tuple(Severity) == SEVERITIES
    alert(store, 1, severity="critical")
    alert(store, 2, 3, severity="low")
    assert run(cli, store, "--min-severity", "high")["sent"] == 1
    assert run(cli, store)["sent"] == 0, "no flood when the bar is lowered"
    alert(store, 2, severity="medium", calibration="c2")
    assert run(cli, store, "--min-severity", "high")["sent"] == 0
    alert(store, 2, severity="critical", calibration="c3")
    assert run(cli, store, "--min-severity", "high")["sent"] == 1
    assert receiver.told[-1] == ("raised", tx_hash(2))
    assert run(cli, store, "--all")["sent"] == 1 and receiver.told[-1] == ("raised", tx_hash(3))


def test_passing_failures_are_tried_again(store: Path, receiver: Receiver, cli: Any) -> None:
    alert(store, 1)
    receiver.answers = [(503, {}), (429, {"Retry-After": "0"}), (408, {})]
    assert run(cli, store) == {"sent": 1, "refused": 0, "waiting": 0}
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.requests}) == 1
    assert len(receiver.requests) == 4


def test_pauses_grow_and_heed_the_receiver_within_bounds(
    store: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PAUSE", 1.0)
    alert(store, 1)
    to = webhook.read_webhook(os.environ, allow_private=True)
    pauses, looks, numbers = [0.0] * 13, list[float](), count(2)

    def wait(seconds: float) -> bool:
        alert(store, next(numbers), severity="low")  # of which nobody is told
        pauses[len(receiver.requests) - 1] += seconds
        looks.extend([seconds] * (seconds > 0 and len(receiver.requests) == 13))
        return len(looks) == 2

    receiver.answers = [(503, {}), (429, {"Retry-After": "33"}), (429, {"Retry-After": "86400"})]
    receiver.answers += [(503, {})] * 9
    with open_store(store, read_only=True) as results, open_outbox(store, "webhook") as outbox:
        notify.run(
            outbox,
            results,
            lambda body, key: webhook.post(to, body, key, now=7),
            ["high"],
            poll=9.0,
            wait=wait,
        )
    assert pauses[1:3] == [33.0, 120.0], "no sooner than it wishes, and never later than in two minutes"
    assert all(2**n * 0.5 <= pauses[n] <= 2**n * 1.5 for n in (0, 3, 4, 5, 6))
    assert max(pauses) == 120.0 and looks == [9.0, 9.0], "then it looks at the store as often as ever"
    assert receiver.told[-1] == ("raised", tx_hash(1)) and len(receiver.requests) == 13


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(0.0, 0.0, 2.0), (100.0, 100.0, 100.0), (1.0, 0.0, 2.0)]
)
def test_what_is_raised_while_another_is_not_taken_is_tried_at_the_next_look(
    store: Path, asked: float, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But no sooner than the receiver asked for; a short pause is not made a long one."""
    monkeypatch.setattr(notify, "PAUSE", 1.0)
    alert(store, 1)
    waited, raised, told = [0.0], list[float](), list[float]()

    def send(_: bytes, key: str) -> webhook.Answer:
        if tx_hash(1) in key:
            return webhook.Answer(503, asked)
        told.append(sum(waited))
        return webhook.Answer(200)

    def wait(seconds: float) -> bool:
        if not raised and sum(waited) + seconds > 200:
            raised.append(sum(waited))
            alert(store, 2)
        waited.append(seconds)
        return bool(told) or sum(waited) > 1000

    with open_store(store, read_only=True) as results, open_outbox(store, "webhook") as outbox:
        notify.run(outbox, results, send, SEVERITIES, poll=2.0, wait=wait)
    assert told and least <= told[0] - raised[0] <= most


def test_a_receiver_that_is_down_ends_a_run_that_does_not_follow(
    store: Path, receiver: Receiver, cli: Any
) -> None:
    alert(store, 1, 2)
    receiver.answers = [(500, {})] * notify.ATTEMPTS
    done = cli("notify", "--store", store, "--allow-private")
    assert done.exit_code == 1
    assert "took nothing in 5 attempts, see above; 2 alerts wait in the store" in done.stderr
    assert run(cli, store)["sent"] == 2


def test_one_alert_is_in_no_others_way(
    store: Path, receiver: Receiver, cli: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the receiver answers to it, and for ever."""
    alert(store, 1, 2, 3, 4)
    receiver.answers = [(400, {}), (302, {"Location": "/elsewhere"}), (500, {}), (200, {})]
    receiver.answers += [(500, {})] * notify.ATTEMPTS
    done = cli("notify", "--store", store, "--allow-private")
    assert done.exit_code == 1
    assert [name for _, name in receiver.told[:4]] == [tx_hash(number) for number in (1, 2, 3, 4)]
    assert {name for _, name in receiver.told[4:]} == {tx_hash(3)}
    assert caplog.text.count("REFUSED") == 2 and "REFUSED: HTTP status 302" in caplog.text
    alert(store, 5)
    assert run(cli, store)["sent"] == 2, "refused ones are set aside"
    assert [name for _, name in receiver.told[-2:]] == [tx_hash(5), tx_hash(3)]
    assert run(cli, store, "--refused")["sent"] == 2
    assert {name for _, name in receiver.told[-2:]} == {tx_hash(1), tx_hash(2)}


def test_a_run_with_refused_alerts_does_not_end_well(store: Path, receiver: Receiver, cli: Any) -> None:
    alert(store, 1)
    receiver.answers = [(404, {})]
    done = cli("notify", "--store", store, "--allow-private", "--json")
    assert done.exit_code == 1 and json.loads(done.stdout) == {"sent": 0, "refused": 1, "waiting": 0}
    assert "the receiver refused 1 alerts" in done.stderr and "--refused" in done.stderr
    orphan(store, 1)
    assert run(cli, store)["sent"] == 0, "who was not told of it hears of no correction"


def test_a_damaged_alert_is_in_no_others_way(store: Path, receiver: Receiver, cli: Any) -> None:
    alert(store, 1, 2)
    with open_store(store) as results:
        results._db.execute("UPDATE scores SET evidence = '[{' WHERE tx_hash = ?", (tx_hash(1),))
    assert cli("notify", "--store", store, "--allow-private").exit_code == 1
    assert receiver.told == [("raised", tx_hash(2))]


CHILD = """
import sys
from pipelines.cli import app
app(["notify", "--store", sys.argv[1], "--allow-private", *sys.argv[2:]])
"""


def start(path: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CHILD, str(path), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe, cwd=Path(__file__).parents[2])


def test_a_killed_run_loses_nothing_and_repeats_only_what_it_was_at(
    store: Path, receiver: Receiver, cli: Any
) -> None:
    alert(store, 1, 2, 3)
    child = start(store)

    def kill_at_the_second() -> None:
        if len(receiver.requests) == 2:
            child.kill()
            child.wait()

    receiver.before = kill_at_the_second
    child.communicate(timeout=60)
    assert len(receiver.requests) == 2
    assert run(cli, store)["sent"] == 2
    keys = [headers["Idempotency-Key"].split(":")[1] for headers, _ in receiver.requests]
    assert keys == [tx_hash(number) for number in (1, 2, 2, 3)]


def test_a_follower_sends_what_is_raised_meanwhile_and_a_signal_ends_it(
    store: Path, receiver: Receiver, cli: Any
) -> None:
    alert(store, 1)
    arrived = threading.Semaphore(0)
    receiver.before = arrived.release
    child = start(store, "--follow", "--poll", "0.1", "--json")
    try:
        assert arrived.acquire(timeout=60)
        alert(store, 2)
        assert arrived.acquire(timeout=20)
        other = cli("notify", "--store", store, "--allow-private")
        assert other.exit_code == 1 and "another notify is at work for the receiver 'webhook'" in other.stderr
        orphan(store, 1)
        assert arrived.acquire(timeout=20)
    finally:
        child.send_signal(signal.SIGTERM)
        shown, said = child.communicate(timeout=20)
    assert child.returncode == 0, said
    assert json.loads(shown) == {"sent": 3, "refused": 0, "waiting": 0}
    assert TOKEN not in said and SECRET not in said


def test_a_link_to_the_store_is_no_way_round_the_lock(store: Path, receiver: Receiver, cli: Any) -> None:
    link = store.with_name("newest.sqlite")
    link.symlink_to(store.name)
    alert(store, 1)
    others = []

    def meanwhile() -> None:
        others.append(cli("notify", "--store", link, "--allow-private"))

    receiver.before = meanwhile
    assert run(cli, store)["sent"] == 1 and len(receiver.requests) == 1
    assert others[0].exit_code == 1 and "another notify is at work" in others[0].stderr


def test_the_store_is_not_locked_while_the_receiver_thinks(
    store: Path, receiver: Receiver, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blockscan.store_db._BUSY_SECONDS", 0.05)
    alert(store, 1)
    receiver.before = lambda: alert(store, len(receiver.requests) + 1) if len(receiver.requests) < 4 else None
    assert run(cli, store)["sent"] == 4


def test_nothing_is_sent_that_could_not_be_noted(store: Path, receiver: Receiver, cli: Any) -> None:
    """Else whoever starts it again, as systemd or cron, would send the same alert each time."""
    alert(store, 1)
    receiver.answers = [(500, {})] * notify.ATTEMPTS
    cli("notify", "--store", store, "--allow-private")
    del receiver.requests[:]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_store(store) as results:  # keeps the files beside the store, which are read as well
        assert results.count_alerts() == 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            assert cli("notify", "--store", store, "--allow-private").exit_code == 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert receiver.requests == []
    assert run(cli, store)["sent"] == 1


def test_a_dry_run_sends_and_writes_nothing(tmp_path: Path, receiver: Receiver, cli: Any) -> None:
    path = tmp_path / "s.sqlite"
    alert(path, 1, 2)
    assert run(cli, path, "--dry-run") == {"would_send": []}
    shown = run(cli, path, "--dry-run", "--all")["would_send"]
    assert [each["tx_hash"] for each in shown] == [tx_hash(1), tx_hash(2)]
    told = cli("notify", "--store", path, "--dry-run", "--all").stdout
    assert "would send 2" in told and shown[0]["text"][:60] in told
    assert receiver.requests == [] and not list(tmp_path.glob("*.lock"))
    with open_outbox(path, "webhook") as outbox:
        assert not outbox.begun


def test_text_of_the_chain_is_no_markup_in_a_chat(store: Path, receiver: Receiver, cli: Any) -> None:
    alert(store, 1, reason=HOSTILE, sender=HOSTILE, tx_hash="0x1 <!here>\u202e")
    run(cli, store)
    body = receiver.bodies[0]
    assert not set("<>@[]&*`|#/\\!~。\x1b\u202e\n") & set(body["text"])
    assert "evil·example" in body["text"] and "evil.example" not in body["text"]
    assert "·tada: ·i· ··u·· transfer_from: 1" in body["text"]
    for name in ("reason", "sender", "tx_hash", "unique_key"):
        assert not set("\x1b\u202e\n") & set(body[name])
    key = receiver.requests[0][0]["Idempotency-Key"]
    assert key.isascii() and key.isprintable() and " " not in key


def test_nothing_shows_the_url_or_the_secret(
    store: Path,
    receiver: Receiver,
    cli: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    alert(store, 1, 2)
    receiver.answers = [(404, {"Location": f"http://x/{TOKEN}"}), (500, {})]
    said = [cli("notify", "--store", store, "--allow-private")]
    monkeypatch.setenv("BLOCKSCAN_WEBHOOK_URL", receiver.url.replace("http:", "https:"))
    said.append(cli("notify", "--store", store, "--allow-private", "--refused"))  # no TLS there
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (
        f"http://127.0.0.1:{port}/{TOKEN}",
        f"http://{TOKEN}.invalid/{TOKEN}",
        f"http://localhost:{TOKEN}/",
        f"http://user:{TOKEN}@localhost/",
        f"http://localhost/{TOKEN}\x7f",
        f"http://localhost/{TOKEN} é",
        f"http://{'a' * 64}/{TOKEN}",
        f"ftp://localhost/{TOKEN}",
        f"http://[{TOKEN}/",
        f"http://:80/{TOKEN}",
    ):
        monkeypatch.setenv("BLOCKSCAN_WEBHOOK_URL", url)
        said.append(cli("notify", "--store", store, "--allow-private"))
        assert said[-1].exit_code == 1, url
    assert "no answer (ConnectionRefusedError)" in caplog.text
    everything = caplog.text + "".join(each.output for each in said)
    assert TOKEN not in everything and SECRET not in everything and "/services" not in everything
    with open_outbox(store, "webhook") as outbox:
        assert outbox.counts()["waiting"] == 1


def test_no_error_carries_the_url_in_its_causes(receiver: Receiver) -> None:
    url = f"http://127.0.0.1:1/{TOKEN}"
    to = webhook.read_webhook({"BLOCKSCAN_WEBHOOK_URL": url}, allow_private=True)
    assert TOKEN not in repr(to)
    with pytest.raises(webhook.NoAnswer) as caught:
        webhook.post(to, b"{}", "key", now=1)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    for wrong in ("http://x:PORT9/", "http://a b/"):
        with pytest.raises(ConfigError, match="BLOCKSCAN_WEBHOOK_URL") as refused:
            webhook.read_webhook({"BLOCKSCAN_WEBHOOK_URL": wrong}, allow_private=True)
        assert refused.value.__context__ is None and "PORT9" not in str(refused.value)


def test_without_a_url_it_is_said_where_it_belongs(
    tmp_path: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BLOCKSCAN_WEBHOOK_URL", raising=False)
    done = cli("notify", "--store", tmp_path / "none.sqlite")
    assert done.exit_code == 1 and "environment variable BLOCKSCAN_WEBHOOK_URL" in done.stderr
    monkeypatch.setenv("BLOCKSCAN_WEBHOOK_URL", "https://receiver.example/")
    assert "there is no store" in cli("notify", "--store", tmp_path / "none.sqlite").stderr
    assert "--receiver is a name" in cli("notify", "--store", tmp_path / "s", "--receiver", "../x").stderr


def test_private_receivers_are_refused_and_nothing_is_lost(store: Path, receiver: Receiver, cli: Any) -> None:
    alert(store, 1)
    done = cli("notify", "--store", store)
    assert done.exit_code == 1 and "not public" in done.stderr and "--allow-private" in done.stderr
    assert receiver.requests == []
    assert run(cli, store)["sent"] == 1


def test_a_name_server_that_errs_for_a_while_ends_no_follower(store: Path, receiver: Receiver) -> None:
    alert(store, 1, 2)
    answers = [webhook.Answer(200), ReceiverError("not public"), webhook.Answer(200)]
    keys: list[str] = []

    def send(_: bytes, key: str) -> webhook.Answer:
        keys.append(key.split(":")[1])
        answer = answers.pop(0)
        if isinstance(answer, ReceiverError):
            raise answer
        return answer

    def follow(poll: float | None = 1.0) -> int:
        with open_store(store, read_only=True) as results, open_outbox(store, "webhook") as outbox:
            return notify.run(outbox, results, send, SEVERITIES, poll=poll, wait=lambda _: not answers)[
                "sent"
            ]

    assert follow() == 2 and keys == [tx_hash(1), tx_hash(2), tx_hash(2)]
    alert(store, 3)
    answers.append(ReceiverError("not public"))
    with pytest.raises(ReceiverError):
        follow()  # one that never was is not waited for
    alert(store, 4)
    answers += [webhook.Answer(200), ReceiverError("not public")]
    with pytest.raises(ReceiverError, match="not public"):
        follow(poll=None)  # nor is any by a run that does not follow


@pytest.mark.parametrize(
    ("addresses", "public"),
    [
        (["8.8.8.8"], True),
        (["2606:4700::1111", "1.1.1.1"], True),
        (["::ffff:8.8.8.8"], True),
        (["8.8.8.8", "127.0.0.1"], False),
        (["10.1.2.3"], False),
        (["172.16.0.1"], False),
        (["192.168.1.1"], False),
        (["169.254.169.254"], False),
        (["100.64.0.1"], False),
        (["0.0.0.0"], False),
        (["224.0.0.1"], False),
        (["255.255.255.255"], False),
        (["::1"], False),
        (["::"], False),
        (["fe80::1%1"], False),
        (["fd00::1"], False),
        (["fec0::1"], False),
        (["ff02::1"], False),
        (["::ffff:127.0.0.1"], False),
        (["::127.0.0.1"], False),
        (["64:ff9b::7f00:1"], False),
        (["2002:7f00:1::1"], False),
    ],
)
def test_only_public_addresses_are_connected_to(
    addresses: list[str], public: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    found = [(0, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
    asked: list[str] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: asked.append(host) or found)
    monkeypatch.setattr(socket, "create_connection", connect)
    to = webhook.read_webhook({webhook.URL: "https://hooks.example/x"}, allow_private=False)
    with pytest.raises(webhook.NoAnswer if public else ReceiverError):
        webhook.post(to, b"{}", "key", now=1)
    assert connected == [(address, 443) for address in addresses if public]
    assert asked == ["hooks.example"], "looked up once: what was checked is what is connected to"


def test_an_answer_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "SECONDS", 0.3)
    over = threading.Event()

    def drip(server: socket.socket) -> None:
        with server.accept()[0] as connection:
            while not over.wait(0.02):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        to = webhook.read_webhook({webhook.URL: url}, allow_private=True)
        try:
            with pytest.raises(webhook.NoAnswer, match="no answer"):
                webhook.post(to, b"{}", "key", now=1)
        finally:
            over.set()
            thread.join()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate")
def test_the_certificate_must_be_of_the_name_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=receiver"
    )
    make += f" -addext subjectAltName=DNS:receiver.test -keyout {key} -out {certificate}"
    subprocess.run(make.split(), check=True, capture_output=True)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    literal = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: found if "test" in host else literal(host, *a, **k)
    )
    hosts: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hosts.append(self.headers["Host"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()

        def ask(name: str) -> webhook.Answer:
            url = f"https://{name}:{server.server_port}/"
            to = webhook.read_webhook({webhook.URL: url}, allow_private=True)
            return webhook.post(to, b"{}", "key", now=1)

        try:
            with pytest.raises(webhook.NoAnswer, match="SSLCertVerificationError"):
                ask("receiver.test")
            monkeypatch.setattr(webhook, "DEFAULT_CA_BUNDLE_PATH", certificate)
            assert ask("receiver.test").status == 204
            with pytest.raises(webhook.NoAnswer, match="SSLCertVerificationError"):
                ask("other.test")
        finally:
            server.shutdown()
            thread.join()
    assert hosts == [f"receiver.test:{server.server_port}"]
