// Cone programs in the lanes of one group, and Moreau's decomposition with respect to their cones: layers/cone/projections.
#pragma once
#include "simd/matrix.hpp"

namespace CORE {

using convex_layers::ConeData;

template <class T>
inline T dot_of(const T* x, const T* y, int length) {
    T total = constant<T>(0);
    for (int i = 0; i < length; ++i) total += x[i] * y[i];
    return total;
}

template <class T>
inline T max_abs_of(const T* x, int length) {
    T worst = constant<T>(0);
    for (int i = 0; i < length; ++i) worst = larger(worst, absolute(x[i]));
    return worst;
}

// minimise ½x'Px + q'x subject to Ax + s = b, s ∈ K: P and A dense.
template <class T>
struct ConeGroup {
    int n, m, ldn, ldm;
    // the cones: rows of the zero cone, rows before the second-order cones, and the rows of each of these; degree: of the barrier
    int zero, linear, socs, degree;
    const int* soc;
    // the problem
    T *P, *q, *A, *b;
    bool finite[Lane<T>::count];

    static long entries(const ConeData& d) {
        const long ldn = padded<T>(d.n), ldm = padded<T>(d.m);
        return ldn * d.n + ldn * d.m + ldn + ldm + 4 * 8;
    }

    ConeGroup(Arena& arena, const ConeData& d)
        : n(d.n), m(d.m), ldn(padded<T>(d.n)), ldm(padded<T>(d.m)),
          zero(d.zero), linear(d.zero + d.nonneg), socs(d.socs), degree(d.nonneg + d.socs), soc(d.soc) {
        P = zeros<T>(arena, (long)n * ldn);
        A = zeros<T>(arena, (long)m * ldn);
        q = zeros<T>(arena, ldn);
        b = zeros<T>(arena, ldm);
    }

    // Copy problem `index` into a lane, with P symmetrised.
    void load(const ConeData& d, const double* q_from, const double* b_from, long index, int lane) {
        double check = 0;
        const double *P_from = d.P + index * d.P_stride, *A_from = d.A + index * d.A_stride;
        for (int k = 0; k < d.P_count; ++k) {
            const long i = d.P_row[k], j = d.P_column[k];
            check += 0 * P_from[k];
            add(P[i * ldn + j], lane, 0.5 * P_from[k]);
            add(P[j * ldn + i], lane, 0.5 * P_from[k]);
        }
        for (int k = 0; k < d.A_count; ++k) {
            check += 0 * A_from[k];
            Lane<T>::set(A[d.A_row[k] * ldn + d.A_column[k]], lane, A_from[k]);
        }
        for (int j = 0; j < n; ++j) {
            check += 0 * q_from[index * n + j];
            Lane<T>::set(q[j], lane, q_from[index * n + j]);
        }
        for (int i = 0; i < m; ++i) {
            check += 0 * b_from[index * m + i];
            Lane<T>::set(b[i], lane, b_from[index * m + i]);
        }
        finite[lane] = check == 0;  // 0 · x is NaN when x is not finite
    }

    // visit(first row, number of rows) of every second-order cone
    template <class Each>
    void each_soc(Each&& visit) const {
        for (int k = 0, row = linear; k < socs; row += soc[k++]) visit(row, soc[k]);
    }

    // ω on the rows of every block and c on the objective, powers of two that bring both near one; `row_scale` and c receive them:
    // layers/cone/scaling.py.
    void normalise(T* row_scale, T& c) {
        const T none = constant<T>(0);
        for (int i = 0; i < m; ++i) row_scale[i] = max_abs_of(A + (long)i * ldn, n);
        each_soc([&](int row, int rows) {
            T most = none;
            for (int i = 0; i < rows; ++i) most = larger(most, row_scale[row + i]);
            for (int i = 0; i < rows; ++i) row_scale[row + i] = most;
        });
        for (int i = 0; i < m; ++i) {
            row_scale[i] = 1 / power_of_two(or_one(row_scale[i]));
            b[i] *= row_scale[i];
            const V f = Lane<T>::splat(row_scale[i]);
            for (int j = 0; j < ldn; j += Lane<T>::width) pack(A + (long)i * ldn + j) *= f;
        }
        c = 1 / power_of_two(or_one(larger(max_abs(P, n * ldn), max_abs_of(q, n))));
        const V f = Lane<T>::splat(c);
        for (long j = 0; j < (long)n * ldn; j += Lane<T>::width) pack(P + j) *= f;
        for (int j = 0; j < n; ++j) q[j] *= c;
    }

    // Px + Aᵀy + q and Ax − b
    void stationarity(const T* x, const T* y, T* out) const {
        multiply(P, n, ldn, x, out);
        for (int j = 0; j < n; ++j) out[j] += q[j];
        add_transposed(A, m, ldn, y, out);
    }
    void excess(const T* x, T* out) const {
        multiply(A, m, ldn, x, out);
        for (int i = 0; i < m; ++i) out[i] -= b[i];
    }

