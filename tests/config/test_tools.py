"""Tools in the configuration file: what may be said, and that every fault is told at once."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.config import load
from gateway.config.text import describe
from gateway.errors import ConfigError
from gateway.toolspec import Behavior, McpServer, Scheduling, ToolKind, ToolSpec

FUNCTIONS = "tests.model.tools.functions"
GOOD = f"""
[profiles.a.tools.add]
kind = "python"
description = "Adds."
function = "{FUNCTIONS}:add"
timeout = 2
per_minute = 5
output_limit = 500
confirm = true
behavior = "NON_BLOCKING"
scheduling = "WHEN_IDLE"
parameters = {{ properties = {{ a = {{ type = "integer" }}, b = {{ type = "integer" }} }}, required = ["a"] }}

[profiles.a.tools.order]
kind = "http"
description = "Looks up an order."
url = "https://api.example.com/order"
hosts = ["*.example.com"]
networks = ["10.0.0.0/8"]
token_file = "TOKEN"

[profiles.a.tools.crm]
kind = "mcp"
command = ["crm-server", "--stdio"]
env = {{ CRM_KEY = "hidden" }}
only = ["find"]

[profiles.a.tools.remote]
kind = "mcp"
url = "https://mcp.example.com/mcp"
token = "hidden"

[profiles.a.tools.show_map]
kind = "browser"
description = "Shows a map."

