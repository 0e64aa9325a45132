"""What the bytes of an image are, by their first bytes, and its size in pixels, by its header: nothing is decoded.

Sources of the signatures: the PNG specification (W3C, section 5.2), ITU T.81 annex B (JPEG), the GIF89a specification,
RFC 9649 (WebP), TIFF 6.0, ISO/IEC 14496-12 (the `ftyp` box of AVIF and HEIC), ISO/IEC 18181-2 (JPEG XL).
"""

import binascii
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

Read = Callable[[int, int], bytes]
"""Returns the `n` bytes from `offset` on; fewer, or none, at the end of the image."""

HEAD_BYTES = 512
MAX_PIXELS = 100_000_000
COMMON_FORMATS = frozenset({"png", "jpeg", "gif", "webp"})
"""The formats that every model with vision accepts, as far as its vendor says."""

FORMAT_ALIASES = {"jpg": "jpeg", "pjpeg": "jpeg", "tif": "tiff", "svg+xml": "svg", "x-ms-bmp": "bmp"}
"""Other names of formats, in media types and in configurations."""

_SUBTYPES = {"svg": "svg+xml"}
_MAX_JPEG_SEGMENTS = 2_000
_MAX_GIF_BLOCKS = 10_000  # 2.5 MB of extensions before the first image
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C
_SCAN_BYTES = 4_096

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
    (b"\x00\x00\x01\x00", "ico"),
    (b"\xff\x0a", "jxl"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "jxl"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "jp2"),
    (b"8BPS", "psd"),
)
_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"hevc": "heic", b"mif1": "heif"}
RECOGNISED_FORMATS = frozenset({"webp", "svg", *_BRANDS.values(), *(name for _, name in _SIGNATURES)})
"""The formats that `kind_of` knows by their bytes."""

# What is served instead of an image: an error page, a document, an archive.
_OTHER_FILES = (
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"%!PS", "PostScript"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an audio file"),
)
# A comment ends at its first `-->`: were it allowed to go on, many comments could be read in exponentially many ways.
_COMMENT = rb"<!--(?:(?!-->).)*-->\s*"
_HTML = rb"(?is)\s*(?:" + _COMMENT + rb")*<(?:!doctype\s+html|html|head|body|script|title|div|p)\b"
_SVG = rb"(?is)\s*(?:<\?xml[^>]*>\s*)?(?:" + _COMMENT + rb"|<!doctype\s+svg[^>]*>\s*)*<svg\b"
_NO_TEXT = rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]"


def format_names(names: Iterable[str]) -> frozenset[str]:
    """Returns the formats that a configuration names, such as `jpg` or `image/JPEG`, as `kind_of` names them."""
    bare = (name.lower().removeprefix("image/").removeprefix(".") for name in names)
    return frozenset(FORMAT_ALIASES.get(name, name) for name in bare)


