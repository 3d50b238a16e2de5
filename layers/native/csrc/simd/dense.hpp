// Dense kernels for both element types: row-major matrices whose leading dimension is a multiple of the pack width, and whose
// padding is zero.
#pragma once
#include "simd/lanes.hpp"

namespace CORE {

template <class T>
inline int padded(int length) {
    constexpr int width = Lane<T>::width;
    return (length + width - 1) / width * width;
}

template <class T>
inline V& pack(T* x) { return *reinterpret_cast<V*>(x); }
template <class T>
inline const V& pack(const T* x) { return *reinterpret_cast<const V*>(x); }

template <class T>
inline void clear(T* x, int length) {
    for (int i = 0; i < length; ++i) x[i] = constant<T>(0);
}

template <class T>
inline T dot(const T* x, const T* y, int length) {
    V total = V{};
    for (int j = 0; j < length; j += Lane<T>::width) total += pack(x + j) * pack(y + j);
    return Lane<T>::sum(total);
}

template <class T>
inline T max_abs(const T* x, int length) {
    V worst = V{};
    for (int j = 0; j < length; j += Lane<T>::width) worst = larger(worst, absolute(pack(x + j)));
    return Lane<T>::max(worst);
}

// y = M x + beta y for a matrix of `rows` rows; x is padded.
template <class T>
inline void multiply(const T* M, int rows, int ld, const T* x, T* y, double beta = 0) {
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
        V a = V{}, b = V{}, c = V{}, d = V{};
        const T* row = M + (long)i * ld;
        for (int j = 0; j < ld; j += Lane<T>::width) {
            const V v = pack(x + j);
            a += pack(row + j) * v;
            b += pack(row + ld + j) * v;
            c += pack(row + 2 * ld + j) * v;
            d += pack(row + 3 * ld + j) * v;
        }
        y[i] = beta * y[i] + Lane<T>::sum(a);
        y[i + 1] = beta * y[i + 1] + Lane<T>::sum(b);
        y[i + 2] = beta * y[i + 2] + Lane<T>::sum(c);
        y[i + 3] = beta * y[i + 3] + Lane<T>::sum(d);
    }
    for (; i < rows; ++i) y[i] = beta * y[i] + dot(M + (long)i * ld, x, ld);
}

// y += |M| |x| and x += |M|ᵀ |y|; x is padded.
template <class T>
inline void add_magnitudes(const T* M, int rows, int ld, const T* x, T* y) {
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
        V a = V{}, b = V{}, c = V{}, d = V{};
        const T* row = M + (long)i * ld;
        for (int j = 0; j < ld; j += Lane<T>::width) {
            const V v = pack(x + j);
            a += absolute(pack(row + j) * v);
            b += absolute(pack(row + ld + j) * v);
            c += absolute(pack(row + 2 * ld + j) * v);
            d += absolute(pack(row + 3 * ld + j) * v);
        }
        y[i] += Lane<T>::sum(a);
        y[i + 1] += Lane<T>::sum(b);
        y[i + 2] += Lane<T>::sum(c);
        y[i + 3] += Lane<T>::sum(d);
    }
    for (; i < rows; ++i) {
        V total = V{};
        for (int j = 0; j < ld; j += Lane<T>::width) total += absolute(pack(M + (long)i * ld + j) * pack(x + j));
        y[i] += Lane<T>::sum(total);
    }
}
template <class T>
inline void add_magnitudes_transposed(const T* M, int rows, int ld, const T* y, T* x) {
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
        const T* row = M + (long)i * ld;
        const V a = Lane<T>::splat(y[i]), b = Lane<T>::splat(y[i + 1]);
        const V c = Lane<T>::splat(y[i + 2]), d = Lane<T>::splat(y[i + 3]);
        for (int j = 0; j < ld; j += Lane<T>::width)
            pack(x + j) += (absolute(pack(row + j) * a) + absolute(pack(row + ld + j) * b)) +
                           (absolute(pack(row + 2 * ld + j) * c) + absolute(pack(row + 3 * ld + j) * d));
    }
    for (; i < rows; ++i) {
        const V by = Lane<T>::splat(y[i]);
        for (int j = 0; j < ld; j += Lane<T>::width) pack(x + j) += absolute(pack(M + (long)i * ld + j) * by);
    }
}

