"""Messages of a DECTRIS detector's stream, version 2: one CBOR map in each ZeroMQ message.

A series begins with a map of type ``start``, has one of type ``image`` for each frame, and ends with ``end``. Arrays
are tagged as in RFC 8746 (typed arrays, of several axes by tag 40); compressed bytes have DECTRIS' own tag 56500:
algorithm, bytes of an element, bytes. Positions are our own addition, in the ``user_data`` of an image, which the
sender is free to fill.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ptycho_dist.errors import ConfigError, DataFormatError
from ptycho_dist.live.spool import decoded
from ptycho_dist.live.stream_messages import End, Header, Image, Message, position_in, whole_number

_ARRAY, _COMPRESSED = 40, 56500
_TYPED = {64: "<u1", 69: "<u2", 70: "<u4"}
"""Tags of arrays of whole numbers as detectors count them, lowest byte first."""
_FIRST_CHANNEL = "threshold_1"
_CONFIG = {
    "photon_energy": "incident_energy",
    "wavelength": "incident_wavelength",
    "nimages": "number_of_images",
    "beam_center_x": "beam_center_x",
    "beam_center_y": "beam_center_y",
    "x_pixel_size": "pixel_size_x",
    "y_pixel_size": "pixel_size_y",
}
"""Names of version 1, by which a header is read, and those of version 2."""


def is_cbor(parts: Sequence[bytes]) -> bool:
    """Tell whether a message is of version 2: one part that is no JSON."""
    return len(parts) == 1 and not parts[0].lstrip().startswith(b"{")


def read_cbor(part: bytes) -> Message:
    """Read a message.

    Raises
    ------
    ConfigError
        If cbor2 is not installed.
    DataFormatError
        If it is none of this stream.
    """
    told = _map(part)
    kind = told.get("type")
    if kind == "image":
        return _image(told)
    if kind == "start":
        return _header(told)
    if kind == "end":
        return End(whole_number(told, "series_id"))
    msg = f"a message of the stream has type {kind!r}; expected start, image or end (version 2). Correct the sender."
    raise DataFormatError(msg)


def _map(part: bytes) -> Mapping[str, Any]:
    try:
        import cbor2
    except ImportError as error:
        msg = "version 2 of the stream needs cbor2, which is not installed; expected the extra live. Run "
        msg += "pip install 'ptycho-dist[live]'."
        raise ConfigError(msg) from error
    try:
        found = cbor2.loads(part)
    except (cbor2.CBORDecodeError, ValueError, OverflowError) as error:
        msg = (
            f"a message of the stream begins with {bytes(part[:16])!r} and is no CBOR ({error}); expected version 1 or "
            "2 of the stream of DECTRIS detectors. Correct the sender."
        )
        raise DataFormatError(msg) from error
    if not isinstance(found, Mapping):
        msg = f"a message of the stream is {type(found).__name__}; expected a map with type. Correct the sender."
        raise DataFormatError(msg)
    return found


def _header(told: Mapping[str, Any]) -> Header:
    config = {name: told[key] for name, key in _CONFIG.items() if key in told}
    translation = told.get("detector_translation")
    if isinstance(translation, Sequence) and len(translation) == 3:
        config["detector_distance"] = abs(float(translation[2]))
    masks = told.get("pixel_mask")
    series, mask = whole_number(told, "series_id"), None
    if masks:
        array = _array(_chosen(masks, "the pixel mask"), "the pixel mask")
        mask = decoded(Image(series, 0, *array, None)) == 0
    return Header(series, config, mask)


def _image(told: Mapping[str, Any]) -> Image:
    frame = whole_number(told, "image_id")
    shape, dtype, encoding, data = _array(_chosen(told.get("data"), f"frame {frame}"), f"frame {frame}")
    position = position_in(told.get("user_data"), frame)
    return Image(whole_number(told, "series_id"), frame, shape, dtype, encoding, data, position)


def _chosen(channels: Any, what: str) -> Any:
    """Take the first threshold of several channels, or the only one."""
    if isinstance(channels, Mapping) and (_FIRST_CHANNEL in channels or len(channels) == 1):
        return channels.get(_FIRST_CHANNEL, next(iter(channels.values())))
    names = ", ".join(map(str, channels)) if isinstance(channels, Mapping) else type(channels).__name__
    msg = f"{what} of the stream has channels {names or 'none'}; expected {_FIRST_CHANNEL}, or one. Change that."
    raise DataFormatError(msg)


def _array(tagged: Any, what: str) -> tuple[tuple[int, int], np.dtype[Any], str, bytes]:
    """Shape (rows, columns), type, encoding as version 1 names it, and bytes of a tagged array."""
    shape, typed = _tagged(tagged, _ARRAY, what), None
    if isinstance(shape, Sequence) and len(shape) == 2:
        shape, typed = shape
    kind = getattr(typed, "tag", None)
    if kind not in _TYPED or not _is_shape(shape):
        tags = ", ".join(map(str, _TYPED))
        msg = f"{what} of the stream has shape {shape!r} and CBOR tag {kind}; expected two axes, and one of {tags} "
        raise DataFormatError(f"{msg}(whole numbers of 8, 16 or 32 bits). Correct the sender.")
    dtype, value = np.dtype(_TYPED[kind]), getattr(typed, "value", None)
    if isinstance(value, bytes):
        return (int(shape[0]), int(shape[1])), dtype, "<", value
    algorithm, data = _compressed(value, what)
    encoding = {"lz4": "lz4<", "bslz4": f"bs{8 * dtype.itemsize}-lz4<"}[algorithm]
    return (int(shape[0]), int(shape[1])), dtype, encoding, data


def _compressed(value: Any, what: str) -> tuple[str, bytes]:
    found = _tagged(value, _COMPRESSED, what)
    is_known = isinstance(found, Sequence) and len(found) == 3 and found[0] in ("lz4", "bslz4")
    if not is_known or not isinstance(found[2], bytes):
        name = found[0] if isinstance(found, Sequence) and found else None
        msg = f"{what} of the stream is compressed as {name!r}; expected lz4 or bslz4. Set the detector so."
        raise DataFormatError(msg)
    return str(found[0]), found[2]


def _tagged(value: Any, tag: int, what: str) -> Any:
    if getattr(value, "tag", None) != tag:
        found = type(value).__name__
        msg = f"{what} of the stream is {found}; expected an array with CBOR tag {tag}. Correct the sender."
        raise DataFormatError(msg)
    return value.value


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, Sequence) and len(shape) == 2 and all(type(one) is int and one > 0 for one in shape)
