"""Making bad input out of good: bytes, lines and JSON. Everything is drawn from the generator that is passed in."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

MAX_BYTES = 70_000
"""No mutant is longer: the largest limit of a door is 64 KiB."""

EDGES = (0, 1, 2, 3, 7, 15, 16, 31, 63, 64, 127, 128, 191, 192, 200, 201, 223, 224, 254, 255)
NUMBERS: tuple[Any, ...] = (0, -1, 1, 2**31, -(2**31), 2**53 + 1, 10**30, 1e308, -0.0, 5e-324, 0.5)
WORDS = ("", " ", "\0", "\ufeff", "\u202e", "é", "😀", "\ud800", "null", "../..", "%00", "-1", "1e9999", "A" * 1_100, "\r\nX: y")


def mutate_bytes(draw: random.Random, data: bytes) -> bytes:
    """One to six small changes of any bytes."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        place = draw.randrange(len(out) + 1)
        match draw.randrange(9):
            case 0 if out:
                out[place % len(out)] ^= 1 << draw.randrange(8)
            case 1 if out:
                out[place % len(out)] = draw.choice(EDGES)
            case 2:
                del out[place:]
            case 3:
                del out[place : place + draw.randrange(1, 9)]
            case 4:
                out[place:place] = draw.randbytes(draw.randrange(1, 9))
            case 5:
                piece = out[place : place + draw.randrange(1, 65)]
                out[place:place] = piece * draw.choice((1, 1, 2, 40))
            case 6:  # a length field says something else
                out[place : place + 2] = draw.choice((b"\0\0", b"\xff\xff", b"\0\x01", b"\x7f\xff", b"\x80\0"))
            case 7:
                out[place : place + 4] = draw.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1)).to_bytes(4, "big")
            case _:
                out += bytes(draw.choice((1, 4, 200))) if draw.random() < 0.5 else draw.randbytes(draw.randrange(60))
    return bytes(out[:MAX_BYTES])


def mutate_lines(draw: random.Random, data: bytes) -> bytes:
    """Line-based text (SDP, HTTP): whole lines change places, repeat, vanish, or one of them is mutated."""
    lines = data.split(b"\r\n")
    for _ in range(draw.choice((1, 1, 2, 4))):
        place = draw.randrange(len(lines))
        line = lines[place]
        match draw.randrange(9):
            case 0:
                lines[place : place + 1] = []
            case 1:
                lines[place:place] = [line] * draw.choice((1, 2, 33, 70))
            case 2:
                other = draw.randrange(len(lines))
                lines[place], lines[other] = lines[other], line
            case 3:
                lines[place] = line + draw.choice(WORDS).encode("utf-8", "surrogatepass")
            case 4:  # one word of the line becomes another
                words = line.split(b" ")
                words[draw.randrange(len(words))] = str(draw.choice(NUMBERS)).encode()
                lines[place] = b" ".join(words)
            case 5:
                head, colon, rest = line.partition(b":")
                lines[place] = head + colon * draw.randrange(4) + rest[: draw.randrange(len(rest) + 1)]
            case 6:
                lines[place] = line.swapcase()
            case 7:
                lines[place] = mutate_bytes(draw, line)
            case _:
                lines[place] = line + draw.choice((b"\n", b"\r", b"\0", b" " * 1_200, b"\t"))
        if not lines:
            lines = [b""]
    return b"\r\n".join(lines)[:MAX_BYTES]


def any_json(draw: random.Random, depth: int = 0) -> Any:
    """Any value, mostly small."""
    kind = draw.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return draw.choice(NUMBERS)
    if kind == 1:
        return draw.choice(WORDS)
    if kind == 2:
        return draw.choice((True, False, None))
    if kind == 3:
        return "".join(chr(draw.randrange(32, 0x2FF)) for _ in range(draw.randrange(12)))
    if kind == 4:
        return draw.randrange(-100, 100)
    if kind == 5:
        return [any_json(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice((*WORDS, "type", "data", "id", "parts")): any_json(draw, depth + 1) for _ in range(draw.randrange(4))}


def mutate_json(draw: random.Random, value: Any) -> Any:
    """A copy in which one place, at any depth, is another value, gone, repeated, or under another name."""
    if isinstance(value, dict) and value and draw.random() < 0.85:
        copy = dict(value)
        key = draw.choice(list(copy))
        match draw.randrange(8):
            case 0:
                del copy[key]
            case 1:
                copy[draw.choice((*WORDS, key.upper(), key + "s"))] = copy.pop(key)
            case 2:
                copy[draw.choice(WORDS)] = any_json(draw)
            case _:
                copy[key] = mutate_json(draw, copy[key])
        return copy
    if isinstance(value, list) and value and draw.random() < 0.85:
        items = list(value)
        place = draw.randrange(len(items))
        if draw.random() < 0.3:
            items[place:place] = [items[place]] * draw.choice((1, 2, 60))
        else:
            items[place] = mutate_json(draw, items[place])
        return items
    if isinstance(value, str) and draw.random() < 0.5:
        return mutate_bytes(draw, value.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")
    return any_json(draw)


def dump(value: Any) -> bytes:
    """JSON as Python writes it, lone surrogates as escapes."""
    return json.dumps(value).encode()


def mutate_document(draw: random.Random, data: bytes) -> bytes:
    """JSON text: mostly still JSON, sometimes only nearly."""
    if draw.random() < 0.2:
        return mutate_bytes(draw, data)
    if draw.random() < 0.02:
        return (b"[" * 5_000) if draw.random() < 0.5 else b'{"a":' * 5_000
    try:
        value = json.loads(data)
    except ValueError:
        return mutate_bytes(draw, data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        value = mutate_json(draw, value)
    return dump(value)


def join(pieces: Sequence[bytes]) -> bytes:
    """Several datagrams or messages as one input."""
    return b"".join(len(piece).to_bytes(4, "big") + piece for piece in pieces)


def split(data: bytes) -> list[bytes]:
    """What `join` made; any bytes give some list."""
    pieces, position = [], 0
    while position + 4 <= len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        pieces.append(data[position + 4 : position + 4 + size])
        position += 4 + size
    return pieces


def mutate_sequence(draw: random.Random, pieces: Sequence[bytes]) -> list[bytes]:
    """A run of packets in which some are mutated, lost, doubled or out of place."""
    out: list[bytes] = []
    for piece in pieces:
        chance = draw.random()
        if chance < 0.25:
            out.append(mutate_bytes(draw, piece))
        elif chance < 0.35:
            out += [piece] * draw.choice((0, 2, 3))
        elif chance < 0.40:
            out.insert(draw.randrange(len(out) + 1), piece)
        else:
            out.append(piece)
    return out
