"""The private names of aiortc and aioice that this room uses. One that moves must fail here, not in a call."""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap

import pytest
from aioice import Candidate, Connection, ice, stun
from aiortc import rtcsctptransport
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport, State
from aiortc.rtcsctptransport import RTCSctpTransport

from gateway.dial.loopback import loopback_candidates
from gateway.legs.webrtc.channel import USER_DATA_BYTES, Channel
from gateway.legs.webrtc.ice import MuxConnection, MuxProtocol
from gateway.legs.webrtc.identity import Identity
from gateway.legs.webrtc.udp_mux import UdpMux


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_ice_agent_has_the_state_that_we_read_and_write() -> None:
    async def body() -> None:
        agent = Connection(ice_controlling=False)
        for name in ("_protocols", "_remote_candidates", "_check_list", "_local_candidates"):
            assert getattr(agent, name) == [], name
        for name in ("_local_candidates_start", "_local_candidates_end", "_early_checks_done", "_closing"):
            assert getattr(agent, name) is False, name
        assert agent._nominated == {}
        assert len(agent._early_checks) == 0
        assert isinstance(agent._queue, asyncio.Queue)
        assert isinstance(agent._check_list_state, asyncio.Queue)
        assert agent._query_consent_task is None
        await agent.close()

    asyncio.run(body())


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Connection.check_complete, ["self", "pair"]),
        (Connection.check_incoming, ["self", "message", "addr", "protocol"]),
        (Connection.request_received, ["self", "message", "addr", "protocol"]),
        (Connection._add_remote_candidate, ["self", "remote_candidate", "network_host"]),
        (Connection._pair_remote_candidate, ["self", "remote_candidate"]),
        (Connection._check_periodic, ["self"]),
        (Connection._unfreeze_initial, ["self"]),
        (Connection.sort_check_list, ["self"]),
        (Connection.query_consent, ["self"]),
        (ice.StunProtocol.request, ["self", "request", "addr", "integrity_key", "retransmissions"]),
        (stun.Transaction.response_received, ["self", "message", "addr"]),
        (RTCDtlsTransport._set_role, ["self", "role"]),
        (RTCCertificate._create_ssl_context, ["self", "srtp_profiles"]),
        (RTCSctpTransport._handle_data, ["self", "data"]),
        (RTCSctpTransport._receive, ["self", "stream_id", "pp_id", "data"]),
        (RTCSctpTransport._receive_data_chunk, ["self", "chunk"]),
        (RTCSctpTransport._send_chunk, ["self", "chunk"]),
        (RTCSctpTransport._data_channel_flush, ["self"]),
    ],
)
def test_what_we_override_or_call_still_takes_the_same(function: object, expected: list[str]) -> None:
    assert parameters(function) == expected


def test_our_overrides_take_what_the_originals_take() -> None:
    assert parameters(MuxProtocol.request) == parameters(ice.StunProtocol.request)
    assert parameters(MuxConnection.check_complete) == parameters(Connection.check_complete)


def test_aioice_still_connects_in_the_way_that_we_repeat() -> None:
    """`MuxConnection.connect` is aioice's with another wait. Read the new one before this list is changed."""
    source = inspect.getsource(Connection.connect)
    steps = ["_pair_remote_candidate", "sort_check_list", "_unfreeze_initial", "check_incoming", "_early_checks.clear"]
    steps += ["_early_checks_done = True", "_check_periodic", "_check_list_state.get", "check.task.cancel", "query_consent"]
    positions = [source.index(step) for step in steps]
    assert positions == sorted(positions)
    assert ice.ICE_COMPLETED == 1


def test_a_candidate_knows_its_network_host() -> None:
    assert Candidate.from_sdp("1 1 udp 1 192.0.2.1 9 typ host")._network_host == "192.0.2.1"


def test_dtls_asks_its_transport_for_no_more_than_we_give() -> None:
    source = inspect.getsource(RTCDtlsTransport)
    asked = {word.split("(")[0].split(")")[0] for word in source.replace("self._transport", "").split("self.transport.")[1:]}
    assert {name.split()[0].rstrip(",") for name in asked} == {"_recv", "_send", "role"}
    assert all(hasattr(MuxConnection, name) for name in ("_recv", "_send", "role"))


