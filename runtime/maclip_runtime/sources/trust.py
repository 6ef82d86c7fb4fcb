"""Which certificates are trusted: those of this machine, or of the file that SSL_CERT_FILE names."""

from __future__ import annotations

import ssl
from importlib.util import find_spec
from pathlib import Path

from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError

# Where Debian, Fedora, Alpine and others keep them, for a Python that was built elsewhere.
_USUAL_PLACES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
)


def tls_options(insecure: bool) -> dict[str, str]:
    """FFmpeg's options for encrypted connections: verify the certificate, or accept any. Raises `device-missing`."""
    return {"tls_verify": "0"} if insecure else {"tls_verify": "1", "ca_file": str(_authorities())}


def _authorities() -> Path:
    """The file of the authorities that this machine trusts; FFmpeg is told, since its TLS library does not know it."""
    named = ssl.get_default_verify_paths().cafile  # SSL_CERT_FILE first
    places = [Path(place) for place in ([named] if named else []) + list(_USUAL_PLACES)]
    found = next((place for place in places if place.is_file()), None)
    if found is None and find_spec("certifi"):
        import certifi

        found = Path(certifi.where())
    if found is None:
        raise MaclipError(
            "device-missing",
            "This machine has no list of trusted certificates.",
            "Install ca-certificates, name a file in SSL_CERT_FILE, or give --insecure.",
            EXIT_MACHINE_LACKS,
        )
    return found
