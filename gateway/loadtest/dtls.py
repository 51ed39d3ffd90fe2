"""The caller's side of DTLS-SRTP, sans-IO (RFC 5763, RFC 5764): datagrams in, datagrams out, then two SRTP sessions."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from pylibsrtp import Error as SrtpError
from pylibsrtp import Policy, Session

from gateway.errors import LegError

MTU = 1200
"""Bytes of DTLS records put into one datagram."""


class _Profile(NamedTuple):
    openssl: bytes
    libsrtp: int
    key: int
    salt: int


def _available() -> tuple[_Profile, ...]:
    profiles = (
        _Profile(b"SRTP_AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
        _Profile(b"SRTP_AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
    )
    known = []
    for profile in profiles:
        try:
            Policy(srtp_profile=profile.libsrtp)
        except SrtpError:  # a libsrtp built without GCM
            continue
        known.append(profile)
    return tuple(known)


PROFILES = _available()
"""What Chrome offers, in its order."""


class Identity:
    """A certificate for all callers of one run: making one each would cost more than their handshakes."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "caller")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .sign(key, hashes.SHA256())
        )
        self.fingerprint = fingerprint(certificate)
        self.context = SSL.Context(SSL.DTLS_METHOD)
        self.context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)  # by fingerprint, below
        self.context.use_certificate(certificate)
        self.context.use_privatekey(key)
        self.context.set_tlsext_use_srtp(b":".join(profile.openssl for profile in PROFILES))


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 as SDP writes it: upper-case hex, colons."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def split_records(data: bytes) -> list[bytes]:
    """DTLS records packed into datagrams of at most `MTU` bytes, records kept whole (RFC 6347 §4.1.1)."""
    datagrams: list[bytes] = []
    start = at = 0
    while at + 13 <= len(data):
        end = at + 13 + int.from_bytes(data[at + 11 : at + 13], "big")
        if end - start > MTU and at > start:
            datagrams.append(data[start:at])
            start = at
        at = end
    if start < len(data):
        datagrams.append(data[start:])
    return datagrams


class SrtpPair(NamedTuple):
    """The two SRTP sessions of a call, as the caller sees them."""

    sent: Session
    heard: Session


class DtlsCaller:
    """One handshake. `keys` are there once it is `done`.

    `client`: we say hello first. Raises LegError from `start`, `receive` and `timeout` when the handshake cannot succeed.
    """

    def __init__(self, identity: Identity, *, client: bool, remote_fingerprint: str) -> None:
        self._client = client
        self._remote_fingerprint = remote_fingerprint.upper()
        self._ssl = SSL.Connection(identity.context, None)
        self._ssl.set_ciphertext_mtu(MTU)
        if client:
            self._ssl.set_connect_state()
        else:
            self._ssl.set_accept_state()
        self.keys: SrtpPair | None = None

    @property
    def done(self) -> bool:
        """Keys are there."""
        return self.keys is not None

    def start(self) -> list[bytes]:
        """The first flight; nothing for a server."""
        return self._step()

    def receive(self, datagram: bytes) -> list[bytes]:
        """Take a DTLS datagram; what to send back. After the handshake: answers retransmissions."""
        self._ssl.bio_write(datagram)
        return self._step()

    @property
    def timer(self) -> float | None:
        """Seconds until `timeout` should be called; None when nothing is waited for."""
        left = self._ssl.DTLSv1_get_timeout()
        return None if self.done or left is None else float(left)

    def timeout(self) -> list[bytes]:
        """Say the last flight again if it is time."""
        self._ssl.DTLSv1_handle_timeout()
        return self._pending()

    def _step(self) -> list[bytes]:
        try:
            if self.done:
                self._ssl.recv(1500)
            else:
                self._ssl.do_handshake()
                self._take_keys()
        except SSL.WantReadError:
            pass
        except SSL.Error as exc:
            raise LegError(f"DTLS failed: {type(exc).__name__} {exc}") from exc
        return self._pending()

    def _pending(self) -> list[bytes]:
        data = b""
        while True:
            try:
                data += self._ssl.bio_read(16_384)
            except SSL.WantReadError:
                return split_records(data)

    def _take_keys(self) -> None:
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        if certificate is None or fingerprint(certificate) != self._remote_fingerprint:
            raise LegError("DTLS failed: the gateway's certificate is not the one of its answer")
        chosen = self._ssl.get_selected_srtp_profile()
        profile = next((profile for profile in PROFILES if profile.openssl == chosen), None)
        if profile is None:
            raise LegError("DTLS failed: no SRTP profile in common")
        material = self._ssl.export_keying_material(b"EXTRACTOR-dtls_srtp", 2 * (profile.key + profile.salt), None)
        keys = [material[n * profile.key :][: profile.key] for n in (0, 1)]
        salts = [material[2 * profile.key + n * profile.salt :][: profile.salt] for n in (0, 1)]
        ours = 0 if self._client else 1
        self.keys = SrtpPair(
            sent=_session(profile, keys[ours] + salts[ours], Policy.SSRC_ANY_OUTBOUND),
            heard=_session(profile, keys[1 - ours] + salts[1 - ours], Policy.SSRC_ANY_INBOUND),
        )


def _session(profile: _Profile, key: bytes, ssrc_type: int) -> Session:
    policy = Policy(key=key, ssrc_type=ssrc_type, srtp_profile=profile.libsrtp)
    policy.allow_repeat_tx = True
    policy.window_size = 1024
    return Session(policy)
