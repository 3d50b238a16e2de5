// The two linear systems of the engine where Q is diagonal and every row of G holds one variable: Q + GᵀWG is diagonal then, and all that
// is to be factorised is the Schur complement A (Q + GᵀWG)⁻¹ Aᵀ.
#pragma once
#include "qp/sparse.hpp"

namespace CORE {

template <class T>
struct SeparableSystems {
    using Mask = typename Lane<T>::Mask;
    using Matrix = Zeros<T>;
    static constexpr bool CORRECTED = false;
    Group<T, Matrix>& g;
    int ldp;
    T *At, *half, *S, *S_inverse, *diagonal, *root_inverse, *weight, *y, *probe;
    T curvature_pivot;
    Mask singular, suspicious;

    static long entries(const Data& d, const Sparse*) {
        const long ldp = padded<T>(d.p), ldn = padded<T>(d.n);
        return 2 * d.n * ldp + ldp * ldp + 2 * ldp + 2 * ldn + 2 * padded<T>(d.m) + 9 * 8;
    }

    SeparableSystems(Arena& arena, Group<T, Matrix>& group, const Sparse*) : g(group), ldp(padded<T>(group.p)) {
        At = zeros<T>(arena, (long)g.n * ldp);
        half = zeros<T>(arena, (long)g.n * ldp);
        S = zeros<T>(arena, (long)ldp * ldp);
        S_inverse = zeros<T>(arena, ldp);
        y = zeros<T>(arena, ldp);
        weight = zeros<T>(arena, g.ldm);
        probe = zeros<T>(arena, g.ldm);
        diagonal = zeros<T>(arena, g.ldn);
        root_inverse = zeros<T>(arena, g.ldn);
        singular = constant<T>(0) > 1.0;
    }

    double unclear_rows() const { return -1; }
    bool quick() const { return false; }
    bool sets_first() const { return false; }
    bool one_set_of_multipliers() const { return true; }

    void prepare(double rounding, bool) {
        const T shift = larger(rounding * g.scale * g.c, constant<T>(LEAST_SHIFT));
        curvature_pivot = constant<T>(1e300);
        g.Q.each([&](int i, int, int k) { diagonal[i] = g.Q.data[k]; });
        for (int j = 0; j < g.n; ++j) curvature_pivot = smaller(curvature_pivot, diagonal[j] + shift * g.D[j] * g.D[j]);
        g.A.each([&](int i, int j, int k) { At[(long)j * ldp + i] = g.A.data[k]; });
    }

    void newton(const T* w) {
        std::memcpy(weight, w, g.ldm * sizeof(T));
        build();
    }
    // As in newton.hpp.
    void newton_solve(T* x, T* lam, T* nu, T* Gx) const {
        for (int i = 0; i < g.m; ++i) lam[i] *= weight[i];
        g.G.add_transposed(lam, x);
        solve(x, nu);
        g.G.multiply(x, Gx);
        for (int i = 0; i < g.m; ++i) lam[i] = weight[i] * Gx[i] - lam[i];
    }

    // Active rows are enforced up to SHIFT times their multiplier; refinement does the rest.
    void active(const T* on) {
        for (int i = 0; i < g.m; ++i) weight[i] = on[i] * (1 / SHIFT);
        build();
    }
    void active_solve(T* x, const T* rows_rhs, T* lam, T* nu) const {
        g.G.each([&](int i, int j, int k) { x[j] += g.G.data[k] * weight[i] * rows_rhs[i]; });
        solve(x, nu);
        for (int i = 0; i < g.m; ++i) lam[i] = constant<T>(0);
        g.G.each([&](int i, int j, int k) { lam[i] = weight[i] * (g.G.data[k] * x[j] - rows_rhs[i]); });
    }

    // As in sparse.hpp.
    void judge() {
        Samples samples;
        T *x = g.spare_now, *rhs = g.g_now, *nu = g.a_now, worst = constant<T>(0);
        clear(x, g.ldn);
        for (int j = 0; j < g.n; ++j) x[j] = constant<T>(samples.next());
        for (int i = 0; i < g.m; ++i) rhs[i] = constant<T>(samples.next());
        for (int i = 0; i < g.p; ++i) nu[i] = constant<T>(samples.next());
        active_solve(x, rhs, probe, nu);
        for (int j = 0; j < g.n; ++j) worst = larger(worst, absolute(x[j]));
        for (int i = 0; i < g.m; ++i) worst = larger(worst, absolute(probe[i]));
        for (int i = 0; i < g.p; ++i) worst = larger(worst, absolute(nu[i]));
        suspicious = negate(worst < SUSPICIOUS);
    }

  private:
    void build() {
        for (int j = 0; j < g.n; ++j) root_inverse[j] = diagonal[j] + SHIFT;
        g.G.each([&](int i, int j, int k) { root_inverse[j] += weight[i] * g.G.data[k] * g.G.data[k]; });
        for (int j = 0; j < g.n; ++j) root_inverse[j] = 1.0 / root(root_inverse[j]);
        if (!g.p) return;
        for (int j = 0; j < g.n; ++j) {
            const V f = Lane<T>::splat(root_inverse[j]);
            for (int i = 0; i < ldp; i += Lane<T>::width) pack(half + (long)j * ldp + i) = f * pack(At + (long)j * ldp + i);
        }
        clear(S, ldp * g.p);
        add_gram(half, half, g.n, g.p, ldp, S);
        for (int i = 0; i < g.p; ++i) S[(long)i * ldp + i] += constant<T>(SHIFT);
        T lowest;
        factor(S, g.p, ldp, S_inverse, constant<T>(0), lowest);
    }

    void solve(T* x, T* nu) const {
        for (int j = 0; j < g.n; ++j) x[j] *= root_inverse[j];
        if (g.p) {
            for (int i = 0; i < g.p; ++i) y[i] = -nu[i];
            add_transposed(half, g.n, ldp, x, y);
            solve_transposed(S, g.p, ldp, S_inverse, y);
            solve_upper(S, g.p, ldp, S_inverse, y);
            for (int j = 0; j < g.n; ++j) x[j] -= dot(half + (long)j * ldp, y, ldp);
            for (int i = 0; i < g.p; ++i) nu[i] = y[i];
        }
        for (int j = 0; j < g.n; ++j) x[j] *= root_inverse[j];
    }
};

}  // namespace CORE
