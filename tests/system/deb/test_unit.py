"""llmqd.service under a real systemd: start, keys, reload, crash, hang, stop, log."""

from __future__ import annotations

import sys
import time

import pytest

from tests.system.deb.conftest import UPSTREAM
from tests.system.deb.machine import Machine
from tests.system.deb.service import CHAT, URL, body, call, health, ledger, messages, pid, prop

pytestmark = pytest.mark.deb

EXPOSURE = 1.5


def test_it_starts_without_a_key_and_says_what_to_do(fresh: Machine) -> None:
    fresh.run("systemctl start llmqd")
    began, ready = (int(prop(fresh, f"{moment}TimestampMonotonic")) for moment in ("InactiveExit", "ActiveEnter"))
    sys.stdout.write(f"ready {(ready - began) / 1e6:.2f} s after systemd began to start it\n")
    assert prop(fresh, "ActiveState") == "active"
    answer = health(fresh)
    assert answer["status"] == "degraded"
    assert "add [[upstream]]" in answer["faults"][0]
    warned = messages(fresh, "-u", "llmqd", "-p", "warning", f"_PID={pid(fresh)}")
    assert len([entry for entry in warned if "no upstream is configured" in entry["MESSAGE"]]) == 1


def test_its_directories_belong_to_it_alone(running: Machine) -> None:
    assert running.run("stat -c '%U:%G %a' /var/lib/llmqd") == "llmqd:llmqd 750"
    assert running.run("stat -c '%U:%G' /var/lib/llmqd/llmqd.db /run/llmqd").split() == ["llmqd:llmqd"] * 2
    assert running.run("find /var/lib/llmqd -type f -perm /077") == ""
    assert running.run(f"ps -o user= -p {pid(running)} 2>/dev/null || stat -c %U /proc/{pid(running)}") == "llmqd"


def test_a_file_in_the_credentials_directory_is_the_key_that_goes_upstream(running: Machine, provider: str) -> None:
    call(running)
    assert running.run(f"tail -n 1 {provider}") == "Bearer sk-from-systemd"
    assert running.run("stat -c '%U %a' /etc/llmqd/credentials /etc/llmqd/credentials/openai").split() == [
        *("root", "700"),
        *("root", "600"),
    ]


def test_a_missing_credentials_directory_does_not_stop_it(running: Machine) -> None:
    running.run("systemctl stop llmqd; mv /etc/llmqd/credentials /etc/llmqd/elsewhere")
    running.run("systemctl start llmqd")
    try:
        answer = health(running)
    finally:
        running.run("mv /etc/llmqd/elsewhere /etc/llmqd/credentials")
    assert answer["status"] == "degraded"
    assert "credential:openai" in answer["faults"][0]


def test_the_environment_file_may_hold_the_key_instead(fresh: Machine, provider: str) -> None:
    kept = (fresh.root / "etc/default/llmqd").read_text()
    fresh.write("/etc/default/llmqd", kept + "OPENAI_API_KEY=sk-from-environment\n")
    fresh.write("/etc/llmqd/llmqd.toml", UPSTREAM.replace("credential:openai", "env:OPENAI_API_KEY"))
    fresh.run("systemctl start llmqd")
    call(fresh)
    fresh.write("/etc/default/llmqd", kept)
    assert fresh.run(f"tail -n 1 {provider}") == "Bearer sk-from-environment"


def test_a_call_is_found_in_the_journal_by_its_id_and_stands_in_the_ledger(running: Machine) -> None:
    request_id, answer = call(running)
    assert '"content": "ok"' in answer
    running.until(lambda: bool(messages(running, f"LLMQD_REQUEST_ID={request_id}")))
    (entry,) = messages(running, f"LLMQD_REQUEST_ID={request_id}")
    assert entry["_SYSTEMD_UNIT"] == "llmqd.service"
    assert (entry["LLMQD_UPSTREAM"], entry["LLMQD_MODEL"], entry["LLMQD_PROMPT_TOKENS"]) == ("openai", "m", "7")
    running.until(lambda: [request_id, "done", 7] in ledger(running, "SELECT id, status, input_tokens FROM calls"))


def test_systemctl_status_shows_a_live_line(running: Machine) -> None:
    call(running)
    running.until(lambda: "1 let through" in prop(running, "StatusText"), within=10)
    assert "openai 6000/min" in running.run("systemctl status llmqd")


def test_no_key_is_in_the_journal(running: Machine) -> None:
    call(running)
    assert "sk-from-systemd" not in running.run("journalctl --sync; journalctl --quiet -u llmqd -o export")


def test_reload_changes_a_rate_without_another_process(running: Machine) -> None:
    before = pid(running)
    running.write("/etc/llmqd/llmqd.toml", UPSTREAM.replace("6000", "1200"))
    running.run("systemctl reload llmqd")
    running.until(lambda: health(running)["lanes"][0]["requests_per_minute"] == 1200)
    assert (pid(running), prop(running, "ActiveState")) == (before, "active")


