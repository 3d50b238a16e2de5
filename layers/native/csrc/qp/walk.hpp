// The interior point (Mehrotra 1992) on a group of equilibrated problems: its iterate, and a step.
#pragma once
#include "qp/newton.hpp"

namespace CORE {

constexpr double STEP_FRACTION = 0.995;
// A step shorter than this is worth so many more directions with the same factor.
constexpr double SHORT = 0.75;
constexpr int CENTRED = 1;
constexpr double EXACT = 1e-9;
constexpr int CORRECTIONS_OF_STEP = 1;

template <class T, class Systems>
struct Walk {
    using Matrix = typename Systems::Matrix;
    Group<T, Matrix>& g;
    Systems& sys;
    T *x, *lam, *nu, *s;                               // the iterate
    T *off_stationarity, *off_slack, *off_equality;    // Qx + q + Gᵀλ + Aᵀν, Gx + s − h, Ax − b there
    T *ratio, *weight, *target_s;                      // s/λ, λ/s, and what s is to lose for the sake of complementarity
    T *dx, *dlam, *dnu, *ds, *Gdx;                     // the direction
    T *cx, *clam, *cnu, *Gcx;                          // a correction of it
    T *kx, *klam, *knu, *ks;                           // one that is as good, until another is better

    static long entries(const Data& d) { return 5L * padded<T>(d.n) + 13L * padded<T>(d.m) + 5L * padded<T>(d.p) + 23 * 8; }

    Walk(Arena& a, Group<T, Matrix>& group, Systems& systems) : g(group), sys(systems) {
        for (T** v : {&x, &off_stationarity, &dx, &cx, &kx}) *v = zeros<T>(a, g.ldn);
        for (T** v : {&lam, &s, &off_slack, &ratio, &weight, &target_s, &dlam, &ds, &Gdx, &clam, &Gcx, &klam, &ks}) *v = zeros<T>(a, g.ldm);
        for (T** v : {&nu, &off_equality, &dnu, &cnu, &knu}) *v = zeros<T>(a, g.ldp);
    }

    // Least-squares start, pushed inside: layers/qp/interior_point/iteration.py.
    template <class Sets>
    void initial(Sets& sets) {
        for (int i = 0; i < g.m; ++i) weight[i] = constant<T>(1);
        sys.newton(weight);
        for (int j = 0; j < g.n; ++j) x[j] = -g.q[j];
        std::memcpy(lam, g.h, g.ldm * sizeof(T));
        std::memcpy(nu, g.b, g.ldp * sizeof(T));
        sys.newton_solve(x, lam, nu, Gdx);
        for (int i = 0; i < g.m; ++i) s[i] = -lam[i];
        push(lam);
        push(s);
        measure_residuals(sets);
    }

    // Steps scale the residuals; measured, they forget the errors of the equations.
    template <class Sets>
    void measure_residuals(Sets& sets) {
        sets.residual(x, lam, nu);
        for (int j = 0; j < g.n; ++j) off_stationarity[j] = sets.off.stationarity[j];
        for (int i = 0; i < g.m; ++i) off_slack[i] = s[i] - sets.off.slack[i];
        for (int i = 0; i < g.p; ++i) off_equality[i] = -sets.off.lack[i];
    }

    // One predictor-corrector step; returns its length.
    T step(T mu, bool corrected) {
        for (int i = 0; i < g.m; ++i) {
            ratio[i] = s[i] / lam[i];
            weight[i] = 1 / (ratio[i] + WEIGHT_SHIFT);
        }
        sys.newton(weight);
        for (int i = 0; i < g.m; ++i) target_s[i] = s[i];
        direction(corrected);
        const T reach = longest(1.0);
        const T rest = 1 - reach, sigma = rest * rest * rest * mu;
        // The predictor is walked only as far as `reach`: that is what its second-order term is worth.
        for (int i = 0; i < g.m; ++i) target_s[i] = s[i] - (sigma - reach * reach * ds[i] * dlam[i]) / lam[i];
        direction(corrected);
        T alpha = longest(STEP_FRACTION);
        for (int k = 0; k < CENTRED && any(alpha < SHORT); ++k)
            if (!centre(sigma, corrected, alpha)) break;
        for (int j = 0; j < g.n; ++j) x[j] += alpha * dx[j];
        for (int i = 0; i < g.m; ++i) {
            lam[i] += alpha * dlam[i];
            s[i] += alpha * ds[i];
        }
        for (int i = 0; i < g.p; ++i) nu[i] += alpha * dnu[i];
        const T left = 1 - alpha;
        for (int j = 0; j < g.n; ++j) off_stationarity[j] *= left;
        for (int i = 0; i < g.m; ++i) off_slack[i] *= left;
        for (int i = 0; i < g.p; ++i) off_equality[i] *= left;
        return alpha;
    }

