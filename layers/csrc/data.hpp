// The caller's arrays, and their equilibrated copy in the lanes of one group.
#pragma once
#include "dense.hpp"

namespace CORE {

using convex_layers::Arena;
using convex_layers::Data;

template <class S>
inline S* zeros(Arena& arena, long count) {
    return static_cast<S*>(arena.zeros(count * (long)sizeof(S)));
}

constexpr int RUIZ_PASSES = 6;
// In a derivative Q has been checked; negative curvature up to this, relative to the largest entry, is rounding (layers/problem.py).
constexpr double CURVATURE = 1e-9;

// A group of problems, equilibrated: minimise ½x'Qx + q'x subject to Gx ≤ h, Ax = b in the notation of layers/scaling.py, with
// its c already in Q. The norms are those of the caller's data.
template <class T>
struct Group {
    int n, m, p, ldn, ldm, ldp;
    T *Q, *G, *A, *q, *h, *b;
    T *D, *Eg, *Ea, r, c;
    T *Q_row, *g_row, *a_row, *g_column, *a_column;
    T *Q_now, *g_now, *a_now, *column_now, *spare_now;  // the same during equilibration
    T skew, scale;  // largest |Q - Qᵀ| and |Q|, caller's units
    bool finite[Lane<T>::count];

    static long entries(int n, int m, int p) {
        const long ldn = padded<T>(n), ldm = padded<T>(m), ldp = padded<T>(p);
        return ldn * (n + m + p) + 8 * ldn + 5 * ldm + 5 * ldp + 18 * 8;
    }

    Group(Arena& arena, int n_, int m_, int p_)
        : n(n_), m(m_), p(p_), ldn(padded<T>(n_)), ldm(padded<T>(m_)), ldp(padded<T>(p_)) {
        Q = zeros<T>(arena, (long)n * ldn), G = zeros<T>(arena, (long)m * ldn), A = zeros<T>(arena, (long)p * ldn);
        q = zeros<T>(arena, ldn), h = zeros<T>(arena, ldm), b = zeros<T>(arena, ldp);
        D = zeros<T>(arena, ldn), Eg = zeros<T>(arena, ldm), Ea = zeros<T>(arena, ldp);
        Q_row = zeros<T>(arena, ldn), g_row = zeros<T>(arena, ldm), a_row = zeros<T>(arena, ldp);
        g_column = zeros<T>(arena, ldn), a_column = zeros<T>(arena, ldn);
        Q_now = zeros<T>(arena, ldn), g_now = zeros<T>(arena, ldm), a_now = zeros<T>(arena, ldp);
        column_now = zeros<T>(arena, ldn), spare_now = zeros<T>(arena, ldn);
        skew = scale = constant<T>(0);
    }

    // Copy problem `index` into a lane, with Q symmetrised.
    void load(const Data& data, long index, int lane) {
        const double* Qi = data.Q + index * data.Q_stride;
        double asymmetry = 0, check = 0;
        for (int i = 0; i < n; ++i)
            for (int j = 0; j <= i; ++j) {
                const double low = Qi[(long)i * n + j], high = Qi[(long)j * n + i];
                asymmetry = larger(asymmetry, absolute(low - high));
                const double mean = 0.5 * (low + high);
                check += 0 * mean;
                Lane<T>::set(Q[(long)i * ldn + j], lane, mean);
                Lane<T>::set(Q[(long)j * ldn + i], lane, mean);
            }
        check += rows(data.G + index * data.G_stride, m, G, lane) + rows(data.A + index * data.A_stride, p, A, lane);
        check += vector(data.q + index * data.q_stride, n, q, lane) + vector(data.h + index * data.h_stride, m, h, lane);
        check += vector(data.b + index * data.b_stride, p, b, lane);
        Lane<T>::set(skew, lane, asymmetry);
        finite[lane] = check == 0;  // 0 · x is NaN when x is not finite
    }

    // Rows and columns of the KKT matrix near one (Ruiz), right-hand sides and objective too: layers/scaling.py.
    void equilibrate() {
        for (int j = 0; j < n; ++j) D[j] = constant<T>(1);
        for (int i = 0; i < m; ++i) Eg[i] = constant<T>(1);
        for (int i = 0; i < p; ++i) Ea[i] = constant<T>(1);
        for (int pass = 0; pass < RUIZ_PASSES && ruiz(pass == 0); ++pass) {
        }
        for (int j = 0; j < n; ++j) D[j] = power_of_two(D[j]), q[j] *= D[j];
        for (int i = 0; i < m; ++i) Eg[i] = power_of_two(Eg[i]), h[i] *= Eg[i];
        for (int i = 0; i < p; ++i) Ea[i] = power_of_two(Ea[i]), b[i] *= Ea[i];
        for (int i = 0; i < n; ++i) scale_row(Q + (long)i * ldn, D[i]);
        for (int i = 0; i < m; ++i) scale_row(G + (long)i * ldn, Eg[i]);
        for (int i = 0; i < p; ++i) scale_row(A + (long)i * ldn, Ea[i]);
        weigh();
    }

