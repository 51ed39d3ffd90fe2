"""The command line: the only reader of argv and environment. Each command loads its rooms only when it is chosen.

Exit status: 0 done, 2 the configuration or command line can't be used (every fault on a line of its own), 1 anything else that
went wrong as such things do, 130 interrupted. A traceback on stderr is a bug.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gateway
from gateway.config import Config, describe, load, markdown
from gateway.config.load import CONFIG_ENV
from gateway.config.settings import SETTINGS
from gateway.config.values import argument, bearer, host, number, or_empty, port, seconds
from gateway.errors import ConfigError, GatewayError

Environ = Mapping[str, str]

EMULATOR_PORT = 9443


class Command(NamedTuple):
    """One word of the command line."""

    summary: str
    run: Callable[[Sequence[str], Environ], int]


def main(argv: Sequence[str] | None = None, environ: Environ | None = None) -> int:
    """Run the command that `argv` (default: the process's) names; without one, serve. Returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    environ = os.environ if environ is None else environ
    if argv and argv[0] in ("-h", "--help"):
        print(_usage())
        return 0
    if argv and argv[0] == "--version":
        print(gateway.__version__)
        return 0
    name, rest = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("serve", argv)
    command = COMMANDS.get(name)
    if command is None:
        return _complain(f"no such command: {name}; there are {', '.join(COMMANDS)}", status=2)
    try:
        return command.run(rest, environ)
    except ConfigError as error:
        return _complain(*error.faults, status=2)
    except (GatewayError, OSError) as error:
        return _complain(str(error), status=1)
    except KeyboardInterrupt:
        return 130


def _complain(*lines: str, status: int) -> int:
    for line in lines:
        print(f"gateway: {line}", file=sys.stderr)
    return status


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    return f"usage: gateway [command] [options]\n\n{commands}\n\n`gateway <command> --help` tells the options."


def _parser(name: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"gateway {name}", description=COMMANDS[name].summary, allow_abbrev=False)


def _add_settings(parser: argparse.ArgumentParser, begins: str = "") -> None:
    """A flag for each setting that has one and whose path begins so; what is not given is not in the namespace."""
    parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=f"TOML file ({CONFIG_ENV})")
    for setting in SETTINGS:
        if setting.flag is None or not setting.path.startswith(begins):
            continue
        help_text = f"{setting.meaning.replace('`', '')} ({', '.join(setting.env)})".replace("%", "%%")
        given: dict[str, Any] = {"metavar": setting.toml.__name__.upper()}
        if setting.toml is bool:
            given = {"nargs": "?", "const": "true", "metavar": "true|false"}
        parser.add_argument(setting.flag, dest=setting.path, default=argparse.SUPPRESS, help=help_text, **given)


