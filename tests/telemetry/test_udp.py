"""Reading the kernel's drop counters."""

from __future__ import annotations

import socket
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from gateway.telemetry.metrics import Metrics
from gateway.telemetry.udp import TABLES, drops_in, rcvbuf_drops

TABLE = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 0100007F:1ECA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20512 2 0000000000000000 12
  101: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20513 2 0000000000000000 99
  102: 00000000:1ECA 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20514 2 0000000000000000 30
"""


def test_only_the_ports_own_lines_count() -> None:
    assert drops_in(TABLE, 0x1ECA) == 42
    assert drops_in(TABLE, 53) == 99
    assert drops_in(TABLE, 54) == 0


@given(st.text(), st.integers(0, 65535))
def test_any_text_gives_a_number(table: str, port: int) -> None:
    assert drops_in(table, port) >= 0


def test_a_missing_table_is_no_drops(tmp_path: Path) -> None:
    assert rcvbuf_drops(7882, [tmp_path / "none"]) == 0


def test_a_full_socket_shows_in_the_metric() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
        for _ in range(200):
            sender.sendto(bytes(1000), ("127.0.0.1", port))
        registry = CollectorRegistry()
        Metrics(registry).watch_udp(dict, port)
        shown = registry.get_sample_value("gateway_udp_rcvbuf_drops_total")
    assert shown is not None
    assert (shown > 100) == TABLES[0].exists()
