"""`maclip sign`: sign a bundle on the workstation, so that devices can tell whose it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from maclip_cli.console import people


def sign(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The folder that `maclip export` wrote.")],
    private_key: Annotated[Path, typer.Option(metavar="FILE", help="An elliptic-curve key, PEM.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The signature; default: model.sig in the bundle.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The key's certificate, to sign with it.")
    ] = None,
    chain: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Certificates between it and the authority's.")
    ] = None,
) -> None:
    """Sign a bundle with a key of yours; `maclip-run verify` tells it from anyone else's."""
    from maclip_runtime.bundle.signing import sign_bundle

    signature = sign_bundle(bundle, private_key, out=out, certificate=certificate, chain=chain or ())
    console = people()
    console.print(escape(f"Signed: {signature}"), soft_wrap=True)
    console.print(escape(f"Next: maclip-run verify {bundle} --public-key FILE"), soft_wrap=True)