def _run(work: Coroutine[Any, Any, int]) -> int:
    """`asyncio.run` on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def secrets(config: Config) -> list[str]:
    """Everything in the configuration that no log line may hold."""
    found = [
        *(service.api_key for service in (config.model, *config.backends.values())),
        *(key.secret for key in config.http.api_keys),
        *(each.credential for each in config.ice_servers),
    ]
    return [secret for secret in found if secret]


# --- commands ---


def _serve(argv: Sequence[str], environ: Environ) -> int:
    parser = _parser("serve")
    _add_settings(parser)
    config = load(vars(parser.parse_args(argv)), environ)

    from gateway.server import serve
    from gateway.telemetry.log import configure

    configure(config.log.level, secrets=secrets(config))
    # People look at stdout, machines at the log on stderr.
    return _run(serve(config, announce=lambda url: print(f"Listening: open {url}", flush=True)))


def _config(argv: Sequence[str], environ: Environ) -> int:
    parser = _parser("config")
    parser.add_argument("--markdown", action="store_true", help="instead a table of everything there is to set")
    _add_settings(parser)
    flags = vars(parser.parse_args(argv))
    print(markdown() if flags.pop("markdown") else describe(load(flags, environ)), end="")
    return 0


def _emulator(argv: Sequence[str], _: Environ) -> int:
    from gateway.emulator.faults import OptionError
    from gateway.emulator.script import ScriptError
    from gateway.emulator.server import run_emulator
    from gateway.emulator.settings import EmulatorSettings
    from gateway.emulator.voices import PersonaError

    standard = EmulatorSettings()
    parser = _parser("emulator")
    parser.add_argument("--host", type=argument(host), default=standard.host, help="address (default %(default)s)")
    parser.add_argument("--port", type=argument(port), default=EMULATOR_PORT, help="TLS port, 0 for any (default %(default)s)")
    parser.add_argument("--plain-port", type=argument(port), help="also listen without TLS")
    parser.add_argument(
        "--names", type=argument(host), action="append", default=[], metavar="NAME", help="further name in the certificate"
    )
    parser.add_argument("--certificate-dir", metavar="DIR", help="where the certificate is kept (default: nowhere)")
    parser.add_argument(
        "--persona", default=standard.persona, help="parrot, tone:HZ,S, talker:ON,OFF or counter:S (default %(default)s)"
    )
    parser.add_argument("--scenario", metavar="FILE", help="JSON script")
    parser.add_argument("--faults", default=standard.faults, help="of every session: goaway=30,10&pong_delay=8")
    parser.add_argument("--seed", type=int, default=standard.seed)
    parser.add_argument(
        "--first-chunk",
        type=argument(seconds(0, 600)),
        default=standard.first_chunk,
        help="seconds to the first audio (default %(default)s)",
    )
    parser.add_argument(
        "--speed",
        type=argument(number(0, 1_000)),
        default=standard.speed,
        help="of its audio, 1 is real time (default %(default)s)",
    )
    parser.add_argument(
        "--lifetime",
        type=argument(seconds(1, 86_400)),
        default=standard.lifetime,
        help="seconds of a connection (default %(default)s)",
    )
    given = vars(parser.parse_args(argv))
    given["names"] = tuple(given["names"])
    for name in ("certificate_dir", "scenario"):
        given[name] = None if given[name] is None else Path(given[name])
    try:
        return run_emulator(EmulatorSettings(**given))
    except (OptionError, PersonaError, ScriptError) as error:
        return _complain(str(error), status=2)


def _call(argv: Sequence[str], environ: Environ) -> int:
    from gateway.dial import DialSettings, dial

    parser = _parser("call")
    parser.add_argument(
        "--url", default="http://127.0.0.1:8080", help="of the gateway or its WHIP endpoint (default %(default)s)"
    )
    parser.add_argument(
        "--model",
        action="store_true",
        help="no gateway: straight to the model, with the settings of `gateway serve` (--emulator, --config and so on)",
    )
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--wav", type=Path, metavar="FILE", help="what to say: any audio file, any rate")
    who.add_argument("--mic", action="store_true", help="speak yourself, and listen (extra `mic`)")
    parser.add_argument("--save", type=Path, metavar="FILE", help="WAV file for the answer")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    parser.add_argument(
        "--key",
        type=argument(or_empty(bearer)),
        default=environ.get("GATEWAY_API_KEY", ""),
        help="API key of the gateway; better in GATEWAY_API_KEY: argv is public",
    )
    parser.add_argument("--profile", default="", metavar="NAME", help="of the gateway's profiles")
    parser.add_argument(
        "--seconds", type=argument(seconds(0, 86_400)), help="length of the call (default: until the answer is over)"
    )
    _add_settings(parser, "model.")
    given = vars(parser.parse_args(argv))
    del given["mic"]
    flags = {name: given.pop(name) for name in list(given) if name == "config" or "." in name}
    if not given.pop("model"):
        if flags:
            raise ConfigError([f"{name}: only with --model" for name in flags])
        return _run(dial(DialSettings(**given)))
    config = load(flags, environ)

    from gateway.server import open_house
    from gateway.telemetry.log import configure

    configure("error", secrets=secrets(config))
    return _run(dial(DialSettings(**given), house=lambda: open_house(config)))


def _loadtest(argv: Sequence[str], environ: Environ) -> int:
    from gateway.loadtest import command

    parser = _parser("loadtest")
    command.add_arguments(parser)
    return command.main(parser.parse_args(argv), environ)


COMMANDS: Mapping[str, Command] = {
    "serve": Command("Run the gateway (what happens without a command).", _serve),
    "emulator": Command("Run only the emulator of the Gemini Live service.", _emulator),
    "call": Command("Call a gateway, or the model, from here: say a recording or speak, write down the answer.", _call),
    "loadtest": Command("Call a gateway many times over and measure.", _loadtest),
    "config": Command("Show the configuration in force, secrets masked.", _config),
}
