"""`maclip-run gallery key`, `publish` and `follow`: one gallery for many machines."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from maclip_cli.console import changes, people, print_json, results
from maclip_cli.device.options import BUNDLE_VARIABLE, GalleryOption, JsonOption, require_gallery
from maclip_runtime.errors import MaclipError

if TYPE_CHECKING:
    from maclip_runtime.gallery.sharing import Followed

MIN_EVERY_SECONDS, MAX_EVERY_SECONDS = 1.0, 86400.0

UrlArgument = Annotated[
    str, typer.Argument(metavar="URL", help="The store: https://HOST/PATH of a web server, or s3://BUCKET/PATH.")
]
TrustOption = Annotated[
    list[Path] | None,
    typer.Option("--trust", metavar="FILE", help="A public key of who may publish there; may be given several times."),
]


@changes
def key(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the private key goes; FILE.pub is the public one.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Make a key with which galleries are published."""
    from maclip_runtime.gallery.sharing import make_key

    public = make_key(file)
    if as_json:
        print_json({"key": str(file), "public": str(public)})
    else:
        said = f"Publish with --key {file}, and keep it secret. Machines that follow need --trust {public}."
        results().print(escape(said), soft_wrap=True)


@changes
def publish(
    url: UrlArgument,
    gallery: GalleryOption,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", help="The private key that signs.")],
    trust: TrustOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring what changed in the gallery into a store: clips that came, and clips that were removed.

    Several machines may publish to one store at once. Of each clip the later change counts, and a removal if both are
    of the same time. Others publish with keys of their own if each is named by --trust.
    """
    from maclip_runtime.gallery.sharing import publish
    from maclip_runtime.gallery.sharing.journal import SharedGallery

    require_gallery(gallery)
    with SharedGallery(gallery) as opened:
        done = publish(opened, url, key=key, trust=trust or [])
    if as_json:
        print_json(dataclasses.asdict(done))
    else:
        said = f"{done.added} clips came, {done.removed} went; {done.clips} are there now (state {done.serial})."
        results().print(escape(said), soft_wrap=True)


@changes
def follow(
    url: UrlArgument,
    gallery: GalleryOption,
    trust: TrustOption = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", envvar=BUNDLE_VARIABLE, help="Of a new gallery: a store of another bundle is refused at once."
        ),
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            min=MIN_EVERY_SECONDS, max=MAX_EVERY_SECONDS, help="Look again after so many seconds; default: only once."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take over what was published in a store, whole or not at all; a running recognition sees it at its next answer.

    With --every an absent network is waited for, and what came meanwhile is caught up with.
    """
    from maclip_runtime import Bundle
    from maclip_runtime.gallery.sharing import follow
    from maclip_runtime.gallery.sharing.journal import SharedGallery

    if not trust:
        raise MaclipError(
            "option-invalid", "No key is trusted, so nothing can be taken over.", "Give --trust with FILE.pub."
        )
    contract = None if bundle is None else Bundle.open(bundle).manifest.contract
    said: str | None = None
    rounds = 0
    with SharedGallery(gallery, contract=contract) as opened:
        while True:
            try:
                done = follow(opened, url, trust=trust)
            except MaclipError as error:
                # At the start only a missing network is waited for: the rest is for a person.
                if every is None or not error.code.startswith("share-" if rounds else "share-unreachable"):
                    raise
                if error.message != said:
                    people().print(escape(f"{error.message} Trying again every {every:g} s."), soft_wrap=True)
                said = error.message
            else:
                if said is not None or done.added or done.removed or not rounds:
                    _show(done, as_json)
                said = None
            if every is None:
                return
            rounds += 1
            time.sleep(every)


def _show(done: Followed, as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(done))
        return
    of = f" of {', '.join(map(repr, done.classes))}" if done.classes else ""
    said = f"{done.added} clips came, {done.removed} went{of} (state {done.serial})."
    results().print(escape(said), soft_wrap=True)
