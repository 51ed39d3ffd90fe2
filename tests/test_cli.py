"""The command line: which command, which exit status, one clear line and never a traceback."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

import gateway
from gateway.cli import COMMANDS, main, secrets
from gateway.config import load
from gateway.config.settings import SETTINGS


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, list[str]]:
    """Standard output, and the lines of standard error."""
    captured = capsys.readouterr()
    return captured.out, captured.err.splitlines()


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"], {}) == 0
    assert said(capsys)[0].strip() == gateway.__version__
    assert main(["--help"], {}) == 0
    text = said(capsys)[0]
    assert all(f"  {name}" in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"], {})
    assert ended.value.code == 0
    assert f"gateway {name}" in said(capsys)[0]


def test_every_setting_has_its_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"], {})
    text = said(capsys)[0]
    for setting in SETTINGS:
        assert setting.flag is None or setting.flag in text


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sevre"], {}) == 2
    assert said(capsys)[1] == [f"gateway: no such command: sevre; there are {', '.join(COMMANDS)}"]


@pytest.mark.parametrize("argv", [["--prot", "1"], ["serve", "--por", "1"], ["config", "x"]])
def test_an_unknown_option(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv, {})
    assert ended.value.code == 2


@pytest.mark.parametrize("command", [[], ["serve"], ["config"]])
def test_every_fault_is_a_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--port", "x"], {"GATEWAY_MAX_CALLS": "0", "GEMINI_API_KEY_FILE": "/missing"}) == 2
    out, err = said(capsys)
    assert not out
    assert len(err) == 3
    assert all(line.startswith("gateway: ") for line in err)


def test_config_shows_what_is_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"GATEWAY_PORT": "1", "GEMINI_API_KEY": "canary", "GATEWAY_API_KEYS": "shop:canary"}
    assert main(["config", "--port", "8081", "--emulator"], environ) == 0
    out, _ = said(capsys)
    assert "port = 8081  # --port" in out
    assert "emulator = true  # --emulator" in out
    assert 'api_key = "***"  # GEMINI_API_KEY' in out
    assert "canary" not in out


def test_a_flag_may_be_turned_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--emulator=false"], {"GATEWAY_EMULATOR": "true", "GEMINI_API_KEY": "k"}) == 0
    assert "emulator = false  # --emulator" in said(capsys)[0]


def test_the_table_needs_no_sound_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--markdown"], {"GATEWAY_PORT": "x"}) == 0
    assert said(capsys)[0].startswith("| variable |")


def test_secrets_for_the_log() -> None:
    config = load({}, {"GEMINI_API_KEY": "a", "GATEWAY_API_KEYS": "x:b,y:c"})
    assert secrets(config) == ["a", "b", "c"]
    assert secrets(load({}, {})) == []


@pytest.mark.parametrize(
    "option",
    [
        ["--port", "99999"],
        ["--plain-port", "-1"],
        ["--speed", "nan"],
        ["--lifetime", "-5"],
        ["--first-chunk", "inf"],
        ["--seed", "x"],
        ["--host", "a b"],
        ["--names", "é"],
    ],
)
def test_values_that_an_emulator_cannot_have(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["emulator", *option], {})
    assert ended.value.code == 2
    assert option[0] in said(capsys)[1][-1]


@pytest.mark.parametrize("option", [["--persona", "nobody"], ["--faults", "nonsense=1"]])
def test_an_emulator_that_cannot_be(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "--port", "0", *option], {}) == 2
    assert len(said(capsys)[1]) == 1


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--wav", "a.wav", "--mic"],
        ["--wav", "a.wav", "--seconds", "nan"],
        ["--wav", "a.wav", "--seconds", "-1"],
        ["--wav", "a.wav", "--seconds", "soon"],
        ["--wav", "a.wav", "--key", "a\nb"],
    ],
)
def test_a_call_that_cannot_be(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["call", *argv], {})
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "option",
    [
        ["--url", "http://[::1"],
        ["--url", "nonsense"],
        ["--calls", "0"],
        ["--seconds", "nan"],
        ["--ramp", "-1"],
        ["--key", "é"],
    ],
)
def test_a_load_test_that_cannot_be(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["loadtest", *option], {})
    assert ended.value.code == 2
    assert f"argument {option[0]}: " in said(capsys)[1][-1]


def test_settings_of_the_model_are_for_calls_to_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "--wav", "a.wav", "--emulator", "--gemini-model", "x"], {}) == 2
    assert len(said(capsys)[1]) == 2
    assert main(["call", "--model", "--wav", "a.wav", "--gemini-model", "a b", "--gemini-backend", "x"], {}) == 2
    assert len(said(capsys)[1]) == 2


def test_a_recording_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", "--model", "--emulator", "--wav", "/missing.wav"], {}) == 1
    assert said(capsys)[1] == ["gateway: /missing.wav: No such file or directory"]


def test_a_microphone_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["call", "--mic"], {}) == 1
    (line,) = said(capsys)[1]
    assert "pip install 'gemini-voice-gateway[mic]'" in line


def test_every_port_in_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        ports = [str(taken.getsockname()[1]) for taken in (one, two, udp)]
        assert main(["emulator", "--port", ports[0], "--plain-port", ports[1]], {}) == 2
        told = said(capsys)[1]
        assert [line.removeprefix("gateway: can't listen on 127.0.0.1, port ") for line in told] == [
            f"{port}: Address already in use" for port in ports[:2]
        ]
        serve = ["serve", "--port", ports[0], "--admin-port", ports[1], "--udp-host", "127.0.0.1", "--udp-port", ports[2]]
        assert main(serve, {}) == 2
        told = [line for line in said(capsys)[1] if not line.startswith("{")]
        assert told == [
            f"gateway: can't bind UDP 127.0.0.1, port {ports[2]}: Address already in use",
            f"gateway: can't listen on 127.0.0.1, port {ports[1]}: Address already in use",
            f"gateway: can't listen on 127.0.0.1, port {ports[0]}: Address already in use",
        ]


def test_as_a_module_with_its_exit_status() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "--host", "0.0.0.0"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_looking_at_the_configuration_loads_no_rooms() -> None:
    heavy = "{'aiohttp', 'aiortc', 'numpy', 'google.genai'}"
    code = f"import sys, gateway.cli; gateway.cli.main(['config'], {{}}); print(sorted(set(sys.modules) & {heavy}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