  private:
    static void add(T& x, int lane, double value) { Lane<T>::set(x, lane, Lane<T>::get(x, lane) + value); }
};

// v = s − y with s = Π_K(v), y = Π_K*(−v), and the orthonormal frame V in which the derivative of both is diagonal, δ and 1 − δ. In a
// second-order cone V = [(1, û)/√2, (1, −û)/√2, tangents], û and its tangents being columns of the reflection I − 2ww'.
template <class T>
struct Frames {
    const ConeGroup<T>& g;
    T *s, *y;              // the two parts of v
    T *inside, *outside;   // δ and 1 − δ
    T *w, *sign;           // of every second-order cone: the reflection, and the sign of its first column
    static constexpr double HALF_ROOT = 0.70710678118654752440;

    static long entries(const ConeData& d) { return 6L * padded<T>(d.m) + 6 * 8; }
    Frames(Arena& arena, const ConeGroup<T>& group) : g(group) {
        for (T** v : {&s, &y, &inside, &outside, &w, &sign}) *v = zeros<T>(arena, g.ldm);
    }

    void decompose(const T* v) {
        const T none = constant<T>(0), one = constant<T>(1);
        for (int i = 0; i < g.zero; ++i) {
            s[i] = none;
            y[i] = -v[i];
            inside[i] = none;
            outside[i] = one;
        }
        for (int i = g.zero; i < g.linear; ++i) {
            s[i] = larger(v[i], none);
            y[i] = larger(-v[i], none);
            inside[i] = v[i] >= none ? one : none;
            outside[i] = one - inside[i];
        }
        g.each_soc([&](int row, int rows) { second_order(v + row, row, rows); });
    }

    // x = Vᵀx and x = Vx
    void into(T* x) const {
        g.each_soc([&](int row, int rows) {
            reflect(x, row, rows);
            const T t = x[row], along = sign[row] * x[row + 1];
            x[row] = HALF_ROOT * (t + along);
            x[row + 1] = HALF_ROOT * (t - along);
        });
    }
    void out(T* x) const {
        g.each_soc([&](int row, int rows) {
            const T a = x[row], b = x[row + 1];
            x[row] = HALF_ROOT * (a + b);
            x[row + 1] = HALF_ROOT * sign[row] * (a - b);
            reflect(x, row, rows);
        });
    }
    // The rows of a matrix, C = VᵀC.
    void rows_into(T* C) const {
        const int ld = g.ldn;
        g.each_soc([&](int row, int rows) {
            T *first = C + (long)row * ld, *second = first + ld;
            for (int j = 0; j < ld; j += Lane<T>::width) {
                V total = V{};
                for (int i = 1; i < rows; ++i) total += Lane<T>::splat(w[row + i]) * pack(first + (long)i * ld + j);
                total += total;
                for (int i = 1; i < rows; ++i) pack(first + (long)i * ld + j) -= Lane<T>::splat(w[row + i]) * total;
                const V t = pack(first + j), along = Lane<T>::splat(sign[row]) * pack(second + j);
                pack(first + j) = HALF_ROOT * (t + along);
                pack(second + j) = HALF_ROOT * (t - along);
            }
        });
    }

  private:
    void reflect(T* x, int row, int rows) const {
        const T twice = 2 * dot_of(w + row + 1, x + row + 1, rows - 1);
        for (int i = 1; i < rows; ++i) x[row + i] -= twice * w[row + i];
    }

    void second_order(const T* v, int row, int rows) {
        const T none = constant<T>(0), one = constant<T>(1), t = v[0], r = root(dot_of(v + 1, v + 1, rows - 1));
        T* unit = w + row;
        const T by = 1 / or_one(r);
        for (int i = 1; i < rows; ++i) unit[i] = v[i] * by;
        unit[1] = r > none ? unit[1] : one;
        const T high = t + r, low = t - r, total = absolute(high) + absolute(low);
        split(high, low, s + row, unit, rows);
        split(-high, -low, y + row, unit, rows);
        inside[row] = high >= none ? one : none;
        inside[row + 1] = low >= none ? one : none;
        outside[row] = one - inside[row];
        outside[row + 1] = one - inside[row + 1];
        const T between = total > none ? (larger(high, none) + larger(low, none)) / or_one(total) : one;
        const T rest = (larger(-high, none) + larger(-low, none)) / or_one(total);
        for (int i = 2; i < rows; ++i) {
            inside[row + i] = between;
            outside[row + i] = rest;
        }
        // w is along û ± e₁: the sign that adds avoids cancellation
        const T side = unit[1] >= none ? one : -one, scale = 1 / root(2 + 2 * absolute(unit[1]));
        unit[1] += side;
        for (int i = 1; i < rows; ++i) unit[i] *= scale;
        sign[row] = -side;
    }
    // The element with eigenvalues a⁺ and b⁺ on (1, ±û)/2.
    static void split(T a, T b, T* to, const T* unit, int rows) {
        const T none = constant<T>(0);
        a = larger(a, none);
        b = larger(b, none);
        to[0] = 0.5 * (a + b);
        for (int i = 1; i < rows; ++i) to[i] = 0.5 * (a - b) * unit[i];
    }
};

}  // namespace CORE
