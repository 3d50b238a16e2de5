// The linear system of the derivative, K x = r on the active rows: layers/qp/adjoints/implicit.py. Elements with weakly active constraints
// or a singular K go on to degenerate.cpp with an infinite error, their r untouched.
#pragma once
#include "qp/sparse.hpp"

namespace CORE {

using convex_layers::Activity;
using convex_layers::Linearised;

constexpr int STEPS = 8;  // of refinement
constexpr double FINE = 2e-15;
// Row by row, against the terms of each, or, where nothing is given, this part of those of connected rows; a bound may be coarse.
constexpr double FINE_ROWS = 1e-11, FINE_BOUND = 1e-12, LEAST_TERMS = 1e-5;
constexpr double GONE = 1e-6;  // of a vector of size one
// Where rows are so much stiffer than curvature they are corrected by themselves, while a correction leaves less than so much of what is left,
// or until so much of what is given is: along a chain each leaves two thirds.
constexpr double STIFF = 1e6, SETTLES = 0.9;
constexpr int SETTLINGS = 150;
constexpr double SETTLED = 1e-25;

template <class T, class Systems>
struct Derivative {
    using Matrix = typename Systems::Matrix;
    Group<T, Matrix> g;
    Systems sys;
    T *on, *rz, *rl, *rn, *x, *lam, *nu, *tz, *tl, *tn, *cx, *clam, *cnu, *sx, *slam, *snu, error;

    static long bytes(const Data& d, const Sparse* plan) {
        const long vectors = 5L * padded<T>(d.n) + 6L * padded<T>(d.m) + 5L * padded<T>(d.p) + 18 * 8;
        const long entries = Group<T, Matrix>::entries(d, plan) + Systems::entries(d, plan) + vectors;
        return entries * (long)sizeof(T) + 64 * 128 + (long)sizeof(Derivative);
    }

    Derivative(Arena& a, const Data& d, const Sparse* plan) : g(a, d, plan), sys(a, g, plan) {
        rz = zeros<T>(a, g.ldn);
        x = zeros<T>(a, g.ldn);
        tz = zeros<T>(a, g.ldn);
        cx = zeros<T>(a, g.ldn);
        on = zeros<T>(a, g.ldm);
        rl = zeros<T>(a, g.ldm);
        lam = zeros<T>(a, g.ldm);
        tl = zeros<T>(a, g.ldm);
        rn = zeros<T>(a, g.ldp);
        nu = zeros<T>(a, g.ldp);
        tn = zeros<T>(a, g.ldp);
        clam = zeros<T>(a, g.ldm);
        cnu = zeros<T>(a, g.ldp);
        sx = zeros<T>(a, g.ldn);
        slam = zeros<T>(a, g.ldm);
        snu = zeros<T>(a, g.ldp);
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
        g.equilibrate();
        sys.prepare(CURVATURE, false);
        sys.active(on);
        sys.judge();
        if (any(sys.suspicious)) probe();
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
        if (any(g.c > STIFF)) settle();
        error = larger(error, by_rows());
        for (int step = 0; step < STEPS && any(error > FINE_ROWS) && !any(error > 1e299); ++step) {
            const T before = error;
            correct();
            residual(false);
            if (any(g.c > STIFF)) settle();  // w / Q is in every correction
            error = larger(backward_error(), by_rows());
            if (!any(error < 0.5 * before)) break;
        }
        error = sys.singular ? constant<T>(__builtin_inf()) : error;
    }

    void store(const Linearised& call, long index, int lane, bool plain) const {
        const bool solved = call.status[index] == 0;
        const double reached = !solved ? 0 : plain ? Lane<T>::get(error, lane) : __builtin_inf();
        call.error[index] = reached;
        if (!(reached <= convex_layers::ANSWERED)) return;
        for (int j = 0; j < g.n; ++j) call.x_z[index * g.n + j] = solved ? Lane<T>::get(g.D[j] * x[j], lane) : 0;
        for (int i = 0; i < g.m; ++i) call.x_lam[index * g.m + i] = solved ? Lane<T>::get(g.Eg[i] * lam[i] / g.c, lane) : 0;
        for (int i = 0; i < g.p; ++i) call.x_nu[index * g.p + i] = solved ? Lane<T>::get(g.Ea[i] * nu[i] / g.c, lane) : 0;
    }

  private:
    // What the regularised inverse K' never takes off a vector x, as x becomes x − K'K x, is what K does not see: on the range of K it takes
    // off all but SHIFT / σ each time. A pivot does not tell where a null vector has many entries.
    void probe() {
        Samples samples;
        for (int j = 0; j < g.n; ++j) x[j] = constant<T>(samples.next());
        for (int i = 0; i < g.m; ++i) lam[i] = on[i] * samples.next();
        for (int i = 0; i < g.p; ++i) nu[i] = constant<T>(samples.next());
        T size = constant<T>(1), before = size;
        auto goes = sys.suspicious;
        for (int step = 0; step < STEPS && any(goes); ++step) {
            residual(false, true);
            correct();
            before = size;
            size = larger(max_abs(x, g.ldn), larger(max_abs(lam, g.ldm), max_abs(nu, g.ldp)));
            goes = sys.suspicious & negate(size < GONE);
        }
        sys.singular = sys.singular | (goes & negate(size < 0.5 * before));
        clear(x, g.ldn);
        clear(lam, g.ldm);
        clear(nu, g.ldp);
    }