def test_a_broken_file_at_reload_leaves_the_old_one_in_force_and_shows(running: Machine) -> None:
    running.write("/etc/llmqd/llmqd.toml", UPSTREAM.replace("burst", "brust"))
    running.run("systemctl reload llmqd", check=False)
    running.until(lambda: health(running).get("status") == "degraded")
    (fault,) = health(running)["faults"]
    assert "brust" in fault
    assert "burst" in fault
    assert health(running)["lanes"][0]["requests_per_minute"] == 6000
    assert any("brust" in entry["MESSAGE"] for entry in messages(running, "-u", "llmqd", "-p", "err"))
    call(running)


def test_a_broken_file_at_start_fails_with_a_readable_line(fresh: Machine) -> None:
    fresh.write("/etc/llmqd/llmqd.toml", "[queue]\nbrust = 3\n")
    fresh.fails("systemctl start llmqd")
    said = fresh.run("journalctl --sync; journalctl --quiet --no-pager -u llmqd -o cat -n 20")
    assert any("/etc/llmqd/llmqd.toml" in line and "brust" in line and "burst" in line for line in said.splitlines())
    assert "Traceback" not in said


def test_a_taken_port_is_named(fresh: Machine) -> None:
    fresh.run("systemd-run --quiet --unit=taker python3 -m http.server --bind 127.0.0.1 8080")
    fresh.until(lambda: fresh.run(f"curl -s -o /dev/null -w '%{{http_code}}' {URL}", check=False) == "200")
    fresh.fails("systemctl start llmqd")
    fresh.run("systemctl stop taker")
    said = fresh.run("journalctl --sync; journalctl --quiet --no-pager -u llmqd -o cat -n 20")
    assert "cannot listen on 127.0.0.1:8080: another program listens there already" in said
    assert "Traceback" not in said


def test_kill_restarts_it_and_loses_no_record(running: Machine) -> None:
    request_id, _ = call(running)
    before = pid(running)
    running.run(f"kill -9 {before}")
    running.until(lambda: prop(running, "ActiveState") == "active" and pid(running) not in (0, before))
    running.until(lambda: health(running).get("status") == "ok")
    assert [request_id, "done"] in ledger(running, "SELECT id, status FROM calls")


def test_a_hanging_daemon_is_restarted_by_the_watchdog(running: Machine) -> None:
    running.write("/etc/systemd/system/llmqd.service.d/fast.conf", "[Service]\nWatchdogSec=3s\n")
    running.run("systemctl daemon-reload; systemctl restart llmqd")
    before = pid(running)
    running.run(f"kill -STOP {before}")
    running.until(lambda: prop(running, "ActiveState") == "active" and pid(running) not in (0, before), within=15)
    running.until(lambda: health(running).get("status") == "ok")
    assert any("Watchdog timeout" in entry["MESSAGE"] for entry in messages(running, "UNIT=llmqd.service"))


def test_the_watchdog_leaves_a_healthy_daemon_alone(running: Machine) -> None:
    running.write("/etc/systemd/system/llmqd.service.d/fast.conf", "[Service]\nWatchdogSec=2s\n")
    running.run("systemctl daemon-reload; systemctl restart llmqd")
    before = pid(running)
    time.sleep(5)
    assert (pid(running), prop(running, "NRestarts")) == (before, "0")


def test_stop_lets_an_open_stream_end_in_full(running: Machine) -> None:
    running.run("systemctl reset-failed caller 2>/dev/null", check=False)
    running.run(
        "systemd-run --quiet --unit=caller -p RemainAfterExit=yes -p StandardOutput=truncate:/root/stream "
        f"curl -sN {CHAT} -d '{body(stream=True)}' {URL}/v1/chat/completions"
    )
    running.until(lambda: "data:" in running.run("cat /root/stream", check=False))
    running.run("systemctl stop llmqd")
    received = (running.root / "root/stream").read_text()
    running.run("systemctl stop caller")
    assert received.count("data: {") == 10
    assert received.endswith("data: [DONE]\n\n")
    assert prop(running, "Result") == "success"
    assert ledger(running, "SELECT count(*) FROM calls WHERE stream = 1 AND http_status = 200") == [[1]]


def test_nothing_is_logged_that_the_restrictions_forbid(running: Machine) -> None:
    call(running)
    said = running.run("journalctl --sync; journalctl --quiet -u llmqd -o cat").lower()
    assert not [word for word in ("operation not permitted", "permission denied", "traceback") if word in said]


def test_systemd_finds_little_exposed(running: Machine) -> None:
    report = running.run("systemd-analyze security --no-pager llmqd", check=False)
    assert float(report.rsplit("llmqd.service: ", 1)[1].split()[0]) <= EXPOSURE, report


def test_systemd_finds_no_fault_in_the_unit_as_installed(installed: Machine) -> None:
    assert installed.run("systemd-analyze verify --man=no llmqd.service") == ""
