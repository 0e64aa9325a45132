"""Small images of each format, made by hand, and files that are none."""

import struct
import zlib


def png(width: int = 1, height: int = 1, *, padding: int = 0) -> bytes:
    """A PNG of one black pixel, whatever size its header names, with `padding` bytes in a text chunk."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))]
    if padding:
        chunks.append((b"tEXt", b"k\0" + b"x" * padding))
    chunks += [(b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def jpeg(width: int = 1, height: int = 1, *, before: bytes = b"", sof: int = 0xC0) -> bytes:
    """The segments of a JPEG up to its image data; `before` is what precedes the frame."""
    app0 = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    frame = b"\xff" + bytes([sof]) + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return b"\xff\xd8" + app0 + before + frame + b"\xff\xda\x00\x08\1\1\0\0\x3f\0\x00\xff\xd9"


def gif(width: int = 1, height: int = 1, *, image: tuple[int, int] | None = None, comment: bytes = b"") -> bytes:
    """A GIF; `image` is the size of its first image, if it is not that of the screen."""
    blocks = b"".join(bytes([len(part)]) + part for part in (comment[i : i + 255] for i in range(0, len(comment), 255)))
    extension = b"!\xfe" + blocks + b"\0" if comment else b""
    descriptor = b"," + struct.pack("<HHHHB", 0, 0, *(image or (width, height)), 0)
    palette = b"\0\0\0\xff\xff\xff"
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0)
    return b"GIF89a" + screen + palette + extension + descriptor + b"\2\2\x44\1\0;"


def webp(kind: bytes = b"VP8 ", width: int = 1, height: int = 1) -> bytes:
    """The header of a WebP image: lossy (`VP8 `), lossless (`VP8L`) or extended (`VP8X`)."""
    match kind:
        case b"VP8 ":
            body = b"\x30\1\0\x9d\1\x2a" + struct.pack("<HH", width, height)
        case b"VP8L":
            body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
        case _:
            body = bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    chunk = kind + struct.pack("<I", len(body)) + body + bytes(16)
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


TIFF = b"II*\0\x08\0\0\0" + bytes(64)
BMP = b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0" + bytes(64)
SVG = b'<?xml version="1.0"?>\n<!-- a drawing -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'
HTML = b"\n<!DOCTYPE html><html><body>Not found</body></html>"
TEXT = b"An essay about images, which is no image.\n"
PDF = b"%PDF-1.7\n"
AVIF = b"\0\0\0\x1cftypavif" + bytes(16)
MP4 = b"\0\0\0\x1cftypisom" + bytes(16)
