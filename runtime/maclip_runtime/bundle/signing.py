"""Sign and verify bundles with OpenSSF's `model-signing`; its own command reads these signatures too.

The manifest's digests detect damage. Only a signature proves who exported the bundle.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maclip_runtime.bundle.manifest import MANIFEST_FILE
from maclip_runtime.bundle.opening import SIGNATURE_FILE, Bundle
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError


def sign_bundle(
    bundle: Path,
    private_key: Path,
    *,
    out: Path | None = None,
    certificate: Path | None = None,
    chain: Sequence[Path] = (),
) -> Path:
    """Sign every file of a bundle with an elliptic-curve key; returns the path of the signature.

    bundle: the bundle's folder.
    private_key: a PEM file without a password; the curve is P-256, P-384 or P-521.
    out: where the signature goes; default: `model.sig` in the bundle.
    certificate: the key's PEM certificate; with it, devices verify against an authority and not one public key.
    chain: the intermediate certificates, PEM.

    Raises `bundle-*` (only an intact bundle is signed), `key-invalid`, `output-unwritable` and `signing-missing`.
    """
    library = _library()
    Bundle.open(bundle)
    out = out or bundle / SIGNATURE_FILE
    if out.resolve().is_relative_to(bundle.resolve()) and out.resolve() != bundle.resolve() / SIGNATURE_FILE:
        raise MaclipError(
            "output-unwritable",
            f"{out} is in the bundle, where the signature must be called {SIGNATURE_FILE}.",
            "Leave out --out, or choose a path outside the bundle.",
        )
    signer = library.signing.Config()
    if certificate is None:
        _load_keys(signer.use_elliptic_key_signer, [private_key], private_key=private_key)
    else:
        keys = [private_key, certificate, *chain]
        # model-signing 1.1 refuses an empty chain; the certificate itself adds nothing to it.
        options = {"signing_certificate": certificate, "certificate_chain": list(chain) or [certificate]}
        _load_keys(signer.use_certificate_signer, keys, private_key=private_key, **options)
    part = out.with_name(f".{out.name}.part")
    try:
        signer.set_hashing_config(_hashing(library, bundle)).sign(bundle.resolve(), part)
        part.chmod(0o644)
        os.replace(part, out)
    except OSError as error:
        raise MaclipError(
            "output-unwritable", f"{out} cannot be written ({error.strerror}).", "Choose another path with --out."
        ) from error
    except ValueError as error:  # a link or a special file among the bundle's
        raise MaclipError(
            "bundle-corrupt", f"{bundle} cannot be signed ({error}).", "Copy it without links."
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return out


def verify_bundle(
    bundle: Path, *, public_key: Path | None = None, signature: Path | None = None, chain: Sequence[Path] = ()
) -> Bundle:
    """Verify a bundle's signature and open it; its compiled engines may be loaded.

    bundle: the bundle's folder.
    public_key: the signer's key, PEM; None to verify against `chain`.
    signature: the signature's file; default: `model.sig` in the bundle.
    chain: the authority's certificates, PEM.

    >>> verify_bundle(Path("bundle"), public_key=Path("key.pub"))  # doctest: +SKIP

    Raises `bundle-corrupt` for a wrong or missing signature, and `bundle-*`, `key-invalid`, `signing-missing`.
    """
    library = _library()
    if not (bundle / MANIFEST_FILE).is_file():
        return Bundle.open(bundle)  # raises
    verifier = library.verifying.Config()
    if public_key is not None:
        _load_keys(verifier.use_elliptic_key_verifier, [public_key], public_key=public_key)
    else:
        _load_keys(verifier.use_certificate_verifier, list(chain), certificate_chain=list(chain))
    signature = signature or bundle / SIGNATURE_FILE
    if not signature.is_file():
        raise _not_verified(bundle, f"there is no signature {signature.name}")
    try:
        # The library prints a warning; stdout is for results.
        with contextlib.redirect_stdout(sys.stderr):
            verifier.set_hashing_config(_hashing(library, bundle)).verify(bundle.resolve(), signature.resolve())
    except Exception as error:  # a hostile signature may raise anything
        raise _not_verified(bundle, _why(error) or "the signature was made with another key") from error
    return Bundle.open(bundle, trust_engines=True)


def _library() -> Any:
    try:
        import model_signing
    except ImportError as error:
        raise MaclipError(
            "signing-missing",
            f"Signatures need the library model-signing ({error}).",
            "Install it: pip install 'maclip[sign]'.",
            EXIT_MACHINE_LACKS,
        ) from error
    return model_signing


def _hashing(library: Any, bundle: Path) -> Any:
    """Every file is signed, except the signature itself and hidden files, which nothing reads."""
    hidden = [entry.name for entry in bundle.iterdir() if entry.name.startswith(".")]
    return library.hashing.Config().set_ignored_paths(paths=[SIGNATURE_FILE, *hidden], ignore_git_paths=False)


def _load_keys(use: Any, files: Sequence[Path], **options: Any) -> None:
    for file in files:
        if not file.is_file():
            raise MaclipError("key-invalid", f"There is no key or certificate {file}.", "Give a PEM file.")
    try:
        use(**options)
    except Exception as error:  # classes of the library, of cryptography and of openssl
        named = ", ".join(map(str, files)) or "No key"
        raise MaclipError(
            "key-invalid",
            f"{named} cannot be used ({_why(error) or type(error).__name__}).",
            "Give PEM files of an elliptic-curve key (P-256, P-384 or P-521) without a password.",
        ) from error


def _why(error: Exception) -> str:
    """What the library found, without the digests it prints."""
    message = " ".join(str(error).split())
    changed = re.findall(r"Hash mismatch for \\?'([^'\\]+)", message)
    return f"{', '.join(changed)} changed" if changed else message[:200]


def _not_verified(bundle: Path, why: str) -> MaclipError:
    return MaclipError(
        "bundle-corrupt",
        f"The bundle {bundle} is not what was signed: {why.rstrip('. ')}.",
        "Copy it again from where it was signed, or give the key that signed it.",
    )