def test_dtls_keeps_keys_state_and_task_where_we_look() -> None:
    async def body() -> None:
        mux = await UdpMux.open("127.0.0.1", 0)
        connection = MuxConnection(mux, "gw1", lambda *_: None, lambda _: None)
        dtls = RTCDtlsTransport(connection, [Identity().certificate(0.0)])  # type: ignore[arg-type]
        assert (dtls._rx_srtp, dtls._tx_srtp, dtls._task, dtls.state) == (None, None, None, "new")
        dtls._set_role("client")
        assert dtls._role == "client"
        assert {state.name for state in State} >= {"CONNECTED", "FAILED", "CLOSED"}
        await connection.close()
        await mux.close()

    asyncio.run(body())


def test_dtls_takes_no_srtp_of_ours() -> None:
    """Its own receive loop must get DTLS only: it would hand RTP to a router that has nobody registered."""
    source = inspect.getsource(RTCDtlsTransport._recv_next)
    assert "first_byte > 19 and first_byte < 64" in source
    assert "first_byte > 127 and first_byte < 192" in source


def test_sctp_cuts_messages_where_we_say() -> None:
    assert rtcsctptransport.USERDATA_MAX_LENGTH == USER_DATA_BYTES <= 1100
    assert "USERDATA_MAX_LENGTH" in inspect.getsource(RTCSctpTransport._send), "read when a message is cut, not when defined"


def test_sctp_has_the_state_that_we_limit() -> None:
    async def body() -> None:
        mux = await UdpMux.open("127.0.0.1", 0)
        connection = MuxConnection(mux, "gw1", lambda *_: None, lambda _: None)
        dtls = RTCDtlsTransport(connection, [Identity().certificate(0.0)])  # type: ignore[arg-type]
        sctp = RTCSctpTransport(dtls)
        assert sctp._advertised_rwnd == 1024 * 1024
        assert sctp._inbound_streams == {}
        assert sctp._sack_misordered == set()
        assert sctp._data_channels == {}
        assert sctp._remote_max_message_size == 65_536
        await connection.close()
        await mux.close()

    asyncio.run(body())


def assigned(cls: type) -> set[str]:
    """Attributes that the class's own __init__ sets."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__)))  # type: ignore[misc]
    targets = [t for node in ast.walk(tree) if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in ast.walk(tree) if isinstance(node, ast.AnnAssign)]
    return {t.attr for t in targets if isinstance(t, ast.Attribute)}


def test_nothing_of_ours_hides_a_name_of_theirs_by_accident() -> None:
    """pyee's emitter owns a `_waiting`, which would have been our queue's name. What we do redefine is listed here."""

    async def body() -> None:
        mux = await UdpMux.open("127.0.0.1", 0)
        connection = MuxConnection(mux, "gw1", lambda *_: None, lambda _: None)
        agent = Connection(ice_controlling=False)
        assert assigned(MuxConnection) & (set(vars(agent)) | set(dir(agent))) == set()
        dtls = RTCDtlsTransport(connection, [Identity().certificate(0.0)])  # type: ignore[arg-type]
        sctp = RTCSctpTransport(dtls)
        assert assigned(Channel) & (set(vars(sctp)) | set(dir(sctp))) == {"_advertised_rwnd"}
        overridden = {name for name in vars(Channel) if not name.startswith("__") and hasattr(RTCSctpTransport, name)}
        assert overridden == {"_handle_data", "_receive", "_receive_data_chunk", "_send_chunk"}
        await connection.close()
        await mux.close()

    asyncio.run(body())


def test_host_addresses_can_be_given() -> None:
    with loopback_candidates():
        assert ice.get_host_addresses(True, False) == ["127.0.0.1"]
    assert list(inspect.signature(ice.get_host_addresses).parameters) == ["use_ipv4", "use_ipv6"]
    assert "get_host_addresses(" in inspect.getsource(ice.Connection)
