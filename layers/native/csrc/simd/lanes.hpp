// Vectors of problems, and vectors of numbers: the two ways in which the engine fills a register.
//
// Everything above this file is written once for an element type T:
//   T = V       W problems side by side, one in each lane: small problems;
//   T = double  one problem, its rows cut into packs of W entries: larger problems.
// In both cases a pack P is one register; `width` is the number of matrix columns in it.
#pragma once

namespace CORE {

typedef double V __attribute__((vector_size(8 * LANES)));
typedef long long I __attribute__((vector_size(8 * LANES)));

constexpr int W = LANES;
// Register tile of the matrix kernels: rows, and packs of columns, that leave room for the operands.
constexpr bool MANY_REGISTERS = W == 8;

template <class T>
struct Lane;

template <>
struct Lane<double> {
    static constexpr int count = 1, width = W, rows = MANY_REGISTERS ? 8 : 4, packs = 3;
    using Mask = bool;
    static V splat(double x) { return x - V{}; }
    static double sum(V x) {
        double total = 0;
        for (int i = 0; i < W; ++i) total += x[i];
        return total;
    }
    static double max(V x) {
        double worst = x[0];
        for (int i = 1; i < W; ++i) worst = x[i] > worst ? x[i] : worst;
        return worst;
    }
    static double min(V x) {
        double least = x[0];
        for (int i = 1; i < W; ++i) least = x[i] < least ? x[i] : least;
        return least;
    }
    static double get(double x, int) { return x; }
    static void set(double& x, int, double value) { x = value; }
};

template <>
struct Lane<V> {
    static constexpr int count = W, width = 1, rows = 4, packs = MANY_REGISTERS ? 4 : 2;
    using Mask = I;
    static V splat(V x) { return x; }
    static V sum(V x) { return x; }
    static V max(V x) { return x; }
    static V min(V x) { return x; }
    static double get(V x, int lane) { return x[lane]; }
    static void set(V& x, int lane, double value) { x[lane] = value; }
};

template <class T>
inline T constant(double x);
template <>
inline double constant<double>(double x) { return x; }
template <>
inline V constant<V>(double x) { return x - V{}; }

inline bool any(bool mask) { return mask; }
inline bool any(I mask) {
    long long seen = 0;
    for (int i = 0; i < W; ++i) seen |= mask[i];
    return seen != 0;
}
inline bool at(bool mask, int) { return mask; }
inline bool at(I mask, int lane) { return mask[lane] != 0; }
inline bool negate(bool mask) { return !mask; }
inline I negate(I mask) { return ~mask; }
inline void put(bool& mask, int, bool value) { mask = value; }
inline void put(I& mask, int lane, bool value) { mask[lane] = value ? -1 : 0; }

inline double absolute(double x) { return __builtin_fabs(x); }
inline V absolute(V x) { return (V)((I)x & 0x7fffffffffffffffLL); }
inline double larger(double a, double b) { return a > b ? a : b; }
inline V larger(V a, V b) { return a > b ? a : b; }
inline double smaller(double a, double b) { return a < b ? a : b; }
inline V smaller(V a, V b) { return a < b ? a : b; }
inline double root(double x) { return __builtin_sqrt(x); }
inline V root(V x) {
    V y;
    for (int i = 0; i < W; ++i) y[i] = __builtin_sqrt(x[i]);
    return y;
}

// The power of two nearest to x > 0 on a logarithmic scale: multiplying by it rounds nothing.
inline double power_of_two(double x) {
    long long bits;
    x *= 1.4142135623730951;
    __builtin_memcpy(&bits, &x, 8);
    bits &= 0x7ff0000000000000LL;
    __builtin_memcpy(&x, &bits, 8);
    return x;
}
inline V power_of_two(V x) { return (V)((I)(x * 1.4142135623730951) & 0x7ff0000000000000LL); }

// log2 of a power of two, of the power nearest to x, and back (rounded)
inline double exponent(double x) {
    long long bits;
    x *= 1.4142135623730951;
    __builtin_memcpy(&bits, &x, 8);
    return (double)(((bits >> 52) & 0x7ff) - 1023);
}
inline V exponent(V x) {
    V y;
    for (int i = 0; i < W; ++i) y[i] = exponent(x[i]);
    return y;
}
inline double raise(double x) { return __builtin_ldexp(1.0, (int)__builtin_floor(x + 0.5)); }
inline V raise(V x) {
    V y;
    for (int i = 0; i < W; ++i) y[i] = raise(x[i]);
    return y;
}

template <class T>
inline T or_one(T x) { return x == 0 ? constant<T>(1) : x; }

}  // namespace CORE
