"""What a picture and a video are: one list for files, folders of frames, addresses and data sets.

`PICTURE_SUFFIXES` and `VIDEO_SUFFIXES` say which names are looked at, `PICTURE_FORMATS` and `VIDEO_FORMATS` which
contents Pillow and FFmpeg may find in them. A file that is named outright is judged by its content alone.
"""

from __future__ import annotations

from os import PathLike
from pathlib import PurePath

_PICTURES = ".jpg .jpeg .jpe .jfif .png .bmp .dib .tif .tiff .webp .ppm .pgm .pbm .pnm"
# The suffixes that FFmpeg's demuxers have, and those under which cameras and discs keep the same contents.
_VIDEOS = (
    ".mp4 .m4v .mov .qt .3gp .3g2 .f4v .ismv .mkv .mk3d .webm .avi .divx .ts .mts .m2ts .m2t .tp .trp .mpg .mpeg .mpe "
    ".m1v .m2v .mpv .vob .mod .tod .flv .kux .wmv .asf .ogv .ogg .ogm .mxf .nut .nsv .nuv .rm .rmvb .dv .dif .wtv "
    ".gxf .ivf .gif .apng .y4m .dav .h261 .h263 .h264 .264 .avc .h26l .hevc .h265 .265 .vvc .h266 .266 .av1 .obu .vc1 "
    ".rcv .avs .avs2 .avs3 .drc .mjpeg .mjpg .mpjpeg"
)
PICTURE_SUFFIXES = frozenset(_PICTURES.split())
VIDEO_SUFFIXES = frozenset(_VIDEOS.split())

PICTURE_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "PPM")  # as Pillow names them
PICTURE_NAMES = "JPEG, PNG, WebP, BMP or TIFF"

# An allow list of FFmpeg's input formats. Playlists (hls, concat, sdp, dash, ...) and image sequences are left out:
# they make FFmpeg open other files than the one that was given. `live_flv`, `kux`, `asf_o`, `mpegtsraw` and
# `jpeg_pipe` are names under which FFmpeg finds FLV, ASF, MPEG-TS and JPEG pictures one after the other.
_CONTAINERS = (
    "mov matroska avi mpegts mpegtsraw mpeg mpegvideo flv live_flv kux asf asf_o ogg mxf nut nsv nuv rm dv wtv gxf "
    "ivf gif apng yuv4mpegpipe dhav"
)
_STREAMS = "h261 h263 h264 hevc vvc av1 obu m4v vc1 vc1test cavsvideo avs2 avs3 dirac dnxhd mjpeg mpjpeg jpeg_pipe"
# Sound alone, whose error says that there is no picture.
_SOUND = "wav mp3 aac ac3 eac3 flac aiff"
VIDEO_FORMATS = (*_CONTAINERS.split(), *_STREAMS.split(), *_SOUND.split())
NETWORK_FORMATS = ("rtsp", "hls", "webvtt", *VIDEO_FORMATS)


def is_picture(name: str | PathLike[str]) -> bool:
    """Whether a file's name is that of a picture. Hidden files (".x", macOS's "._x") are not.

    >>> is_picture("0001.JPG"), is_picture("._0001.jpg"), is_picture("notes.txt")
    (True, False, False)
    """
    return _has_suffix(name, PICTURE_SUFFIXES)


def is_video(name: str | PathLike[str]) -> bool:
    """Whether a file's name is that of a video. Hidden files (".x", macOS's "._x") are not.

    >>> is_video("wave.MTS"), is_video("._wave.mp4"), is_video("wave.jpg")
    (True, False, False)
    """
    return _has_suffix(name, VIDEO_SUFFIXES)


def _has_suffix(name: str | PathLike[str], suffixes: frozenset[str]) -> bool:
    path = PurePath(name)
    return path.suffix.lower() in suffixes and not path.name.startswith(".")
