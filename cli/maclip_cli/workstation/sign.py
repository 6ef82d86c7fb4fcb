"""`maclip sign`: sign a bundle, so that devices can verify who made it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from maclip_cli.console import people


def sign(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", envvar="MACLIP_BUNDLE", help="The folder that `maclip export` wrote."),
    ],
    private_key: Annotated[Path, typer.Option(metavar="FILE", help="Your elliptic-curve key, as PEM.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The signature; default: model.sig in the bundle.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate of the key, to include it in the signature.")
    ] = None,
    chain: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="Certificates between that one and the root. Repeatable.")
    ] = None,
) -> None:
    """Sign a bundle with your key; `maclip-run verify` checks the signature."""
    from maclip_runtime.bundle.signing import sign_bundle

    signature = sign_bundle(bundle, private_key, out=out, certificate=certificate, chain=chain or ())
    console = people()
    console.print(escape(f"Signed: {signature}"), soft_wrap=True)
    console.print(escape(f"Next: maclip-run verify {bundle} --public-key FILE"), soft_wrap=True)
