// The linear system of the derivative, K x = r on the active rows: layers/adjoints/implicit.py. Elements with weakly active constraints
// or a singular K are left to the torch engine by an infinite error.
#pragma once
#include "newton.hpp"

namespace CORE {

using convex_layers::Linearised;

constexpr int STEPS = 8;  // of refinement
constexpr double FINE = 2e-15;

template <class T>
struct Derivative {
    Group<T> g;
    Systems<T> sys;
    T *on, *rz, *rl, *rn, *x, *lam, *nu, *tz, *tl, *tn, *cx, *cy, error;

    static long bytes(int n, int m, int p) {
        const long vectors = 4L * padded<T>(n) + 4L * padded<T>(m) + 4L * padded<T>(p) + padded<T>(n + p) + 14 * 8;
        return (Group<T>::entries(n, m, p) + Systems<T>::entries(n, m, p) + vectors) * (long)sizeof(T) + 8192;
    }

    Derivative(Arena& a, int n, int m, int p) : g(a, n, m, p), sys(a, g) {
        rz = zeros<T>(a, g.ldn), x = zeros<T>(a, g.ldn), tz = zeros<T>(a, g.ldn), cx = zeros<T>(a, g.ldn);
        on = zeros<T>(a, g.ldm), rl = zeros<T>(a, g.ldm), lam = zeros<T>(a, g.ldm), tl = zeros<T>(a, g.ldm);
        rn = zeros<T>(a, g.ldp), nu = zeros<T>(a, g.ldp), tn = zeros<T>(a, g.ldp);
        cy = zeros<T>(a, padded<T>(sys.limit) + padded<T>(p));
    }

    // Whether the element is one for this engine; its lane stays at zero otherwise.
    bool load(const Linearised& call, long index, int lane) {
        const signed char* kind = call.kind + index * g.m;
        bool plain = call.status[index] == 0;
        for (int i = 0; i < g.m; ++i) plain = plain && (kind[i] == 0 || kind[i] == 1);
        for (int i = 0; i < g.m; ++i) {
            Lane<T>::set(on[i], lane, plain ? kind[i] : 0);
            Lane<T>::set(rl[i], lane, plain && kind[i] == 1 ? call.r_lam[index * g.m + i] : 0);
        }
        for (int j = 0; j < g.n; ++j) Lane<T>::set(rz[j], lane, plain ? call.r_z[index * g.n + j] : 0);
        for (int i = 0; i < g.p; ++i) Lane<T>::set(rn[i], lane, plain ? call.r_nu[index * g.p + i] : 0);
        return plain;
    }

    void run() {
        g.equilibrate(), sys.prepare(CURVATURE), sys.active(on);
        for (int j = 0; j < g.n; ++j) rz[j] *= g.c * g.D[j];
        for (int i = 0; i < g.m; ++i) rl[i] *= g.Eg[i];
        for (int i = 0; i < g.p; ++i) rn[i] *= g.Ea[i];
        error = constant<T>(1e300);
        for (int step = 0; step < STEPS; ++step) {
            residual(step == 0);
            correct();
            residual(false);
            const T now = backward_error();
            const bool better = any(now < 0.5 * error);
            error = now;
            if (!better || !any(now > FINE)) break;
        }
        error = sys.singular ? constant<T>(__builtin_inf()) : error;
    }

    void store(const Linearised& call, long index, int lane, bool plain) const {
        const bool solved = call.status[index] == 0;
        for (int j = 0; j < g.n; ++j) call.x_z[index * g.n + j] = solved ? Lane<T>::get(g.D[j] * x[j], lane) : 0;
        for (int i = 0; i < g.m; ++i) call.x_lam[index * g.m + i] = solved ? Lane<T>::get(g.Eg[i] * lam[i] / g.c, lane) : 0;
        for (int i = 0; i < g.p; ++i) call.x_nu[index * g.p + i] = solved ? Lane<T>::get(g.Ea[i] * nu[i] / g.c, lane) : 0;
        call.error[index] = !solved ? 0 : plain ? Lane<T>::get(error, lane) : __builtin_inf();
    }

  private:
    // t = r − K x
    void residual(bool at_zero) {
        std::memcpy(tz, rz, g.ldn * sizeof(T)), std::memcpy(tl, rl, g.ldm * sizeof(T)), std::memcpy(tn, rn, g.ldp * sizeof(T));
        if (at_zero) return;
        multiply(g.Q, g.n, g.ldn, x, cx);
        add_transposed(g.G, g.m, g.ldn, lam, cx);
        add_transposed(g.A, g.p, g.ldn, nu, cx);
        for (int j = 0; j < g.n; ++j) tz[j] -= cx[j];
        multiply(g.G, g.m, g.ldn, x, rows());
        for (int i = 0; i < g.m; ++i) tl[i] = on[i] > 0.5 ? tl[i] - rows()[i] : constant<T>(0);
        multiply(g.A, g.p, g.ldn, x, cy);
        for (int i = 0; i < g.p; ++i) tn[i] -= cy[i];
    }
    T* rows() { return g.g_now; }

    void correct() {
        std::memcpy(cx, tz, g.ldn * sizeof(T));
        clear(cy, padded<T>(sys.k + g.p));
        for (int lane = 0; lane < Lane<T>::count; ++lane)
            for (int i = 0; i < sys.count[lane]; ++i) Lane<T>::set(cy[i], lane, Lane<T>::get(tl[sys.row(lane, i)], lane));
        for (int i = 0; i < g.p; ++i) cy[sys.k + i] = tn[i];
        sys.active_solve(cx, cy);
        for (int j = 0; j < g.n; ++j) x[j] += cx[j];
        for (int lane = 0; lane < Lane<T>::count; ++lane)
            for (int i = 0; i < sys.count[lane]; ++i) {
                T& value = lam[sys.row(lane, i)];
                Lane<T>::set(value, lane, Lane<T>::get(value, lane) + Lane<T>::get(cy[i], lane));
            }
        for (int i = 0; i < g.p; ++i) nu[i] += cy[sys.k + i];
    }

    // Largest residual relative to r and to the terms that a row adds up, whose coefficients are near one: the measure of
    // layers/active_system.py.
    T backward_error() const {
        const T given = larger(larger(max_abs(rz, g.ldn), max_abs(rl, g.ldm)), max_abs(rn, g.ldp));
        const T size_z = max_abs(x, g.ldn), size_y = larger(max_abs(lam, g.ldm), max_abs(nu, g.ldp));
        const T top = max_abs(tz, g.ldn) / or_one(larger(given, larger(size_z, size_y)));
        const T rows_left = larger(max_abs(tl, g.ldm), max_abs(tn, g.ldp)) / or_one(larger(given, size_z));
        // comparisons drop NaN: a sum does not
        T sum = constant<T>(0);
        for (int j = 0; j < g.n; ++j) sum += tz[j] + x[j];
        return sum - sum == 0 ? larger(top, rows_left) : constant<T>(__builtin_inf());
    }
};

}  // namespace CORE
