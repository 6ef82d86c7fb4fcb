"""A signature says whose a bundle is: not a byte may change, and no other key will do."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from maclip_runtime import Bundle, MaclipError, Recognizer
from maclip_runtime.bundle.manifest import BLANK_SEAL, sealed
from maclip_runtime.bundle.opening import SIGNATURE_FILE
from maclip_runtime.bundle.signing import sign_bundle, verify_bundle

PEM = serialization.Encoding.PEM


def write_key(folder: Path, name: str) -> ec.EllipticCurvePrivateKey:
    """NAME.key and NAME.pub."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(private)
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return key


def write_certificate(folder: Path, name: str, issuer: str, authority: bool) -> None:
    """NAME.pem for NAME.key, signed by ISSUER.key."""
    key, by = (serialization.load_pem_private_key((folder / f"{n}.key").read_bytes(), None) for n in (name, issuer))
    subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in (name, issuer))
    now = datetime.datetime.now(datetime.timezone.utc)
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = dict.fromkeys((*others, "encipher_only", "decipher_only"), False)
    certificate = (
        x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not authority, key_cert_sign=authority, crl_sign=authority, **usage), True
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
        .sign(by, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(PEM))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """own and other: a key pair each; own is certified by root, and stranger by nobody but itself."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other", "root", "stranger"):
        write_key(folder, name)
    write_certificate(folder, "root", "root", authority=True)
    write_certificate(folder, "own", "root", authority=False)
    write_certificate(folder, "stranger", "stranger", authority=True)
    return folder


@pytest.fixture
def signed(bundle: Path, keys: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(bundle, tmp_path / "signed"))
    assert sign_bundle(copy, keys / "own.key") == copy / SIGNATURE_FILE
    return copy


def refused(code: str, call, *args: object, **kwargs: object) -> MaclipError:
    with pytest.raises(MaclipError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code, caught.value
    return caught.value


def test_a_signed_bundle_verifies_opens_and_recognises(signed: Path, keys: Path, clips: Path, tmp_path: Path) -> None:
    assert verify_bundle(signed, public_key=keys / "own.pub").manifest == Bundle.open(signed).manifest
    with Recognizer.open(signed, tmp_path / "g.db") as recognizer:
        recognizer.enroll("red light", [clips / "red1.mp4"])
        recognizer.enroll("green light", [clips / "green1.mp4"])
        assert recognizer.classify(clips / "red2.mp4").label == "red light"
    # A bundle is found by a link to it, and a file manager leaves hidden files.
    (signed / ".DS_Store").write_text("icons")
    (tmp_path / "current").symlink_to(signed)
    verify_bundle(tmp_path / "current", public_key=keys / "own.pub")


def test_signing_again_replaces_the_signature(signed: Path, keys: Path) -> None:
    sign_bundle(signed, keys / "other.key")
    verify_bundle(signed, public_key=keys / "other.pub")
    refused("bundle-corrupt", verify_bundle, signed, public_key=keys / "own.pub")


def test_no_byte_of_any_file_may_change(signed: Path, keys: Path) -> None:
    files = sorted(path for path in signed.iterdir())
    assert {"manifest.json", "names.json", "visual.onnx", SIGNATURE_FILE} <= {file.name for file in files}
    for file in files:
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 2):
            changed = bytearray(whole)
            changed[place] ^= 1
            file.write_bytes(changed)
            refused("bundle-corrupt", verify_bundle, signed, public_key=keys / "own.pub")
        file.write_bytes(whole)
        verify_bundle(signed, public_key=keys / "own.pub")


def test_a_stranger_cannot_make_a_manifest_that_fits_his_files(signed: Path, keys: Path) -> None:
    manifest = json.loads((signed / "manifest.json").read_text())
    manifest["scale"] += 1.0
    (signed / "manifest.json").write_text(sealed(json.dumps({**manifest, "seal": BLANK_SEAL})))
    Bundle.open(signed)  # digests alone do not notice
    error = refused("bundle-corrupt", verify_bundle, signed, public_key=keys / "own.pub")
    assert error.message.endswith("is not what was signed: manifest.json changed.")


def test_files_that_come_go_or_are_cut_are_noticed(signed: Path, keys: Path) -> None:
    (signed / "extra.onnx").write_text("extra")
    refused("bundle-corrupt", verify_bundle, signed, public_key=keys / "own.pub")
    (signed / "extra.onnx").unlink()
    (signed / SIGNATURE_FILE).write_text('{"mediaType": "none"}')
    refused("bundle-corrupt", verify_bundle, signed, public_key=keys / "own.pub")
    (signed / SIGNATURE_FILE).unlink()
    assert "no signature" in refused("bundle-corrupt", verify_bundle, signed, public_key=keys / "own.pub").message


def test_another_bundles_signature_does_not_fit(signed: Path, keys: Path, tmp_path: Path) -> None:
    from tiny_bundle import write_bundle

    other = write_bundle(tmp_path / "other", contract="another")
    sign_bundle(other, keys / "own.key")
    shutil.copy(other / SIGNATURE_FILE, signed)
    refused("bundle-corrupt", verify_bundle, signed, public_key=keys / "own.pub")


def test_keys_that_are_none_say_so(signed: Path, keys: Path, tmp_path: Path) -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    encoded = rsa_key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "rsa.key").write_bytes(encoded)
    (tmp_path / "words.key").write_text("words")
    own = serialization.load_pem_private_key((keys / "own.key").read_bytes(), None)
    locked = own.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word"))
    (tmp_path / "locked.key").write_bytes(locked)
    for name in ("none.key", "rsa.key", "words.key", "locked.key"):
        error = refused("key-invalid", sign_bundle, signed, tmp_path / name)
        assert name in error.message
    refused("key-invalid", verify_bundle, signed, public_key=keys / "own.key")  # the private one
    refused("key-invalid", verify_bundle, signed, public_key=tmp_path / "none.pub")
    verify_bundle(signed, public_key=keys / "own.pub")  # what failed left the signature alone


def test_an_authority_vouches_for_the_signer(bundle: Path, keys: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "certified"))
    sign_bundle(copy, keys / "own.key", certificate=keys / "own.pem")
    verify_bundle(copy, chain=[keys / "root.pem"])
    refused("bundle-corrupt", verify_bundle, copy, chain=[keys / "stranger.pem"])
    refused("bundle-corrupt", verify_bundle, copy, public_key=keys / "own.pub")  # not signed in this way
    refused("key-invalid", sign_bundle, copy, keys / "other.key", certificate=keys / "own.pem")


def test_only_a_sound_bundle_is_signed_and_only_beside_its_files(bundle: Path, keys: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    refused("output-unwritable", sign_bundle, copy, keys / "own.key", out=copy / "visual.onnx")
    outside = sign_bundle(copy, keys / "own.key", out=tmp_path / "kept.sig")
    assert not (copy / SIGNATURE_FILE).exists()
    verify_bundle(copy, public_key=keys / "own.pub", signature=outside)
    (copy / "names.json").write_text("[]")
    refused("bundle-corrupt", sign_bundle, copy, keys / "own.key")
    refused("bundle-missing", sign_bundle, tmp_path / "none", keys / "own.key")
    refused("bundle-missing", verify_bundle, tmp_path / "none", public_key=keys / "own.pub")


def test_a_machine_without_the_library_says_how_to_get_it(
    signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    error = refused("signing-missing", verify_bundle, signed, public_key=keys / "own.pub")
    assert error.exit_code == 3
    assert "maclip[sign]" in error.fix
    Bundle.open(signed)


def test_openssf_s_own_command_reads_the_signature(signed: Path, keys: Path) -> None:
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signed)]
    command += ["--signature", str(signed / SIGNATURE_FILE), "--public_key", str(keys / "own.pub")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sign_and_verify_on_the_command_line(bundle: Path, keys: Path, tmp_path: Path) -> None:
    def run(module: str, *args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"maclip_cli.{module}", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    done = run("workstation", "sign", copy, "--private-key", keys / "own.key")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    done = run("device", "verify", copy, "--public-key", keys / "own.pub", "--json")
    assert json.loads(done.stdout)["verified"] is True
    done = run("device", "verify", copy, "--public-key", keys / "other.pub")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error[bundle-corrupt]: ")
    assert run("device", "verify", copy).stderr.startswith("error[option-invalid]: ")
