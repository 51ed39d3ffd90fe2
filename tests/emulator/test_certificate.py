"""The certificate: trusted for its names, kept, renewed."""

from __future__ import annotations

import datetime
import ssl
import stat
from pathlib import Path

from cryptography import x509

from gateway.emulator.certificate import Certificate, certificate_in

AT = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)


def names(made: Certificate) -> set[str]:
    leaf = x509.load_pem_x509_certificate(made.cert_file.read_bytes())
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found.get_values_for_type(x509.DNSName)) | {str(item) for item in found.get_values_for_type(x509.IPAddress)}


def test_it_names_this_machine_and_what_was_asked_for(tmp_path: Path) -> None:
    made = certificate_in(tmp_path / "new" / "folder", ("emulator", "10.0.0.7", "127.0.0.1"), AT)
    assert names(made) == {"localhost", "127.0.0.1", "::1", "emulator", "10.0.0.7"}
    assert stat.S_IMODE(made.key_file.stat().st_mode) == 0o600
    authority = x509.load_pem_x509_certificate(made.ca_file.read_bytes())
    x509.load_pem_x509_certificate(made.cert_file.read_bytes()).verify_directly_issued_by(authority)
    assert made.server_context().get_ciphers()
    assert ssl.create_default_context(cafile=str(made.ca_file)).cert_store_stats()["x509_ca"] == 1
    assert b"PRIVATE" not in made.ca_file.read_bytes() + made.cert_file.read_bytes()


def test_it_is_kept_until_it_no_longer_serves(tmp_path: Path) -> None:
    def current(*names: str, days: float = 0) -> bytes:
        return certificate_in(tmp_path, names, AT + datetime.timedelta(days=days)).cert_file.read_bytes()

    first = current()
    assert current() == first
    assert current("localhost", days=28) == first
    other = current("emulator")
    assert other != first
    assert current() == other, "more names do no harm"
    assert current(days=29.5) != other
    (tmp_path / "emulator-cert.pem").write_text("rubbish")
    assert current() != b"rubbish"
    (tmp_path / "emulator-key.pem").unlink()
    assert current()
