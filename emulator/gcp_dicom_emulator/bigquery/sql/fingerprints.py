"""FARM_FINGERPRINT: FarmHash's Fingerprint64 (https://github.com/google/farmhash, its farmhashna)."""

from __future__ import annotations

_MASK = (1 << 64) - 1
_Pair = tuple[int, int]
_K0, _K1, _K2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F


def fingerprint(data: bytes) -> int:
    """Return the fingerprint, as an INT64."""
    size = len(data)
    if size <= 16:
        found = _to_16(data)
    elif size <= 32:
        found = _to_32(data)
    elif size <= 64:
        found = _to_64(data)
    else:
        found = _long(data)
    return found - (1 << 64) if found >> 63 else found


def _word(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 8], "little")


def _rotated(value: int, bits: int) -> int:
    value &= _MASK
    return (value >> bits | value << (64 - bits)) & _MASK


def _mixed(value: int) -> int:
    value &= _MASK
    return value ^ value >> 47


def _joined(one: int, other: int, factor: int) -> int:
    first = _mixed(((one ^ other) & _MASK) * factor)
    second = _mixed(((other ^ first) & _MASK) * factor)
    return second * factor & _MASK


def _to_16(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    if size >= 8:
        first, second = _word(data, 0) + _K2 & _MASK, _word(data, size - 8)
        third = _rotated(second, 37) * factor + first
        return _joined(third & _MASK, (_rotated(first, 25) + second) * factor & _MASK, factor)
    if size >= 4:
        first, second = (int.from_bytes(data[place : place + 4], "little") for place in (0, size - 4))
        return _joined(size + (first << 3), second, factor)
    if size:
        first, second = data[0] + (data[size >> 1] << 8), size + (data[-1] << 2)
        return _mixed(first * _K2 ^ second * _K0) * _K2 & _MASK
    return _K2


def _to_32(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * _K1, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    return _joined(_rotated(a + b, 43) + _rotated(c, 30) + d & _MASK, a + _rotated(b + _K2, 18) + c & _MASK, factor)


def _to_64(data: bytes) -> int:
    size = len(data)
    factor = _K2 + size * 2
    a, b = _word(data, 0) * _K2, _word(data, 8)
    c, d = _word(data, size - 8) * factor, _word(data, size - 16) * _K2
    y = _rotated(a + b, 43) + _rotated(c, 30) + d & _MASK
    z = _joined(y, a + _rotated(b + _K2, 18) + c & _MASK, factor)
    e, f = _word(data, 16) * factor, _word(data, 24)
    g, h = (y + _word(data, size - 32)) * factor, (z + _word(data, size - 24)) * factor
    return _joined(_rotated(e + f, 43) + _rotated(g, 30) + h & _MASK, e + _rotated(f + a, 18) + g & _MASK, factor)


def _weak(data: bytes, place: int, a: int, b: int) -> _Pair:
    w, x, y, z = (_word(data, place + 8 * number) for number in range(4))
    a += w
    b = _rotated(b + a + z, 21)
    c = a
    a += x + y
    b += _rotated(a, 44)
    return a + z & _MASK, b + c & _MASK


def _round(
    data: bytes, place: int, x: int, y: int, z: int, v: _Pair, w: _Pair, factor: int, weight: int
) -> tuple[int, int, int, _Pair, _Pair]:
    x = _rotated(x + y + v[0] + _word(data, place + 8), 37) * factor
    y = _rotated(y + v[1] + _word(data, place + 48), 42) * factor
    x = (x ^ w[1] * weight) & _MASK
    y = y + v[0] * weight + _word(data, place + 40) & _MASK
    z = _rotated(z + w[0], 33) * factor & _MASK
    v = _weak(data, place, v[1] * factor, x + w[0])
    w = _weak(data, place + 32, z + w[1], y + _word(data, place + 16))
    return z, y, x, v, w


def _long(data: bytes) -> int:
    size = len(data)
    x, y = 81, 81 * _K1 + 113 & _MASK
    z = _mixed(y * _K2 + 113) * _K2 & _MASK
    v, w = (0, 0), (0, 0)
    x = x * _K2 + _word(data, 0) & _MASK
    end = (size - 1) // 64 * 64
    for place in range(0, end, 64):
        x, y, z, v, w = _round(data, place, x, y, z, v, w, _K1, 1)
    factor = _K1 + ((z & 0xFF) << 1)
    w = (w[0] + (size - 1 & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = _round(data, size - 64, x, y, z, v, w, factor, 9)
    first = _joined(v[0], w[0], factor) + _mixed(y) * _K0 + z
    return _joined(first & _MASK, _joined(v[1], w[1], factor) + x & _MASK, factor)
