"""Several float64 numbers in one register: kernels whose vector code does not depend on luck.

LLVM vectorises a plain loop only where it recognises it, and keeps sums in registers only up to a
handful.  Functions decorated with `staged` run once, at compile time, in Python; the arithmetic of
their `Lanes` and the body of every `loop` become machine code, so that ordinary loops over
components or columns unroll and what is held in a Python variable is held in a register.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from inspect import signature
from typing import Any

from llvmlite import binding, ir

from expmax.inference.compiler import cgutils, intrinsic, types

_features = binding.get_host_cpu_features()
WIDE = bool(_features.get("avx512f")) and bool(_features.get("avx512dq"))
LANES = 8 if WIDE else 4  # numbers in a register, which of 32 or of 16
ROWS = 4 * LANES  # data rows of a strip: four registers of each column

_double, _int = ir.DoubleType(), ir.IntType(64)
_vector = ir.VectorType(_double, LANES)
_bits = ir.VectorType(_int, LANES)
_FLAGS = ("contract",)  # a * b + c in one operation; nothing else, so that NaN stays NaN


class Emitter:
    """The code being written."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self.builder = builder

    @contextmanager
    def loop(self, count: Any, first: Any = 0) -> Iterator[Index]:
        """Code repeated for index = first, …, count - 1."""
        stop, start = (index.value for index in (self.index(count), self.index(first)))
        with cgutils.for_range(self.builder, stop, start) as repeat:
            yield Index(self, repeat.index)

    @contextmanager
    def when(self, condition: Any) -> Iterator[None]:
        """Code for when a condition holds."""
        with self.builder.if_then(condition):
            yield

    def index(self, n: Any) -> Index:
        """An integer, whether known now or when the code runs."""
        return n if isinstance(n, Index) else Index(self, ir.Constant(_int, n))

    def variable(self, value: Lanes) -> Variable:
        """A value that a loop changes."""
        return Variable(self, value)

    def number(self, value: float) -> Any:
        """A number known now."""
        return ir.Constant(_double, value)

    def splat(self, number: Any) -> Lanes:
        """The same number in every lane."""
        if not isinstance(number, ir.Value):
            return Lanes(self, ir.Constant(_vector, [float(number)] * LANES))
        seed = ir.Constant(_vector, ir.Undefined)
        seed = self.builder.insert_element(seed, number, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return Lanes(self, self.builder.shuffle_vector(seed, seed, zeros))


class Index:
    """An integer of the running code."""

    def __init__(self, emitter: Emitter, value: Any) -> None:
        self.emitter, self.value = emitter, value

    def _emit(self, name: str, other: Any) -> Any:
        operation = getattr(self.emitter.builder, name)
        return Index(self.emitter, operation(self.value, self.emitter.index(other).value))

    def __add__(self, other: Any) -> Index:
        return self._emit("add", other)

    def __mul__(self, other: Any) -> Index:
        return self._emit("mul", other)

    def __sub__(self, other: Any) -> Index:
        return self._emit("sub", other)

    def __floordiv__(self, other: Any) -> Index:
        """Of numbers that are not negative."""
        return self._emit("udiv", other)

    def __and__(self, other: Any) -> Index:
        return self._emit("and_", other)

    __radd__, __rmul__ = __add__, __mul__

    def _compare(self, sign: str, other: Any) -> Any:
        other = self.emitter.index(other)
        return self.emitter.builder.icmp_signed(sign, self.value, other.value)

    def __ge__(self, other: Any) -> Any:
        """For `when`."""
        return self._compare(">=", other)

    def __lt__(self, other: Any) -> Any:
        """For `when`."""
        return self._compare("<", other)

    def __ne__(self, other: Any) -> Any:
        return self._compare("!=", other)


class Lanes:
    """A register of numbers."""

    def __init__(self, emitter: Emitter, value: Any) -> None:
        self.emitter, self.value = emitter, value

    def _lift(self, other: Any) -> Any:
        return other.value if isinstance(other, Lanes) else self.emitter.splat(other).value

    def _emit(self, name: str, other: Any, flip: bool = False) -> Lanes:
        a, b = self.value, self._lift(other)
        operation = getattr(self.emitter.builder, name)
        return Lanes(self.emitter, operation(*((b, a) if flip else (a, b)), flags=_FLAGS))

    def __add__(self, other: Any) -> Lanes:
        return self._emit("fadd", other)

    def __sub__(self, other: Any) -> Lanes:
        return self._emit("fsub", other)

    def __rsub__(self, other: Any) -> Lanes:
        return self._emit("fsub", other, flip=True)

    def __mul__(self, other: Any) -> Lanes:
        return self._emit("fmul", other)

    def __truediv__(self, other: Any) -> Lanes:
        return self._emit("fdiv", other)

    def __rtruediv__(self, other: Any) -> Lanes:
        return self._emit("fdiv", other, flip=True)

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other: Any) -> Any:
        """Lane by lane, false for NaN; for `choose`."""
        return self.emitter.builder.fcmp_ordered("<", self.value, self._lift(other))

    def choose(self, condition: Any, other: Any) -> Lanes:
        """The other where the condition holds, this elsewhere."""
        chosen = self.emitter.builder.select(condition, self._lift(other), self.value)
        return Lanes(self.emitter, chosen)

    def scaled(self, n: Lanes) -> Lanes:
        """Each number times 2^n, where the low bits of the other hold n + 1023."""
        power = self.emitter.builder.bitcast(n.value, _bits)
        power = self.emitter.builder.shl(power, self._constant_bits(52))
        return self * Lanes(self.emitter, self.emitter.builder.bitcast(power, _vector))

    def split(self, smallest: int) -> tuple[Lanes, Lanes]:
        """n and m with number = m 2^n, where the bits of m reach from the smallest to its double."""
        builder = self.emitter.builder
        bits = builder.bitcast(self.value, _bits)
        n = builder.ashr(builder.sub(bits, self._constant_bits(smallest)), self._constant_bits(52))
        m = builder.sub(bits, builder.shl(n, self._constant_bits(52)))
        exponent = Lanes(self.emitter, builder.sitofp(n, _vector))
        return exponent, Lanes(self.emitter, builder.bitcast(m, _vector))

    def _constant_bits(self, n: int) -> Any:
        return ir.Constant(_bits, [n] * LANES)

    def sum(self) -> Any:
        """All lanes together."""
        parts = [self.lane(i) for i in range(LANES)]
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self.emitter.builder.fadd(a, b) for a, b in pairs]
        return parts[0]

    def shuffled(self, other: Lanes, order: list[int]) -> Lanes:
        """Lanes by number: those of this first, then those of the other."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), order)
        return Lanes(
            self.emitter, self.emitter.builder.shuffle_vector(self.value, other.value, mask)
        )

    def lane(self, n: int) -> Any:
        """One number of the register."""
        return self.emitter.builder.extract_element(self.value, ir.Constant(ir.IntType(32), n))


class Variable:
    """Holds lanes that change inside a loop; kept in a register by the compiler."""

    def __init__(self, emitter: Emitter, value: Lanes) -> None:
        self._emitter = emitter
        self._slot = cgutils.alloca_once_value(emitter.builder, value.value)

    @property
    def value(self) -> Lanes:
        """What it holds now."""
        return Lanes(self._emitter, self._emitter.builder.load(self._slot))

    @value.setter
    def value(self, new: Lanes) -> None:
        self._emitter.builder.store(new.value, self._slot)


class Pointer:
    """Somewhere in an array of numbers."""

    def __init__(self, emitter: Emitter, address: Any) -> None:
        self.emitter, self.address = emitter, address

    def __add__(self, offset: Any) -> Pointer:
        offset = self.emitter.index(offset).value
        return Pointer(self.emitter, self.emitter.builder.gep(self.address, [offset]))

    def number(self, offset: Any = 0) -> Any:
        """The number there."""
        builder = self.emitter.builder
        value = builder.load((self + offset).address)
        if value.type == _int:
            return Index(self.emitter, value)
        return value if value.type == _double else builder.fpext(value, _double)

    def put(self, value: Any, offset: Any = 0) -> None:
        """Write one number."""
        self.emitter.builder.store(value, (self + offset).address)

    def add(self, value: Any, offset: Any = 0) -> None:
        """Add to the number there."""
        self.put(self.emitter.builder.fadd(self.number(offset), value), offset)

    def splat(self, offset: Any = 0) -> Lanes:
        """The number there, in every lane."""
        return self.emitter.splat(self.number(offset))

    def fetch(self, offset: Any = 0) -> None:
        """Have the memory there brought to the second cache meanwhile; any address will do."""
        builder, byte = self.emitter.builder, ir.IntType(8).as_pointer()
        three = [ir.Constant(ir.IntType(32), n) for n in (0, 2, 1)]  # to read, L2, data
        kind = ir.FunctionType(ir.VoidType(), [byte] + [ir.IntType(32)] * 3)
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        builder.call(fetch, [builder.bitcast((self + offset).address, byte), *three])

    def load(self, offset: Any = 0) -> Lanes:
        """Consecutive numbers."""
        builder, address = self.emitter.builder, (self + offset).address
        kind = address.type.pointee
        wide = builder.bitcast(address, ir.VectorType(kind, LANES).as_pointer())
        value = builder.load(wide, align=8 if kind == _double else 4)
        return Lanes(self.emitter, value if kind == _double else builder.fpext(value, _vector))

    def store(self, lanes: Lanes, offset: Any = 0) -> None:
        """Write consecutive numbers."""
        builder = self.emitter.builder
        address = builder.bitcast((self + offset).address, _vector.as_pointer())
        builder.store(lanes.value, address, align=8)


def total(terms: Iterable[Lanes]) -> Lanes:
    """The sum of some registers, without a zero to start from."""
    return reduce(lambda a, b: a + b, terms)


def transposed(square: list[Lanes]) -> list[Lanes]:
    """Lane i of register j becomes lane j of register i."""
    square = list(square)
    for h in _powers():
        low = [i if not i & h else i - h + LANES for i in range(LANES)]
        high = [i + h if not i & h else i + LANES for i in range(LANES)]
        for i in range(LANES):
            if not i & h:
                a, b = square[i], square[i + h]
                square[i], square[i + h] = a.shuffled(b, low), a.shuffled(b, high)
    return square


def sums_of(registers: list[Lanes]) -> Lanes:
    """Lane i is the sum over the lanes of register i; there are LANES of them."""
    for h in _powers():
        low = [i if not i & h else i - h + LANES for i in range(LANES)]
        high = [i + h if not i & h else i + LANES for i in range(LANES)]
        pairs = zip(registers[::2], registers[1::2], strict=True)
        registers = [a.shuffled(b, low) + a.shuffled(b, high) for a, b in pairs]
    return registers[0]


def _powers() -> list[int]:
    return [h for h in (1, 2, 4) if h < LANES]


def staged(result: types.Type = types.void) -> Callable[..., Any]:
    """Make a function that writes code callable from numba.

    It gets an `Emitter`, then a `Pointer` to the data of each array (C order, no strides), the
    length of each tuple, and the run-time value of each number.
    """

    def decorate(body: Callable[..., Any]) -> Any:
        def lower(context: Any, builder: Any, kinds: Any, arguments: Any) -> Any:
            emitter = Emitter(builder)
            values: list[Any] = []
            for kind, argument in zip(kinds.args, arguments, strict=True):
                if isinstance(kind, types.Array):
                    data = context.make_array(kind)(context, builder, argument).data
                    values.append(Pointer(emitter, data))
                elif isinstance(kind, types.UniTuple):
                    values.append(kind.count)
                elif isinstance(kind, types.Integer):
                    values.append(Index(emitter, argument))
                else:
                    values.append(argument)
            out = body(emitter, *values)
            if result is types.void:
                return context.get_dummy_value()
            if isinstance(result, types.BaseTuple):
                return context.make_tuple(builder, result, out)
            return out

        def typing(_context: Any, *arguments: Any) -> Any:
            kinds = [types.intp if isinstance(a, types.Integer) else a for a in arguments]
            return result(*kinds), lower

        typing.__signature__ = signature(body)  # type: ignore[attr-defined]
        typing.__name__ = typing.__qualname__ = body.__name__
        typing.__module__, typing.__doc__ = body.__module__, body.__doc__
        return intrinsic(typing)

    return decorate