    void caller(const T* x, const T* lam, const T* nu, T* x_out, T* lam_out, T* nu_out) const {
        const T y = r / c;
        for (int j = 0; j < n; ++j) x_out[j] = r * D[j] * x[j];
        for (int i = 0; i < m; ++i) lam_out[i] = y * Eg[i] * lam[i];
        for (int i = 0; i < p; ++i) nu_out[i] = y * Ea[i] * nu[i];
    }

  private:
    double rows(const double* from, int count, T* to, int lane) {
        double check = 0;
        for (int i = 0; i < count; ++i)
            for (int j = 0; j < n; ++j) {
                const double value = from[(long)i * n + j];
                check += 0 * value;
                Lane<T>::set(to[(long)i * ldn + j], lane, value);
            }
        return check;
    }
    static double vector(const double* from, int count, T* to, int lane) {
        double check = 0;
        for (int i = 0; i < count; ++i) check += 0 * from[i], Lane<T>::set(to[i], lane, from[i]);
        return check;
    }
    void scale_row(T* row, T factor) {
        const V f = Lane<T>::splat(factor);
        for (int j = 0; j < ldn; j += Lane<T>::width) pack(row + j) *= f * pack(D + j);
    }

    // Largest scaled entry of a row, and of every column so far.
    T measure(const T* row, T factor, T* column) const {
        const V f = Lane<T>::splat(factor);
        V worst = V{};
        for (int j = 0; j < ldn; j += Lane<T>::width) {
            const V value = absolute(pack(row + j)) * f * pack(D + j);
            worst = larger(worst, value);
            pack(column + j) = larger(pack(column + j), value);
        }
        return Lane<T>::max(worst);
    }

    // One pass; whether another would change anything by more than a power of two.
    bool ruiz(bool first) {
        T spread = constant<T>(1);
        if (first) {  // all scales are one: these are the norms of the caller's data
            for (int i = 0; i < n; ++i) Q_row[i] = measure(Q + (long)i * ldn, D[i], g_column);
            scale = max_abs(Q_row, ldn);
            clear(g_column, ldn);
            for (int i = 0; i < m; ++i) g_row[i] = measure(G + (long)i * ldn, Eg[i], g_column);
            for (int i = 0; i < p; ++i) a_row[i] = measure(A + (long)i * ldn, Ea[i], a_column);
        }
        T *Qr = first ? Q_row : Q_now, *gr = first ? g_row : g_now, *ar = first ? a_row : a_now, *column = column_now;
        if (first)
            for (int j = 0; j < ldn; ++j) column[j] = larger(g_column[j], a_column[j]);
        else {
            clear(column, ldn);
            for (int i = 0; i < m; ++i) gr[i] = measure(G + (long)i * ldn, Eg[i], column);
            for (int i = 0; i < p; ++i) ar[i] = measure(A + (long)i * ldn, Ea[i], column);
            for (int i = 0; i < n; ++i) Qr[i] = measure(Q + (long)i * ldn, D[i], spare_now);
        }
        auto balance = [&](T& factor, T size) {
            const T s = or_one(size);
            spread = larger(spread, larger(s, 1 / s));
            factor *= 1 / root(s);
        };
        for (int i = 0; i < m; ++i) balance(Eg[i], gr[i]);
        for (int i = 0; i < p; ++i) balance(Ea[i], ar[i]);
        for (int j = 0; j < n; ++j) balance(D[j], larger(column[j], Qr[j]));
        return any(spread > 2.0);
    }

    void weigh() {
        T Q_size = constant<T>(0), logs = constant<T>(0), count = constant<T>(0);
        for (int i = 0; i < n; ++i) Q_size = larger(Q_size, max_abs(Q + (long)i * ldn, ldn));
        const T q_size = max_abs(q, ldn), none = constant<T>(0);
        // geometric mean of the right-hand sides, from their exponents
        auto add = [&](const T* v, int length) {
            for (int i = 0; i < length; ++i) {
                const T a = absolute(v[i]);
                logs += a > 0 ? exponent(a) : none;
                count += a > 0 ? constant<T>(1) : none;
            }
        };
        add(h, m), add(b, p);
        const T mean = raise(logs / larger(count, constant<T>(1)));
        const T free = Q_size > 0 ? power_of_two(q_size / or_one(Q_size)) : none;
        r = larger(mean, free);
        c = 1 / power_of_two(or_one(larger(Q_size, q_size / r)));
        for (int i = 0; i < n; ++i) {
            const V f = Lane<T>::splat(c);
            for (int j = 0; j < ldn; j += Lane<T>::width) pack(Q + (long)i * ldn + j) *= f;
        }
        for (int j = 0; j < n; ++j) q[j] *= c / r;
        for (int i = 0; i < m; ++i) h[i] /= r;
        for (int i = 0; i < p; ++i) b[i] /= r;
    }
};

}  // namespace CORE
