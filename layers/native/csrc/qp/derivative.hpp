// The linear system of the derivative, K x = r on the active rows: layers/qp/adjoints/implicit.py. Elements with weakly active constraints
// or a singular K are left to the torch engine by an infinite error.
#pragma once
#include "qp/newton.hpp"

namespace CORE {

using convex_layers::Activity;
using convex_layers::Linearised;

constexpr int STEPS = 8;  // of refinement
constexpr double FINE = 2e-15;

template <class T, class Systems>
struct Derivative {
    using Matrix = typename Systems::Matrix;
    Group<T, Matrix> g;
    Systems sys;
    T *on, *rz, *rl, *rn, *x, *lam, *nu, *tz, *tl, *tn, *cx, *clam, *cnu, error;

    static long bytes(const Data& d, const Sparse* plan) {
        const long vectors = 4L * padded<T>(d.n) + 5L * padded<T>(d.m) + 4L * padded<T>(d.p) + 15 * 8;
        const long entries = Group<T, Matrix>::entries(d, plan) + Systems::entries(d, plan) + vectors;
        return entries * (long)sizeof(T) + 64 * 128 + (long)sizeof(Derivative);
    }

    Derivative(Arena& a, const Data& d, const Sparse* plan) : g(a, d, plan), sys(a, g, plan) {
        rz = zeros<T>(a, g.ldn), x = zeros<T>(a, g.ldn), tz = zeros<T>(a, g.ldn), cx = zeros<T>(a, g.ldn);
        on = zeros<T>(a, g.ldm), rl = zeros<T>(a, g.ldm), lam = zeros<T>(a, g.ldm), tl = zeros<T>(a, g.ldm);
        rn = zeros<T>(a, g.ldp), nu = zeros<T>(a, g.ldp), tn = zeros<T>(a, g.ldp);
        clam = zeros<T>(a, g.ldm), cnu = zeros<T>(a, g.ldp);
    }

    // Whether the element is one for this engine; its lane stays at zero otherwise.
    bool load(const Linearised& call, long index, int lane) {
        const signed char* kind = call.kind + index * g.m;
        bool plain = call.status[index] == 0;
        for (int i = 0; i < g.m; ++i) plain = plain && (kind[i] == Activity::INACTIVE || kind[i] == Activity::ACTIVE);
        for (int i = 0; i < g.m; ++i) {
            Lane<T>::set(on[i], lane, plain ? kind[i] : 0);
            Lane<T>::set(rl[i], lane, plain && kind[i] == 1 ? call.r_lam[index * g.m + i] : 0);
        }
        for (int j = 0; j < g.n; ++j) Lane<T>::set(rz[j], lane, plain ? call.r_z[index * g.n + j] : 0);
        for (int i = 0; i < g.p; ++i) Lane<T>::set(rn[i], lane, plain ? call.r_nu[index * g.p + i] : 0);
        return plain;
    }

    void run() {
        g.equilibrate(), sys.prepare(CURVATURE, false), sys.active(on), sys.judge();
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
        g.Q.multiply(x, cx);
        g.G.add_transposed(lam, cx);
        g.A.add_transposed(nu, cx);
        for (int j = 0; j < g.n; ++j) tz[j] -= cx[j];
        g.G.multiply(x, clam);
        for (int i = 0; i < g.m; ++i) tl[i] = on[i] > 0.5 ? tl[i] - clam[i] : constant<T>(0);
        g.A.multiply(x, cnu);
        for (int i = 0; i < g.p; ++i) tn[i] -= cnu[i];
    }

    void correct() {
        std::memcpy(cx, tz, g.ldn * sizeof(T)), std::memcpy(cnu, tn, g.ldp * sizeof(T));
        sys.active_solve(cx, tl, clam, cnu);
        for (int j = 0; j < g.n; ++j) x[j] += cx[j];
        for (int i = 0; i < g.m; ++i) lam[i] += clam[i];
        for (int i = 0; i < g.p; ++i) nu[i] += cnu[i];
    }

    // Largest residual relative to r and to the terms that a row adds up, whose coefficients are near one: the measure of
    // layers/qp/active_set.py.
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
