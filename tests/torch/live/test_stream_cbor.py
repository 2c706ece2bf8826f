"""Version 2 of a DECTRIS stream: CBOR maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho_dist.data.scan import open_scan
from ptycho_dist.errors import DataFormatError
from ptycho_dist.live.stream_cbor import is_cbor, read_cbor
from ptycho_dist.live.stream_messages import End, Header, Image
from tests.support.live_writers import image_map, start_map
from tests.torch.live.conftest import LiveCase
from tests.torch.live.test_stream import all_of, receiving

cbor2 = pytest.importorskip("cbor2", reason="cbor2 is not installed: the extra live brings it")

FRAME = np.arange(24, dtype="<u4").reshape(4, 6)
PLACE = np.array([1.5, -2.0])


def array(values: Any, tag: int, value: Any = None) -> Any:
    """Tag an array as version 2 has it."""
    return cbor2.CBORTag(40, [list(values.shape), cbor2.CBORTag(tag, values.tobytes() if value is None else value)])


@pytest.mark.parametrize("encoding", ["<", "lz4<", "bs16-lz4<"])
def test_frames_of_version_2_are_decoded_and_given_out_once_each(case: LiveCase, tmp_path: Path, encoding: str) -> None:
    with open_scan(case.scan) as scan, receiving(tmp_path) as (stream, sender):
        counts = scan.read_numbers(np.arange(80))
        sender.send(start_map(incident_energy=8000.0, number_of_images=80))
        for number in [*range(79, -1, -1), 40]:
            sender.send(image_map(counts[number], number, scan.positions_px[number], encoding))
        sender.send(cbor2.dumps({"type": "end", "series_id": 7}))
        arrived = all_of(stream)
        tally, missing = stream.tally(), stream.missing()
        np.testing.assert_array_equal(np.sort(arrived.numbers), np.arange(80))
        np.testing.assert_array_equal(arrived.counts, counts[arrived.numbers])
        np.testing.assert_array_equal(arrived.positions_px, scan.positions_px[arrived.numbers])
    assert (tally.received, tally.duplicates, tally.waiting, missing) == (80, 1, 0, ())


@pytest.mark.parametrize("is_compressed", [False, True])
def test_geometry_and_mask_come_from_the_start(is_compressed: bool) -> None:
    bad = np.zeros((4, 6), "<u4")
    bad[1, 2] = 1
    plain = array(bad, 70)
    tagged = cbor2.loads(image_map(bad, 0, PLACE, "bs32-lz4<"))["data"]["threshold_1"] if is_compressed else plain
    header = read_cbor(start_map(
        incident_energy=8000, incident_wavelength=0.0, number_of_images=12, pixel_size_x=7.5e-5, pixel_size_y=7.5e-5,
        beam_center_x=3.0, beam_center_y=2.0, detector_translation=[0.0, 0.0, -1.5], pixel_mask={"threshold_1": tagged},
    ))  # fmt: skip
    assert isinstance(header, Header)
    assert header.mask is not None
    np.testing.assert_array_equal(np.argwhere(~header.mask), [[1, 2]])
    found = [header.number(name) for name in ("photon_energy", "detector_distance", "y_pixel_size", "beam_center_x")]
    assert found == [8000.0, 1.5, 7.5e-5, 3.0]
    assert (header.series, header.announced) == (7, 12)
    assert np.isnan(header.number("wavelength"))


def test_image_has_rows_first_and_a_position_as_map_or_text() -> None:
    found = read_cbor(b"\xd9\xd9\xf7" + image_map(FRAME, 3, PLACE))
    assert isinstance(found, Image)
    assert (found.series, found.frame, found.shape, found.dtype, found.encoding) == (7, 3, (4, 6), FRAME.dtype, "<")
    assert found.data == FRAME.tobytes()
    told = cbor2.loads(image_map(FRAME, 3, PLACE)) | {"user_data": json.dumps({"position_m": [1e-6, 2e-6]})}
    again = read_cbor(cbor2.dumps(told))
    assert isinstance(again, Image)
    assert found.position is not None
    assert again.position is not None
    assert (found.position.unit, found.position.values.tolist()) == ("position_px", [[1.5, -2.0]])
    assert (again.position.unit, again.position.values.tolist()) == ("position_m", [[1e-6, 2e-6]])


def test_versions_are_told_apart() -> None:
    assert is_cbor([image_map(FRAME, 3, PLACE)])
    assert not is_cbor([b'{"htype": "dposition-1.0"}'])
    assert not is_cbor([b'{"htype": "dheader-1.0"}', b"{}"])
    assert read_cbor(cbor2.dumps({"type": "end", "series_id": 9})) == End(9)


def image(**changes: Any) -> bytes:
    return cbor2.dumps({**cbor2.loads(image_map(FRAME, 3, PLACE)), **changes})


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (b"\xa5dtype", "is no CBOR"),
        (cbor2.dumps([1, 2]), "expected a map with type"),
        (cbor2.dumps({"type": "other"}), "has type 'other'"),
        (cbor2.dumps({"type": "end"}), "'series_id' in end of the stream is None"),
        (image(image_id=-1), "'image_id' in image of the stream is -1"),
        (image(data={}), "has channels none"),
        (image(data={"difference": 1, "threshold_2": 1}), "channels difference, threshold_2; expected threshold_1"),
        (image(data={"threshold_1": 5}), "expected an array with CBOR tag 40"),
        (image(data={"threshold_1": array(FRAME.astype("<f4"), 85)}), "CBOR tag 85"),
        (image(data={"threshold_1": cbor2.CBORTag(40, [[4], b"1234"])}), "expected two axes"),
        (
            image(data={"threshold_1": array(FRAME, 70, cbor2.CBORTag(56500, ["zstd", 4, b"1"]))}),
            "compressed as 'zstd'",
        ),
        (image(data={"threshold_1": array(FRAME, 70, cbor2.CBORTag(4242, [1]))}), "CBOR tag 56500"),
        (image(user_data={"position_m": [1.0]}), "position of the stream is"),
    ],
)
def test_message_of_another_form_is_refused_with_what_is_wrong(part: bytes, told: str) -> None:
    with pytest.raises(DataFormatError, match=told):
        read_cbor(part)


def test_mask_that_cannot_be_decompressed_is_refused() -> None:
    broken = array(FRAME, 70, cbor2.CBORTag(56500, ["bslz4", 4, b"nothing of the kind"]))
    with pytest.raises(DataFormatError, match="cannot be decompressed"):
        read_cbor(start_map(pixel_mask={"threshold_1": broken}))