  private:
    // Products λᵢsᵢ that a longer step would leave far from σμ are what keeps it short: a direction that brings them nearer (Gondzio 1996),
    // in the lanes where it may be walked farther. Whether there is one.
    bool centre(T sigma, bool corrected, T& alpha) {
        const T far = smaller(alpha + 0.3, constant<T>(1));
        for (int i = 0; i < g.m; ++i) {
            const T product = (lam[i] + far * dlam[i]) * (s[i] + far * ds[i]);
            const T nearest = smaller(larger(product, 0.1 * sigma), 10.0 * sigma);
            target_s[i] -= larger(nearest - product, -10.0 * sigma) / lam[i];
        }
        std::memcpy(kx, dx, g.ldn * sizeof(T));
        std::memcpy(klam, dlam, g.ldm * sizeof(T));
        std::memcpy(ks, ds, g.ldm * sizeof(T));
        std::memcpy(knu, dnu, g.ldp * sizeof(T));
        direction(corrected);
        const T reached = longest(STEP_FRACTION);
        const typename Lane<T>::Mask better = reached > alpha + 0.03;
        for (int j = 0; j < g.n; ++j) dx[j] = better ? dx[j] : kx[j];
        for (int i = 0; i < g.m; ++i) {
            dlam[i] = better ? dlam[i] : klam[i];
            ds[i] = better ? ds[i] : ks[i];
        }
        for (int i = 0; i < g.p; ++i) dnu[i] = better ? dnu[i] : knu[i];
        alpha = better ? reached : alpha;
        return any(better);
    }

    void push(T* v) const {
        T lowest = v[0];
        for (int i = 1; i < g.m; ++i) lowest = smaller(lowest, v[i]);
        const T margin = 1e-2 * max_abs(v, g.ldm);
        const T shift = lowest > margin ? constant<T>(0) : 1.0 - lowest;
        for (int i = 0; i < g.m; ++i) v[i] += shift;
    }

    // Newton direction for `off_…` and complementarity λ ∘ target_s.
    void direction(bool corrected) {
        for (int j = 0; j < g.n; ++j) dx[j] = -off_stationarity[j];
        for (int i = 0; i < g.m; ++i) dlam[i] = target_s[i] - off_slack[i];
        for (int i = 0; i < g.p; ++i) dnu[i] = -off_equality[i];
        const T given = larger(larger(max_abs(dx, g.ldn), max_abs(dlam, g.ldm)), max_abs(dnu, g.ldp));
        sys.newton_solve(dx, dlam, dnu, Gdx);
        if (corrected && Systems::CORRECTED) correct(given);
        // of complementarity, so that a slack of 1e-14 is not lost in the rounding of Gx
        for (int i = 0; i < g.m; ++i) ds[i] = -target_s[i] - ratio[i] * dlam[i];
    }

    // The factor is that of a regularised matrix, and weights on dependent rows cost it digits. What is `left` of the equations, beside what
    // was given, tells whether that matters.
    void correct(T given) {
        T before = constant<T>(1e300);
        for (int k = 0; k < CORRECTIONS_OF_STEP; ++k) {
            g.Q.multiply(dx, cx);
            for (int j = 0; j < g.n; ++j) cx[j] += off_stationarity[j];
            g.G.add_transposed(dlam, cx);
            g.A.add_transposed(dnu, cx);
            for (int j = 0; j < g.n; ++j) cx[j] = -cx[j];
            for (int i = 0; i < g.m; ++i) clam[i] = target_s[i] - off_slack[i] - Gdx[i] + ratio[i] * dlam[i];
            g.A.multiply(dx, cnu);
            for (int i = 0; i < g.p; ++i) cnu[i] = -off_equality[i] - cnu[i];
            const T left = larger(larger(max_abs(cx, g.ldn), max_abs(clam, g.ldm)), max_abs(cnu, g.ldp));
            if (!any((left > EXACT * given) & (left < 0.1 * before))) return;
            before = left;
            sys.newton_solve(cx, clam, cnu, Gcx);
            for (int j = 0; j < g.n; ++j) dx[j] += cx[j];
            for (int i = 0; i < g.m; ++i) {
                dlam[i] += clam[i];
                Gdx[i] += Gcx[i];
            }
            for (int i = 0; i < g.p; ++i) dnu[i] += cnu[i];
        }
    }

    T longest(double fraction) const {
        V least = Lane<T>::splat(constant<T>(1 / fraction));
        const V far = least;
        for (int i = 0; i < g.ldm; i += Lane<T>::width) {
            const V a = pack(dlam + i), b = pack(ds + i);
            least = smaller(least, a < 0 ? -pack(lam + i) / a : far);
            least = smaller(least, b < 0 ? -pack(s + i) / b : far);
        }
        return smaller(fraction * Lane<T>::min(least), constant<T>(1));
    }
};

}  // namespace CORE
