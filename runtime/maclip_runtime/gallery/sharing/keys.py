"""Ed25519 keys: who may change a shared gallery. A private key signs, and its public key is trusted by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maclip_runtime import values
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError, first_line

SIGNED_AS = b"maclip shared gallery 1\n"  # before what is signed, so that a signature is good for nothing else
PUBLIC_SUFFIX = ".pub"
MAX_KEY_BYTES = 1 << 14
HOW = "Make one with `maclip-run gallery key FILE`."


def make_key(file: str | os.PathLike[str]) -> Path:
    """Write a new private key, which only its owner may read, and beside it `FILE.pub`; returns the path of that.

    Raises `output-exists`, `output-unwritable`, `signing-missing`.
    """
    _, serialization, ed25519 = _library()
    private = Path(values.path(file, "file"))
    public = private.with_name(private.name + PUBLIC_SUFFIX)
    for path in (private, public):
        if os.path.lexists(path):
            raise MaclipError("output-exists", f"{path} exists already.", "Choose another name, or remove it first.")
    key = ed25519.Ed25519PrivateKey.generate()
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    shown = key.public_key().public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        for path, content, mode in ((private, secret, 0o600), (public, shown, 0o644)):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as opened:
                opened.write(content)
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"{private} cannot be written ({error.strerror}).", "Choose a folder of your own."
        ) from error
    return public


class Signer:
    """A private key, from a PEM file without a password. Raises `key-invalid`, `signing-missing`."""

    def __init__(self, file: str | os.PathLike[str]) -> None:
        _, serialization, ed25519 = _library()
        path = Path(values.path(file, "key"))
        try:
            self._key = serialization.load_pem_private_key(_content(path), None)
        except (ValueError, TypeError) as error:
            raise _invalid(path, first_line(error)) from error
        if not isinstance(self._key, ed25519.Ed25519PrivateKey):
            raise _invalid(path, "it is no Ed25519 key")

    @property
    def public(self) -> bytes:
        """The 32 bytes of the public key."""
        return bytes(self._key.public_key().public_bytes_raw())

    def sign(self, content: bytes) -> bytes:
        """The signature of `content`, 64 bytes."""
        return bytes(self._key.sign(SIGNED_AS + content))


def trusted_keys(files: Sequence[str | os.PathLike[str]]) -> frozenset[bytes]:
    """The public keys, 32 bytes each, of PEM files. Raises `key-invalid`, `signing-missing`."""
    _, serialization, ed25519 = _library()
    found = set()
    for file in files:
        path = Path(values.path(file, "A public key"))
        try:
            key = serialization.load_pem_public_key(_content(path))
        except ValueError as error:
            raise _invalid(path, first_line(error)) from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise _invalid(path, "it is no Ed25519 key")
        found.add(bytes(key.public_bytes_raw()))
    return frozenset(found)


def is_signed(content: bytes, signature: bytes, key: bytes) -> bool:
    """Whether `signature` is that of `content` by the holder of `key`."""
    exceptions, _, ed25519 = _library()
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(signature, SIGNED_AS + content)
    except (exceptions.InvalidSignature, ValueError):
        return False
    return True


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as opened:
            return opened.read(MAX_KEY_BYTES)
    except OSError as error:
        raise _invalid(path, str(error.strerror)) from error


def _invalid(path: Path, why: str) -> MaclipError:
    return MaclipError("key-invalid", f"The key {path} cannot be used ({why}).", HOW)


def _library() -> tuple[Any, Any, Any]:
    try:
        from cryptography import exceptions
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MaclipError(
            "signing-missing",
            f"Signatures need the library cryptography ({error}).",
            "Install it: pip install 'maclip[share]'.",
            EXIT_MACHINE_LACKS,
        ) from error
    return exceptions, serialization, ed25519
