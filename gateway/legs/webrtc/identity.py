"""Our side of DTLS: one certificate for every call of the worker, replaced daily.

A certificate and its OpenSSL context cost 0.7 ms a call to make anew, and hide nothing: its fingerprint is in every answer.
"""

from __future__ import annotations

from aiortc.rtcdtlstransport import RTCCertificate, SRTPProtectionProfile
from OpenSSL import SSL

LIFETIME = 24 * 3600.0
"""Seconds. Calls in progress keep the old one."""


class SharedCertificate(RTCCertificate):
    """aiortc's certificate, with its OpenSSL context made once."""

    _context: SSL.Context | None = None
    _fingerprint = ""

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            self._context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 14 KiB a call that is not needed after the handshake
        return self._context

    @property
    def fingerprint(self) -> str:
        """SHA-256, colon-separated, upper case."""
        if not self._fingerprint:
            self._fingerprint = next(each.value for each in self.getFingerprints() if each.algorithm == "sha-256")
        return self._fingerprint


class Identity:
    """The worker's certificate of the day."""

    def __init__(self) -> None:
        self._certificate: SharedCertificate | None = None
        self._until = 0.0

    def certificate(self, now: float) -> SharedCertificate:
        """The one to use for a call that begins at `now`."""
        if self._certificate is None or now >= self._until:
            self._certificate = SharedCertificate.generateCertificate()
            self._until = now + LIFETIME
        return self._certificate
