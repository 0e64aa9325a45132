"""What bytes are, and the size of an image by its header."""

import base64
import time

import pytest

from sekha_llm_bridge.media.inspect import (
    HEAD_BYTES,
    base64_reader,
    format_names,
    kind_of,
    media_type_of,
    pixels_of,
    size_fault,
)
from tests.fakes.images import AVIF, BMP, HTML, MP4, PDF, SVG, TEXT, TIFF, gif, jpeg, png, webp

IMAGES = [
    ("png", png(640, 480)),
    ("jpeg", jpeg(640, 480)),
    ("jpeg", jpeg(640, 480, sof=0xC2)),
    ("gif", gif(640, 480)),
    ("webp", webp(b"VP8 ", 640, 480)),
    ("webp", webp(b"VP8L", 640, 480)),
    ("webp", webp(b"VP8X", 640, 480)),
]


def size(image_format: str, data: bytes) -> tuple[int, int] | None:
    return pixels_of(image_format, lambda offset, n_bytes: data[offset : offset + n_bytes])


@pytest.mark.parametrize(("image_format", "data"), IMAGES)
def test_an_image_is_known_by_its_bytes_and_its_size_by_its_header(image_format: str, data: bytes) -> None:
    assert kind_of(data).format == image_format
    assert size(image_format, data) == (640, 480)
    assert pixels_of(image_format, base64_reader(base64.b64encode(data).decode())) == (640, 480)


@pytest.mark.parametrize(("image_format", "data"), IMAGES)
def test_an_image_cut_off_in_its_header_has_no_size_and_breaks_nothing(image_format: str, data: bytes) -> None:
    for n_bytes in range(3, 24):
        assert size(image_format, data[:n_bytes]) is None
    assert size_fault(image_format, lambda offset, n: data[:5][offset : offset + n]) == (
        "is a damaged image: its size cannot be read"
    )


OTHERS = [
    (TIFF, "tiff", "TIFF data"),
    (b"MM\0*" + bytes(9), "tiff", "TIFF data"),
    (BMP, "bmp", "BMP data"),
    (AVIF, "avif", "AVIF data"),
    (SVG, "svg", "an SVG drawing"),
    (b"\xef\xbb\xbf<svg>", "svg", "an SVG drawing"),
    (HTML, None, "an HTML page"),
    (b"<!-- error --><HTML lang=en>", None, "an HTML page"),
    (PDF, None, "a PDF document"),
    (MP4, None, "a video"),
    (b"\x1f\x8b\x08", None, "gzip data"),
    (TEXT, None, "text"),
    (b"BMW builds cars", None, "text"),
    (b'{"error": "not found"}', None, "text"),
    (bytes(100), None, "of an unknown format"),
    (b"", None, "empty"),
]


@pytest.mark.parametrize(("data", "image_format", "words"), OTHERS)
def test_what_is_no_usual_image_is_named(data: bytes, image_format: str | None, words: str) -> None:
    assert kind_of(data) == (image_format, words)


def test_no_more_than_the_head_is_looked_at() -> None:
    assert kind_of(b" " * HEAD_BYTES + HTML).words == "text"


def test_a_jpeg_is_read_as_decoders_read_it() -> None:
    large_profile = b"".join(b"\xff\xe2\xff\xff" + bytes(0xFFFF - 2) for _ in range(8))
    fill_bytes, stray_bytes = b"\xff\xff\xff\xe1\x00\x04ab", b"\x00\x00"
    assert size("jpeg", jpeg(7, 5, before=large_profile + fill_bytes + stray_bytes)) == (7, 5)


def test_a_thumbnail_inside_a_jpeg_is_not_taken_for_the_image() -> None:
    thumbnail = jpeg(1, 1)
    exif = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    assert size("jpeg", jpeg(70, 50, before=exif)) == (70, 50)


def test_a_jpeg_of_only_markers_is_read_in_bounded_time() -> None:
    assert size("jpeg", b"\xff\xd8" + b"\xff\xd0" * 1_000_000) is None


@pytest.mark.parametrize(
    ("image_format", "data"),
    [
        ("gif", gif()[:19] + b"!\xfe" + b"\1x" * 5_000_000),
        ("gif", gif()[:19] + b"!\xfe\0" * 5_000_000),
        ("jpeg", b"\xff\xd8" + b"\xff\xe1\x00\x02" * 3_000_000),
        ("jpeg", b"\xff\xd8" + b"\xff" * 10_000_000),
        ("jpeg", b"\xff\xd8" + bytes(10_000_000)),
    ],
)
def test_a_header_that_does_not_end_is_given_up_soon(image_format: str, data: bytes) -> None:
    started_s = time.perf_counter()
    assert size(image_format, data) is None
    assert time.perf_counter() - started_s < 0.5  # about 0.01; without a limit 2 to 5


@pytest.mark.parametrize("data", [b"<!---->" * 200, b"<!-- a -->\n" * 200, b"<?xml " * 200, b"<!doctype svg " * 200])
def test_many_comments_are_read_in_linear_time(data: bytes) -> None:
    started_s = time.perf_counter()
    assert kind_of(data).words == "text"
    assert time.perf_counter() - started_s < 0.1


def test_a_gif_has_the_size_of_its_first_image_if_that_is_larger_than_its_screen() -> None:
    assert size("gif", gif(1, 1, image=(60_000, 60_000), comment=b"x" * 1000)) == (60_000, 60_000)


@pytest.mark.parametrize(
    ("image_format", "data"),
    [
        ("png", png(2**31 - 1, 2**31 - 1)),
        ("png", png(20_000, 20_000)),
        ("jpeg", jpeg(65_500, 65_500)),
        ("gif", gif(1, 1, image=(65_535, 65_535))),
        ("webp", webp(b"VP8X", 16_000_000, 200)),
        ("webp", webp(b"VP8L", 16_384, 16_384)),
    ],
)
def test_an_image_of_more_than_a_hundred_million_pixels_is_refused(image_format: str, data: bytes) -> None:
    fault = size_fault(image_format, lambda offset, n_bytes: data[offset : offset + n_bytes])
    assert fault is not None
    assert "more than 100 million" in fault


def test_an_image_of_no_pixels_is_a_damaged_one() -> None:
    assert size("png", png(0, 5)) is None


def test_base64_is_decoded_where_it_is_read_and_nowhere_else() -> None:
    data = bytes(range(256)) * 4
    text = "data:," + base64.b64encode(data).decode()
    read = base64_reader(text, 6)
    assert [read(offset, n) for offset in range(7) for n in (0, 1, 5)] == [
        data[offset : offset + n] for offset in range(7) for n in (0, 1, 5)
    ]
    assert read(1020, 100) == data[1020:]
    assert read(5000, 10) == b""
    assert base64_reader(text[:60] + "*" * 100, 6)(0, 30) == data[:30]


def test_an_inline_image_gets_the_media_type_of_its_bytes() -> None:
    assert media_type_of(base64.b64encode(jpeg()).decode()) == "image/jpeg"
    assert media_type_of(base64.b64encode(SVG).decode()) == "image/svg+xml"
    assert media_type_of(base64.b64encode(TEXT).decode()) is None
    assert media_type_of("A") is None


def test_formats_may_have_any_of_their_usual_names() -> None:
    assert format_names(["JPG", ".png", "image/webp", "tif"]) == {"jpeg", "png", "webp", "tiff"}