def base64_reader(text: str, start: int = 0) -> Read:
    """Returns a reader of the base64 text that begins at `start`; it decodes only what is read.

    Padding at the end may be missing. It raises `binascii.Error` where the text is no base64.
    """

    def read(offset: int, n_bytes: int) -> bytes:
        first = start + offset // 3 * 4
        last = start + -(-(offset + n_bytes) // 3) * 4
        return binascii.a2b_base64(f"{text[first:last]}==")[offset % 3 :][:n_bytes]

    return read


class Kind(NamedTuple):
    """What a file is. `format` is set for an image, and is the subtype of its media type; `words` name the file."""

    format: str | None
    words: str

    @property
    def media_type(self) -> str | None:
        """The media type of an image; None for what is none."""
        return None if self.format is None else f"image/{_SUBTYPES.get(self.format, self.format)}"


def kind_of(head: bytes) -> Kind:
    """Returns what a file with these first bytes is; `HEAD_BYTES` of them are enough, and no more are read."""
    head = head[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    if (found := _image_format(head)) is not None:
        return Kind(found, f"{found.upper()} data")
    for signature, words in _OTHER_FILES:
        if head.startswith(signature):
            return Kind(None, words)
    if head[4:8] == b"ftyp":
        return Kind(None, "a video")
    if re.match(_SVG, head):
        return Kind("svg", "an SVG drawing")
    if re.match(_HTML, head):
        return Kind(None, "an HTML page")
    if not head:
        return Kind(None, "empty")
    return Kind(None, "of an unknown format" if re.search(_NO_TEXT, head) else "text")


def media_type_of(data: str) -> str | None:
    """Returns the media type of an inline image in base64, by its bytes; None where they do not show it.

    Callers often name another one, or `image/jpg`, and Anthropic and Bedrock refuse an image whose type is wrong.
    """
    try:
        return kind_of(base64_reader(data)(0, HEAD_BYTES)).media_type
    except binascii.Error:
        return None


def _image_format(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    if head.startswith(b"BM") and head[6:10] != bytes(4):  # "BM" alone could begin a text; BMP has zeros there
        return None
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), None)


def pixels_of(image_format: str, read: Read) -> tuple[int, int] | None:
    """Returns (width, height) of a PNG, JPEG, GIF or WebP image; None where its header is damaged or cut off."""
    try:
        width, height = _SIZE_READERS[image_format](read)
    except _HeaderError:
        return None
    return (width, height) if width and height else None


def size_fault(image_format: str, read: Read) -> str | None:
    """Returns why the size in pixels of an image of one of the `COMMON_FORMATS` is refused; None where it is not."""
    pixels = pixels_of(image_format, read)
    if pixels is None:
        return "is a damaged image: its size cannot be read"
    if pixels[0] * pixels[1] > MAX_PIXELS:
        return f"is an image of {pixels[0]} x {pixels[1]} pixels, more than {MAX_PIXELS // 1_000_000} million"
    return None


class _HeaderError(Exception):
    """The header of an image ends too early, or is not as its format requires."""


def _exactly(read: Read, offset: int, n_bytes: int) -> bytes:
    data = read(offset, n_bytes)
    if len(data) < n_bytes:
        raise _HeaderError
    return data


def _png_size(read: Read) -> tuple[int, int]:
    head = _exactly(read, 8, 16)
    if head[4:8] != b"IHDR":
        raise _HeaderError
    return int.from_bytes(head[8:12], "big"), int.from_bytes(head[12:16], "big")


def _jpeg_size(read: Read) -> tuple[int, int]:
    """Reads segments up to the first start of frame (SOF0 to SOF15, without DHT, JPG and DAC, which lie between)."""
    offset = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        offset, marker = _next_jpeg_marker(read, offset)
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            head = _exactly(read, offset, 7)
            return int.from_bytes(head[5:7], "big"), int.from_bytes(head[3:5], "big")
        if marker in {0xD9, 0xDA}:  # the image data, or its end, before any frame
            break
        if not (marker <= 0x01 or 0xD0 <= marker <= 0xD8):  # these have no content
            offset += max(2, int.from_bytes(_exactly(read, offset, 2), "big"))
    raise _HeaderError


def _next_jpeg_marker(read: Read, offset: int) -> tuple[int, int]:
    """Returns the next marker and the offset after it. As decoders do, skips fill bytes and stray bytes before it."""
    skipped = read(offset, _SCAN_BYTES)
    at = skipped.find(b"\xff")
    rest = skipped[at:].lstrip(b"\xff") if at >= 0 else b""
    if not rest:
        raise _HeaderError
    return offset + len(skipped) - len(rest) + 1, rest[0]


def _gif_size(read: Read) -> tuple[int, int]:
    """Returns the larger of the screen's and the first image's size: decoders use either."""
    screen = _exactly(read, 6, 5)
    offset = 13 + _color_table_bytes(screen[4])
    is_in_extension = False
    for _ in range(_MAX_GIF_BLOCKS):
        byte = _exactly(read, offset, 1)[0]
        if is_in_extension:  # the length of its next block, 0 at its end
            offset += byte + 1
            is_in_extension = byte != 0
        elif byte == _GIF_EXTENSION:
            offset += 2
            is_in_extension = True
        elif byte == _GIF_IMAGE:
            image = _exactly(read, offset + 5, 4)
            return max(_le16(screen[:2]), _le16(image[:2])), max(_le16(screen[2:4]), _le16(image[2:4]))
        else:
            break
    raise _HeaderError


def _color_table_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp_size(read: Read) -> tuple[int, int]:
    head = _exactly(read, 12, 18)
    match head[:4]:
        case b"VP8 ":
            if head[11:14] != b"\x9d\x01\x2a":
                raise _HeaderError
            return _le16(head[14:16]) & 0x3FFF, _le16(head[16:18]) & 0x3FFF
        case b"VP8L":
            bits = int.from_bytes(head[9:13], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    raise _HeaderError


def _le16(data: bytes) -> int:
    return int.from_bytes(data, "little")


_SIZE_READERS: dict[str, Callable[[Read], tuple[int, int]]] = {
    "png": _png_size,
    "jpeg": _jpeg_size,
    "gif": _gif_size,
    "webp": _webp_size,
}
