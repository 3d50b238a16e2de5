// The caller's arrays, and their equilibrated copy in the lanes of one group.
#pragma once
#include "simd/matrix.hpp"

namespace CORE {

using convex_layers::CURVATURE;
using convex_layers::Data;
using convex_layers::Sparse;

constexpr int RUIZ_PASSES = 6;

// A group of problems, equilibrated: minimise ½x'Qx + q'x subject to Gx ≤ h, Ax = b in the notation of layers/qp/scaling.py, with
// its c already in Q. The norms are those of the caller's data.
template <class T, class M>
struct Group {
    int n, m, p, ldn, ldm, ldp;
    // the problem
    M Q, G, A;
    T *q, *h, *b;
    // its scales: of variables, of rows, of right-hand sides and of the objective
    T *D, *Eg, *Ea, r, c;
    // largest entries of the caller's rows and columns, which residuals are relative to; the largest |Q - Qᵀ| and |Q|
    T *Q_row, *g_row, *a_row, *g_column, *a_column;
    T skew, scale;
    bool finite[Lane<T>::count];
    // during equilibration: largest entries as they are now
    T *Q_now, *g_now, *a_now, *column_now, *spare_now;

    static long entries(const Data& d, const Sparse* plan) {
        const long matrices = M::entries(d.n, d.n, plan ? &plan->Q : nullptr) + M::entries(d.m, d.n, plan ? &plan->G : nullptr) +
                              M::entries(d.p, d.n, plan ? &plan->A : nullptr);
        return matrices + 8L * padded<T>(d.n) + 5L * padded<T>(d.m) + 5L * padded<T>(d.p) + 18 * 8;
    }

    Group(Arena& arena, const Data& d, const Sparse* plan)
        : n(d.n), m(d.m), p(d.p), ldn(padded<T>(d.n)), ldm(padded<T>(d.m)), ldp(padded<T>(d.p)),
          Q(arena, n, n, plan ? &plan->Q : nullptr), G(arena, m, n, plan ? &plan->G : nullptr), A(arena, p, n, plan ? &plan->A : nullptr) {
        for (T** v : {&q, &D, &Q_row, &g_column, &a_column, &Q_now, &column_now, &spare_now}) *v = zeros<T>(arena, ldn);
        for (T** v : {&h, &Eg, &g_row, &g_now}) *v = zeros<T>(arena, ldm);
        for (T** v : {&b, &Ea, &a_row, &a_now}) *v = zeros<T>(arena, ldp);
        skew = scale = constant<T>(0);
    }

    // Copy problem `index` into a lane, with Q symmetrised.
    void load(const Data& data, long index, int lane) {
        double asymmetry = 0, check = Q.load_symmetric(data.Q + index * data.Q_stride, lane, asymmetry);
        check += G.load(data.G + index * data.G_stride, lane) + A.load(data.A + index * data.A_stride, lane);
        check += vector(data.q + index * data.q_stride, n, q, lane) + vector(data.h + index * data.h_stride, m, h, lane);
        check += vector(data.b + index * data.b_stride, p, b, lane);
        Lane<T>::set(skew, lane, asymmetry);
        finite[lane] = check == 0;  // 0 · x is NaN when x is not finite
    }

    // Rows and columns of the KKT matrix near one (Ruiz), right-hand sides and objective too: layers/qp/scaling.py.
    void equilibrate() {
        for (int j = 0; j < n; ++j) D[j] = constant<T>(1);
        for (int i = 0; i < m; ++i) Eg[i] = constant<T>(1);
        for (int i = 0; i < p; ++i) Ea[i] = constant<T>(1);
        for (int pass = 0; pass < RUIZ_PASSES && ruiz(pass == 0); ++pass) {
        }
        for (int j = 0; j < n; ++j) {
            D[j] = power_of_two(D[j]);
            q[j] *= D[j];
        }
        for (int i = 0; i < m; ++i) {
            Eg[i] = power_of_two(Eg[i]);
            h[i] *= Eg[i];
        }
        for (int i = 0; i < p; ++i) {
            Ea[i] = power_of_two(Ea[i]);
            b[i] *= Ea[i];
        }
        Q.scale(D, D);
        G.scale(Eg, D);
        A.scale(Ea, D);
        weigh();
    }

    void caller(const T* x, const T* lam, const T* nu, T* x_out, T* lam_out, T* nu_out) const {
        const T y = r / c;
        for (int j = 0; j < n; ++j) x_out[j] = r * D[j] * x[j];
        for (int i = 0; i < m; ++i) lam_out[i] = y * Eg[i] * lam[i];
        for (int i = 0; i < p; ++i) nu_out[i] = y * Ea[i] * nu[i];
    }

    // and back
    void group(T* x, T* lam, T* nu) const {
        const T y = c / r;
        for (int j = 0; j < n; ++j) x[j] /= r * D[j];
        for (int i = 0; i < m; ++i) lam[i] *= y / Eg[i];
        for (int i = 0; i < p; ++i) nu[i] *= y / Ea[i];
    }

  private:
    static double vector(const double* from, int count, T* to, int lane) {
        double check = 0;
        for (int i = 0; i < count; ++i) {
            check += 0 * from[i];
            Lane<T>::set(to[i], lane, from[i]);
        }
        return check;
    }

    // One pass; whether another would change anything by more than a power of two.
    bool ruiz(bool first) {
        T spread = constant<T>(1);
        if (first) {  // all scales are one: these are the norms of the caller's data
            Q.measure(D, D, Q_row, spare_now);
            scale = max_abs(Q_row, ldn);
            G.measure(Eg, D, g_row, g_column);
            A.measure(Ea, D, a_row, a_column);
            for (int j = 0; j < ldn; ++j) column_now[j] = larger(g_column[j], a_column[j]);
        } else {
            clear(column_now, ldn);
            G.measure(Eg, D, g_now, column_now);
            A.measure(Ea, D, a_now, column_now);
            Q.measure(D, D, Q_now, spare_now);
        }
        const T *Qr = first ? Q_row : Q_now, *gr = first ? g_row : g_now, *ar = first ? a_row : a_now;
        auto balance = [&](T& factor, T size) {
            const T s = or_one(size);
            spread = larger(spread, larger(s, 1 / s));
            factor *= 1 / root(s);
        };
        for (int i = 0; i < m; ++i) balance(Eg[i], gr[i]);
        for (int i = 0; i < p; ++i) balance(Ea[i], ar[i]);
        for (int j = 0; j < n; ++j) balance(D[j], larger(column_now[j], Qr[j]));
        return any(spread > 2.0);
    }

    void weigh() {
        T logs = constant<T>(0), count = constant<T>(0);
        const T Q_size = Q.largest(), q_size = max_abs(q, ldn), none = constant<T>(0);
        // geometric mean of the right-hand sides, from their exponents
        auto add = [&](const T* v, int length) {
            for (int i = 0; i < length; ++i) {
                const T a = absolute(v[i]);
                logs += a > 0 ? exponent(a) : none;
                count += a > 0 ? constant<T>(1) : none;
            }
        };
        add(h, m);
        add(b, p);
        const T mean = raise(logs / larger(count, constant<T>(1)));
        const T free = Q_size > 0 ? power_of_two(q_size / or_one(Q_size)) : none;
        r = larger(mean, free);
        c = 1 / power_of_two(or_one(larger(Q_size, q_size / r)));
        Q.scale(c);
        for (int j = 0; j < n; ++j) q[j] *= c / r;
        for (int i = 0; i < m; ++i) h[i] /= r;
        for (int i = 0; i < p; ++i) b[i] /= r;
    }
};

}  // namespace CORE