// x += Mᵀ y, the first `columns` of it; x is padded.
template <class T>
inline void add_transposed(const T* M, int rows, int ld, const T* y, T* x, int columns) {
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
        const T* row = M + (long)i * ld;
        const V a = Lane<T>::splat(y[i]), b = Lane<T>::splat(y[i + 1]);
        const V c = Lane<T>::splat(y[i + 2]), d = Lane<T>::splat(y[i + 3]);
        for (int j = 0; j < columns; j += Lane<T>::width)
            pack(x + j) += (pack(row + j) * a + pack(row + ld + j) * b) + (pack(row + 2 * ld + j) * c + pack(row + 3 * ld + j) * d);
    }
    for (; i < rows; ++i) {
        const V a = Lane<T>::splat(y[i]);
        for (int j = 0; j < columns; j += Lane<T>::width) pack(x + j) += pack(M + (long)i * ld + j) * a;
    }
}
template <class T>
inline void add_transposed(const T* M, int rows, int ld, const T* y, T* x) { add_transposed(M, rows, ld, y, x, ld); }

// One register tile of C += sign · XᵀY, where X and Y hold `depth` rows.
template <class T, int ROWS, int PACKS>
inline void tile(const T* X, int ldx, const T* Y, int ldy, int depth, T* C, int ldc, double sign) {
    constexpr int width = Lane<T>::width;
    V total[ROWS][PACKS] = {};
    for (int k = 0; k < depth; ++k) {
        V right[PACKS];
        for (int j = 0; j < PACKS; ++j) right[j] = pack(Y + (long)k * ldy + j * width);
        for (int i = 0; i < ROWS; ++i) {
            const V left = Lane<T>::splat(X[(long)k * ldx + i]);
            for (int j = 0; j < PACKS; ++j) total[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < ROWS; ++i)
        for (int j = 0; j < PACKS; ++j) pack(C + (long)i * ldc + j * width) += sign * total[i][j];
}

template <class T, int ROWS>
inline void strip(const T* X, int ldx, const T* Y, int ldy, int depth, T* C, int ldc, int columns, double sign) {
    constexpr int width = Lane<T>::width, packs = Lane<T>::packs;
    int j = 0;
    for (; j + packs * width <= columns; j += packs * width) tile<T, ROWS, packs>(X, ldx, Y + j, ldy, depth, C + j, ldc, sign);
    for (; j + 2 * width <= columns; j += 2 * width) tile<T, ROWS, 2>(X, ldx, Y + j, ldy, depth, C + j, ldc, sign);
    for (; j < columns; j += width) tile<T, ROWS, 1>(X, ldx, Y + j, ldy, depth, C + j, ldc, sign);
}

// C[0:rows, 0:columns] += sign · X[:, 0:rows]ᵀ Y[:, 0:columns]; `columns` is padded, `rows` at most Lane<T>::rows.
template <class T>
inline void panel(const T* X, int ldx, const T* Y, int ldy, int depth, T* C, int ldc, int rows, int columns, double sign) {
    if (depth == 0) return;
    if (rows == Lane<T>::rows) return strip<T, Lane<T>::rows>(X, ldx, Y, ldy, depth, C, ldc, columns, sign);
    for (; rows >= 2; rows -= 2, X += 2, C += 2 * ldc) strip<T, 2>(X, ldx, Y, ldy, depth, C, ldc, columns, sign);
    if (rows) strip<T, 1>(X, ldx, Y, ldy, depth, C, ldc, columns, sign);
}

// First padded column that the upper triangle needs in row i.
template <class T>
inline int left_of(int i) { return i / Lane<T>::width * Lane<T>::width; }

// The upper triangle of C += XᵀY, n columns, `depth` rows.
template <class T>
inline void add_gram(const T* X, const T* Y, int depth, int n, int ld, T* C) {
    for (int i = 0; i < n; i += Lane<T>::rows) {
        const int rows = n - i < Lane<T>::rows ? n - i : Lane<T>::rows, j = left_of<T>(i);
        panel(X + i, ld, Y + j, ld, depth, C + (long)i * ld + j, ld, rows, ld - j, 1.0);
    }
}

// UᵀU = H in place of the upper triangle of H; a pivot that is not above `least` is replaced by one and reported.
// `inverse` receives the reciprocals of the diagonal, `lowest` the smallest pivot (before its square root).
template <class T>
inline void factor(T* H, int n, int ld, T* inverse, T least, T& lowest) {
    constexpr int width = Lane<T>::width;
    lowest = constant<T>(1e300);
    for (int i0 = 0; i0 < n; i0 += Lane<T>::rows) {
        const int rows = n - i0 < Lane<T>::rows ? n - i0 : Lane<T>::rows, j0 = left_of<T>(i0);
        panel(H + i0, ld, H + j0, ld, i0, H + (long)i0 * ld + j0, ld, rows, ld - j0, -1.0);
        for (int i = i0; i < i0 + rows; ++i) {
            T* row = H + (long)i * ld;
            for (int k = i0; k < i; ++k) {
                const T* above = H + (long)k * ld;
                const V a = Lane<T>::splat(above[i]);
                for (int j = left_of<T>(i); j < ld; j += width) pack(row + j) -= a * pack(above + j);
            }
            const T pivot = row[i];
            lowest = smaller(lowest, pivot);  // a NaN pivot is caught by the residuals
            const T scale = 1 / root(pivot > least ? pivot : constant<T>(1));
            const V s = Lane<T>::splat(scale);
            for (int j = left_of<T>(i); j < ld; j += width) pack(row + j) *= s;
            inverse[i] = scale;
        }
    }
}

// x = U⁻ᵀ x, one right-hand side; entries left of the diagonal in a row's first pack are not part of U.
template <class T>
inline void solve_transposed(const T* U, int n, int ld, const T* inverse, T* x) {
    constexpr int width = Lane<T>::width;
    for (int i = 0; i < n; ++i) {
        const T* row = U + (long)i * ld;
        const T value = x[i] * inverse[i];
        x[i] = value;
        const int first = left_of<T>(i) + width;
        for (int j = i + 1; j < first && j < n; ++j) x[j] -= row[j] * value;
        const V v = Lane<T>::splat(value);
        for (int j = first; j < ld; j += width) pack(x + j) -= pack(row + j) * v;
    }
}

// x = U⁻¹ x
template <class T>
inline void solve_upper(const T* U, int n, int ld, const T* inverse, T* x) {
    constexpr int width = Lane<T>::width;
    for (int i = n - 1; i >= 0; --i) {
        const T* row = U + (long)i * ld;
        const int first = left_of<T>(i) + width;
        T value = x[i];
        for (int j = i + 1; j < first && j < n; ++j) value -= row[j] * x[j];
        V total = V{};
        for (int j = first; j < ld; j += width) total += pack(row + j) * pack(x + j);
        x[i] = (value - Lane<T>::sum(total)) * inverse[i];
    }
}

// B = U⁻ᵀ B for n rows of right-hand sides, `columns` padded columns.
template <class T>
inline void solve_transposed_block(const T* U, int n, int ld, const T* inverse, T* B, int columns) {
    constexpr int width = Lane<T>::width;
    for (int i0 = 0; i0 < n; i0 += Lane<T>::rows) {
        const int rows = n - i0 < Lane<T>::rows ? n - i0 : Lane<T>::rows;
        panel(U + i0, ld, B, columns, i0, B + (long)i0 * columns, columns, rows, columns, -1.0);
        for (int i = i0; i < i0 + rows; ++i) {
            T* row = B + (long)i * columns;
            for (int k = i0; k < i; ++k) {
                const V a = Lane<T>::splat(U[(long)k * ld + i]);
                for (int j = 0; j < columns; j += width) pack(row + j) -= a * pack(B + (long)k * columns + j);
            }
            const V s = Lane<T>::splat(inverse[i]);
            for (int j = 0; j < columns; j += width) pack(row + j) *= s;
        }
    }
}

}  // namespace CORE
