"""`trainwarden alerts`: a new user has a first message in one command, and sees what would go where."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pytest_httpserver import HTTPServer

from monitor.cli import commands
from monitor.cli.failure import Failure
from monitor.cli.policy import own_policy
from monitor.cli.silence_command import seconds_of
from monitor.policyfile.load import load_policy
from monitor.policyfile.matchers import matcher_problem
from monitor.policyfile.receiver_configs import receiver_of

TOKEN = "T0K3N-in-the-address"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINWARDEN_HOME", str(tmp_path))
    return tmp_path


def cli(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(commands, arguments, input=typed)


def hook(server: HTTPServer, status: int = 204) -> str:
    server.expect_request(f"/{TOKEN}").respond_with_data("", status)
    return server.url_for(f"/{TOKEN}")


def test_setup_writes_the_policy_keeps_the_secret_apart_and_sends_a_test(home: Path, httpserver: HTTPServer) -> None:
    done = cli("alerts", "setup", typed=f"webhook\nphone\n{hook(httpserver)}\n")
    assert "the test message was taken" in done.output
    [(request, _)] = httpserver.log
    assert "This receiver works" in request.get_data(as_text=True)
    policy = load_policy(home / "policy.yaml")
    assert (policy.receivers[0].name, policy.receivers[0].kind, policy.alerts.finished) == ("phone", "webhook", True)
    secret = home / "phone.url"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert TOKEN in secret.read_text()
    assert TOKEN not in (home / "policy.yaml").read_text() + done.output
    assert own_policy() == str(home / "policy.yaml")


def test_a_second_receiver_is_added_and_what_stood_there_stays(home: Path, httpserver: HTTPServer) -> None:
    url = hook(httpserver)
    (home / "policy.yaml").write_text("# mine\nversion: 1\nact: false  # only watch\n")
    for name in ("one", "two"):
        cli("alerts", "setup", "--kind", "webhook", "--name", name, "--no-test", typed=f"{url}\n")
    text = (home / "policy.yaml").read_text()
    assert text.startswith("# mine\nversion: 1\nact: false  # only watch\n")
    assert load_policy(home / "policy.yaml").receiver_names == ("one", "two")
    again = cli("alerts", "setup", "--kind", "webhook", "--name", "one", typed=f"{url}\n")
    assert "has a receiver 'one' already; choose another --name" in str(again.output) + str(again.exception)
    assert (home / "policy.yaml").read_text() == text


def test_a_receiver_that_does_not_answer_is_written_anew(home: Path, httpserver: HTTPServer) -> None:
    """The message says how; what else stands in the policy stays."""
    (home / "policy.yaml").write_text(f"receivers:\n- {{name: log, kind: webhook, url: '{hook(httpserver, 410)}'}}\n")
    refused = cli("alerts", "setup", "--kind", "webhook", "--name", "phone", typed=f"{hook(httpserver, 410)}\n")
    assert "no alert arrives there" in refused.output
    assert "Every run that you start like this" not in refused.output
    assert "trainwarden alerts setup --kind webhook --name phone --replace" in refused.output
    good = httpserver.url_for("/good")
    httpserver.expect_request("/good").respond_with_data("")
    done = cli("alerts", "setup", "--kind", "webhook", "--name", "phone", "--replace", typed=f"{good}\n")
    assert "the test message was taken" in done.output
    assert load_policy(home / "policy.yaml").receiver_names == ("log", "phone")


def test_setup_asks_for_a_mail_server_what_it_needs(home: Path) -> None:
    """Each question is a sentence; a list is typed with commas, and the login may be left out."""
    typed = "127.0.0.1\nme@example.org\nana@example.org, bob@example.org\n\n\n"
    done = cli("alerts", "setup", "--kind", "email", "--name", "mail", "--no-test", typed=typed)
    assert "These are the addresses that get each mail." in done.output
    [mail] = load_policy(home / "policy.yaml").receivers
    config = receiver_of(mail).config
    assert (config.to, config.user, config.password) == (("ana@example.org", "bob@example.org"), "", None)


def test_setup_asks_again_for_a_kind_and_an_address_that_can_not_be(home: Path, httpserver: HTTPServer) -> None:
    done = cli("alerts", "setup", typed=f"webhok\nwebhook\nphone\nnot an address\n{hook(httpserver)}\n")
    assert "'webhok' is not one of" in done.output
    assert "What you typed does not begin with https:// or http://" in done.output
    assert "the test message was taken" in done.output


def test_setup_refuses_a_name_before_it_asks_for_a_secret(home: Path) -> None:
    refused = cli("alerts", "setup", "--kind", "ntfy", "--name", "my phone/../x")
    assert "write letters, digits, '_' and '-' only, at most 40" in refused.output
    assert "topic" not in refused.output


def test_a_policy_with_a_mistake_is_left_as_it_is(home: Path) -> None:
    (home / "policy.yaml").write_text("act: perhaps\n")
    refused = cli("alerts", "setup", "--kind", "webhook", "--name", "one", typed="https://example.org\n")
    assert refused.exit_code != 0
    assert (home / "policy.yaml").read_text() == "act: perhaps\n"


def test_a_receiver_that_does_not_take_the_test_is_said_with_its_reason(home: Path, httpserver: HTTPServer) -> None:
    (home / "policy.yaml").write_text(f"webhooks: [{{name: ops, url: '{hook(httpserver, 410)}'}}]\n")
    refused = cli("alerts", "test", "ops")
    assert "ops: the test message was not taken: HTTP 410" in refused.output
    assert TOKEN not in refused.output


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("", "the policy has none of this name; add one: trainwarden alerts setup"),
        ("webhooks: [{name: ops, url: 'https://example.org'}]", "did you mean 'ops'?"),
    ],
)
def test_a_name_that_is_not_there_says_what_is(home: Path, policy: str, said: str) -> None:
    (home / "policy.yaml").write_text(policy)
    failed = cli("alerts", "test", "opps")
    assert said in failed.output


def test_without_a_policy_the_way_to_one_is_said(home: Path) -> None:
    assert "make it with `trainwarden alerts setup`" in cli("alerts", "show").output


def test_show_says_of_each_event_who_gets_it(home: Path) -> None:
    (home / "policy.yaml").write_text(
        "quiet_hours: {start: '22:00', end: '07:00'}\nalerts: {stuck: false}\n"
        "receivers:\n- {name: phone, kind: webhook, url: 'https://example.org/a', severity: critical}\n"
        "- {name: log, kind: webhook, url: 'https://example.org/b'}\n"
        "routes: [{match: [family=nonfinite], receivers: [phone]}]\n"
    )
    lines = [" ".join(line.split()) for line in cli("alerts", "show").output.splitlines()]
    assert "batches are not finite (NaN) critical phone" in lines
    assert "the loss goes wrong critical phone, log" in lines
    assert "the training stands still critical nobody (switched off below `alerts`)" in lines
    assert "rolled back warning log" in lines
    assert "finished info nobody (alerts.finished: false)" in lines
    assert "quiet hours 22:00 to 07:00: only critical alerts; the others follow together" in lines
    assert "heartbeat: none" in lines


def test_a_silence_takes_plain_times(home: Path) -> None:
    assert [seconds_of(text) for text in ("30m", "2h", "3d")] == [1800.0, 7200.0, 259_200.0]
    with pytest.raises(Failure, match="write it like 30m, 2h or 3d"):
        seconds_of("2 hours")
    assert "'night' is not label=pattern" in cli("silence", "add", "--for", "2h", "night").output
    with pytest.raises(Failure, match="is too long; a silence lasts 30d at most"):
        seconds_of("31d")
    assert seconds_of("30d") == 30 * 86_400.0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("colour=red", "no alert has the label 'colour'; the known ones are run, title, kind, family, severity"),
        ("severity=criticl", "severity is never 'criticl'; did you mean 'critical'?"),
        ("severity=critical|warnin", "severity is never 'warnin'; did you mean 'warning'?"),
        ("family=nan", "family is never 'nan'"),
    ],
)
def test_a_line_that_no_alert_could_match_is_refused(home: Path, line: str, said: str) -> None:
    """A typing error would silence nothing, or send nothing, and nobody would notice."""
    assert said in cli("silence", "add", "--for", "2h", line).output
    (home / "p.yaml").write_text(
        f"receivers: [{{name: a, kind: ntfy, topic: x}}]\nroutes: [{{match: ['{line}'], receivers: [a]}}]\n"
    )
    assert f"routes.0.match.0: '{line}'" in cli("policy", "check", str(home / "p.yaml")).output


def test_lines_with_stars_and_texts_of_any_kind_are_taken(home: Path) -> None:
    for line in ("run=x*", "severity=*", "severity=crit*|warning", "kind=digest", "family=nonfinite", "title=a b"):
        assert matcher_problem(line) == ""


def test_half_of_the_quiet_hours_is_refused(home: Path) -> None:
    (home / "p.yaml").write_text("quiet_hours: {start: '22:00'}\n")
    assert "quiet_hours: start without end makes no quiet hours" in cli("policy", "check", str(home / "p.yaml")).output


def test_a_key_without_its_certificate_is_refused(home: Path, tmp_path: Path) -> None:
    """The second port would never open, and the daemon would run on without it."""
    key = tmp_path / "key.pem"
    key.write_text("x")
    refused = cli("serve", "--metrics-listen", "127.0.0.1:0", "--tls-key", str(key))
    assert "--tls-key: belongs to a certificate; name it with --tls-certificate" in refused.output