    // t = r − K x, or −K x
    void residual(bool at_zero, bool alone = false) {
        if (alone) {
            clear(tz, g.ldn);
            clear(tl, g.ldm);
            clear(tn, g.ldp);
        } else {
            std::memcpy(tz, rz, g.ldn * sizeof(T));
            std::memcpy(tl, rl, g.ldm * sizeof(T));
            std::memcpy(tn, rn, g.ldp * sizeof(T));
        }
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
        std::memcpy(cx, tz, g.ldn * sizeof(T));
        std::memcpy(cnu, tn, g.ldp * sizeof(T));
        sys.active_solve(cx, tl, clam, cnu);
        for (int j = 0; j < g.n; ++j) x[j] += cx[j];
        for (int i = 0; i < g.m; ++i) lam[i] += clam[i];
        for (int i = 0; i < g.p; ++i) nu[i] += cnu[i];
    }

    // What rows hold at zero is rounding of what curvature alone would let x be, w / Q: beside a curvature of 1e-13 no small number. A
    // correction of the rows alone leaves rounding of their own residual, which does not see w.
    void settle() {
        const T none = constant<T>(0), enough = SETTLED * larger(max_abs(rz, g.ldn) / g.c, larger(max_abs(rl, g.ldm), max_abs(rn, g.ldp)));
        T before = constant<T>(1e300);
        for (int step = 0; step < SETTLINGS; ++step) {
            const T left = larger(max_abs(tl, g.ldm), max_abs(tn, g.ldp));
            if (!any((g.c > STIFF) & (left > enough) & (left < SETTLES * before))) return;
            before = left;
            clear(tz, g.ldn);
            for (int i = 0; i < g.m; ++i) tl[i] = g.c > STIFF ? tl[i] : none;
            for (int i = 0; i < g.p; ++i) tn[i] = g.c > STIFF ? tn[i] : none;
            correct();
            residual(false);
        }
    }

    // Largest residual relative to the largest term of its own row, so that no part of a problem excuses another. Where what should be zero
    // is rounding, as x at a vertex, the terms of connected rows count for a part: layers/qp/active_set.py.
    T by_rows() {
        // At least that large: with the terms of x and of the right-hand side, in its own row and, for a part, in those of connected rows.
        const bool of_z_alone = !any(larger(max_abs(rl, g.ldm), max_abs(rn, g.ldp)) > 0.0);
        const T part = constant<T>(of_z_alone ? LEAST_TERMS : 0);
        for (int j = 0; j < g.ldn; ++j) sx[j] = larger(absolute(x[j]), part * absolute(rz[j]));
        g.G.largest_terms(sx, slam);
        g.A.largest_terms(sx, snu);
        for (int i = 0; i < g.m; ++i) slam[i] = larger(on[i] * slam[i], absolute(rl[i]));
        for (int i = 0; i < g.p; ++i) snu[i] = larger(snu[i], absolute(rn[i]));
        for (int j = 0; j < g.n; ++j) sx[j] = absolute(rz[j]);
        T worst = relative();
        if (!any(worst > FINE_BOUND)) return worst;
        for (int j = 0; j < g.ldn; ++j) cx[j] = absolute(x[j]);
        for (int i = 0; i < g.m; ++i) clam[i] = absolute(lam[i]);
        for (int i = 0; i < g.p; ++i) cnu[i] = absolute(nu[i]);
        spread();
        for (int j = 0; j < g.n; ++j) sx[j] = larger(cx[j], sx[j]);
        worst = relative();
        if (!any(worst > FINE_ROWS)) return worst;
        std::memcpy(cx, sx, g.ldn * sizeof(T));
        std::memcpy(clam, slam, g.ldm * sizeof(T));
        std::memcpy(cnu, snu, g.ldp * sizeof(T));
        spread(true);
        spread(true);
        const T least = constant<T>(LEAST_TERMS), none = constant<T>(0);
        for (int j = 0; j < g.n; ++j) sx[j] = larger(sx[j], (rz[j] == 0 ? least : none) * cx[j]);
        for (int i = 0; i < g.m; ++i) slam[i] = larger(slam[i], (rl[i] == 0 ? least : none) * clam[i]);
        for (int i = 0; i < g.p; ++i) snu[i] = larger(snu[i], (rn[i] == 0 ? least : none) * cnu[i]);
        return relative();
    }

    // The largest residual relative to the sizes (sx, slam, snu).
    T relative() const {
        T worst = constant<T>(0);
        for (int j = 0; j < g.n; ++j) worst = larger(worst, absolute(tz[j]) / or_one(sx[j]));
        for (int i = 0; i < g.m; ++i) worst = larger(worst, absolute(tl[i]) / or_one(slam[i]));
        for (int i = 0; i < g.p; ++i) worst = larger(worst, absolute(tn[i]) / or_one(snu[i]));
        return worst;
    }

    // Each of (cx, clam, cnu) becomes the largest |K| c of its row, or stays where it `keeps` what is larger. The norms of the caller's
    // data and (h, b), which nothing needs here, make room.
    void spread(bool keeps = false) {
        const T share = constant<T>(keeps ? 1 : 0);
        g.Q.largest_terms(cx, g.Q_now);
        clear(g.column_now, g.ldn);
        g.G.largest_terms_transposed(clam, g.column_now);
        g.A.largest_terms_transposed(cnu, g.column_now);
        g.G.largest_terms(cx, g.h);
        g.A.largest_terms(cx, g.b);
        for (int j = 0; j < g.n; ++j) cx[j] = larger(share * cx[j], larger(g.Q_now[j], g.column_now[j]));
        for (int i = 0; i < g.m; ++i) clam[i] = on[i] * larger(share * clam[i], g.h[i]);
        for (int i = 0; i < g.p; ++i) cnu[i] = larger(share * cnu[i], g.b[i]);
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