[profiles.a.tools.hang_up]
kind = "builtin"
"""


def tools(tmp_path: Path, text: str) -> dict[str, ToolSpec]:
    file, token = tmp_path / "gateway.toml", tmp_path / "token"
    token.write_text("sesame\n")
    file.write_text(text.replace("TOKEN", str(token)))
    return {tool.name: tool for tool in load({"config": str(file)}, {}).profiles["a"].tools}


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        tools(tmp_path, text)
    return list(raised.value.faults)


def test_every_kind(tmp_path: Path) -> None:
    found = tools(tmp_path, GOOD)
    add = found["add"]
    assert (add.kind, add.path, add.timeout, add.per_minute) == (ToolKind.PYTHON, f"{FUNCTIONS}:add", 2.0, 5)
    assert (add.output_limit, add.confirm, add.behavior, add.scheduling) == (
        500,
        True,
        Behavior.NON_BLOCKING,
        Scheduling.WHEN_IDLE,
    )
    assert add.parameters["type"] == "object"
    hook = found["order"].webhook
    assert hook is not None
    assert (hook.hosts, hook.networks, hook.token) == (("*.example.com",), (ip_network("10.0.0.0/8"),), "sesame")
    assert found["crm"].server == McpServer(("crm-server", "--stdio"), (("CRM_KEY", "hidden"),))
    assert found["crm"].only == ("find",)
    assert found["remote"].server == McpServer(url="https://mcp.example.com/mcp", token="hidden")
    assert "goodbye" in found["hang_up"].description
    assert found["show_map"].timeout == 10.0


def test_what_is_in_force_is_shown_without_secrets_and_can_be_read_again(tmp_path: Path) -> None:
    found = tools(tmp_path, GOOD)
    shown = describe(load({"config": str(tmp_path / "gateway.toml")}, {}))
    assert "hidden" not in shown
    assert "sesame" not in shown
    again = tools(tmp_path, shown)
    assert set(again) == set(found)
    assert again["add"] == found["add"]
    assert again["show_map"] == found["show_map"]


@pytest.mark.parametrize(
    ("lines", "where"),
    [
        ('description = "x"', "kind"),
        ('kind = "shell"', "kind"),
        ('kind = "browser"', ""),
        ('kind = "browser"\ndescription = ""', "description"),
        ('kind = "browser"\ndescription = "x"\nurl = "https://x.example/"', "url"),
        ('kind = "browser"\ndescription = "x"\ntimeout = 0', "timeout"),
        ('kind = "browser"\ndescription = "x"\ntimeout = "1"', "timeout"),
        ('kind = "browser"\ndescription = "x"\nper_minute = 0', "per_minute"),
        ('kind = "browser"\ndescription = "x"\noutput_limit = 1', "output_limit"),
        ('kind = "browser"\ndescription = "x"\nconfirm = "yes"', "confirm"),
        ('kind = "browser"\ndescription = "x"\nbehavior = "blocking"', "behavior"),
        ('kind = "browser"\ndescription = "x"\nscheduling = "NOW"', "scheduling"),
        ('kind = "browser"\ndescription = "x"\nparameters = 7', "parameters"),
        ('kind = "browser"\ndescription = "x"\nparameters.properties.a.type = "text"', "parameters.a.type"),
        (
            'kind = "browser"\ndescription = "x"\nconfirm = true\nparameters.properties.confirmation.type = "string"',
            "parameters.conf",
        ),
        ('kind = "python"\ndescription = "x"', "function"),
        ('kind = "python"\ndescription = "x"\nfunction = "nowhere_at_all:f"', "function"),
        (f'kind = "python"\ndescription = "x"\nfunction = "{FUNCTIONS}:missing"', "function"),
        (f'kind = "python"\ndescription = "x"\nfunction = "{FUNCTIONS}:add"', "function"),
        ('kind = "http"\ndescription = "x"', "url"),
        ('kind = "http"\ndescription = "x"\nurl = "http://example.com/"', "url"),
        ('kind = "http"\ndescription = "x"\nurl = "https://169.254.169.254/"', "url"),
        ('kind = "http"\ndescription = "x"\nurl = "https://a.example/"\nhosts = ["b.example"]', "url"),
        ('kind = "http"\ndescription = "x"\nurl = "https://a.example/"\nhosts = ["b example"]', "hosts"),
        ('kind = "http"\ndescription = "x"\nurl = "https://a.example/"\nnetworks = ["10.0.0.1/8"]', "networks"),
        ('kind = "http"\ndescription = "x"\nurl = "https://a.example/"\ntoken = "a b"', "token"),
        ('kind = "http"\ndescription = "x"\nurl = "https://a.example/"\ntoken_file = "/nowhere"', "token_file"),
        ('kind = "mcp"', ""),
        ('kind = "mcp"\ncommand = "server"', "command"),
        ('kind = "mcp"\ncommand = ["s"]\nurl = "https://a.example/"', ""),
        ('kind = "mcp"\nurl = "a.example"', "url"),
        ('kind = "mcp"\ncommand = ["s"]\nenv = { "A B" = "x" }', "env"),
        ('kind = "mcp"\ncommand = ["s"]\nparameters = {}', "parameters"),
        ('kind = "builtin"', ""),
    ],
)
def test_what_may_not_be_said(tmp_path: Path, lines: str, where: str) -> None:
    found = faults(tmp_path, f"[profiles.a.tools.t]\n{lines}\n")
    assert any(fault.startswith(f"profiles.a.tools.t{'.' if where else ':'}{where}") for fault in found), found


def test_names_and_tables(tmp_path: Path) -> None:
    assert "a name" in faults(tmp_path, '[profiles.a.tools."a b"]\nkind = "browser"\ndescription = "x"\n')[0]
    assert "must be tables" in faults(tmp_path, "[profiles.a]\ntools = 3\n")[0]
    assert "must be tables" in faults(tmp_path, "[profiles.a]\ntools.x = 3\n")[0]


def test_every_fault_at_once(tmp_path: Path) -> None:
    text = """
[profiles.a]
voice = "Nobody"
[profiles.a.tools.one]
kind = "teleport"
[profiles.a.tools.two]
kind = "python"
description = "x"
function = "nowhere_at_all:f"
[profiles.a.tools.three]
kind = "browser"
description = "x"
parameters.properties.a.type = "text"
"""
    found = "\n".join(faults(tmp_path, text))
    for where in ("profiles.a.voice", "tools.one.kind", "tools.two.function", "tools.three.parameters.a.type"):
        assert where in found
