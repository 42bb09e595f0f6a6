"""Exponential and logarithm that LLVM vectorises, for the ranges a softmax needs.

Without Intel's SVML numba calls libm once per number; these cost a fraction of a nanosecond.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from expmax.inference.compiler import intrinsic, njit, types
from expmax.inference.lanes import Lanes

LOG_2 = math.log(2.0)
LOWEST = -700.0  # exp(LOWEST) is 1e-304: as good as zero, and still a normal number
# Adding MAGIC rounds to an integer and leaves it, exponent bias included, in the low bits.
MAGIC = 1.5 * 2.0**52 + 1023
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD

# No "reassoc": it would cancel MAGIC.  forceinline keeps these flags inside any caller.
_inlined = njit(fastmath={"contract"}, error_model="numpy", forceinline=True, cache=True)


@intrinsic
def _bits(_typing_context: Any, _x: Any) -> Any:
    """Reinterpret a float64 as int64."""

    def cast(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), cast


@intrinsic
def _from_bits(_typing_context: Any, _i: Any) -> Any:
    """Reinterpret an int64 as float64."""

    def cast(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), cast


def _exp_polynomial(r: Any) -> Any:
    """e^r for |r| <= log(2)/2.

    The least-maximum relative error (3.3e-16) of degree 10 whose first three terms are exact,
    found by Lawson's iteration in extended precision.
    """
    p = 2.750244943362214e-07 * r + 2.7633694792886803e-06
    p = (p * r + 2.4801830542711057e-05) * r + 0.00019841188652860512
    p = (p * r + 0.0013888888658315946) * r + 0.008333333368009366
    p = (p * r + 0.041666666667304904) * r + 0.16666666666619034
    return ((p * r + 0.5) * r + 1.0) * r + 1.0


def _log_polynomial(m: Any) -> Any:
    """log m for 1/2 <= m^2 <= 2: 2 artanh s with s = (m - 1)/(m + 1), ten terms for |s| <= 0.1716."""
    s = (m - 1.0) / (m + 1.0)
    q = s * s
    p = 2.0 / 21.0 * q + 2.0 / 19.0
    p = (p * q + 2.0 / 17.0) * q + 2.0 / 15.0
    p = (p * q + 2.0 / 13.0) * q + 2.0 / 11.0
    p = (p * q + 2.0 / 9.0) * q + 2.0 / 7.0
    p = (p * q + 2.0 / 5.0) * q + 2.0 / 3.0
    return (p * q + 2.0) * s


_exp_inlined, _log_inlined = _inlined(_exp_polynomial), _inlined(_log_polynomial)


@_inlined
def exp_nonpositive(x: float) -> float:
    """exp(x) for LOWEST <= x <= 0, as 2^n e^r with |r| <= log(2)/2; NaN stays NaN.

    Relative error below (4 + |x|/3) 2^-53.  The caller clamps at LOWEST.
    """
    n = x * (1.0 / LOG_2) + MAGIC
    r = x - (n - MAGIC) * LOG_2
    return _exp_inlined(r) * _from_bits(_bits(n) << 52)


@_inlined
def log_normal(x: float) -> float:
    """log(x) of a positive normal number, as n log 2 + log m with 1/2 <= m^2 <= 2; NaN stays NaN.

    Absolute error below 2^-52 (1 + |n|).
    """
    n = (_bits(x) - SQRT_HALF_BITS) >> 52
    m = _from_bits(_bits(x) - (n << 52))
    nan = x - x  # zero, but for a NaN, whose bits alone would pass for a number
    return n * LOG_2 + _log_inlined(m) + nan


def exp_lanes(x: Lanes) -> Lanes:
    """`exp_nonpositive` of each number of a register."""
    n = x * (1.0 / LOG_2) + MAGIC
    power: Lanes = _exp_polynomial(x - (n - MAGIC) * LOG_2)
    return power.scaled(n)


def log_lanes(x: Lanes) -> Lanes:
    """`log_normal` of each number of a register."""
    n, m = x.split(SQRT_HALF_BITS)
    fraction: Lanes = _log_polynomial(m)
    return n * LOG_2 + fraction + (x - x)
