"""One connection to a live source: pictures as they arrive, until it breaks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from maclip_runtime.reading.frames import Pixels


class ConnectionLost(Exception):
    """The connection could not be made, or it broke.

    why: continues the sentence "The camera …" and holds no address.
    refused: whether the other side rejected the user or password.
    """

    def __init__(self, why: str, refused: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.refused = refused


class NoPicture(ConnectionLost):
    """The connection was made, but no video stream is known yet."""

    def __init__(self) -> None:
        super().__init__("sends no picture that can be decoded")


@dataclass(frozen=True)
class Arrival:
    """A picture that arrived.

    pixels: called where the picture is needed; gives uint8 [H, W, 3] RGB, upright.
    stamp_s: when it was taken, in seconds of the sender's clock; None where the sender does not say.
    """

    pixels: Callable[[], Pixels]
    stamp_s: float | None


class Connection(ABC):
    """An open connection. `paced`: pictures arrive in bursts and are due at the times of their stamps."""

    paced = False

    @abstractmethod
    def arrivals(self) -> Iterator[Arrival | None]:
        """Pictures as they arrive; None now and then while there is none, so that the reader can stop.

        Ends where the source says that nothing more will come. Raises `ConnectionLost`.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection. Called once, by the thread that reads."""


Connect = Callable[[float], Connection]  # seconds it may take -> an open connection; raises ConnectionLost
