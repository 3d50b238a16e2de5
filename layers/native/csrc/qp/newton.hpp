// The two linear systems of the engine for dense matrices, factorised in the same buffers: the Newton matrix of the interior point and the KKT matrix of
// an active set. Formulas: layers/linalg/saddle.py and layers/qp/active_set.py.
#pragma once
#include "qp/rows.hpp"

namespace CORE {

constexpr double SHIFT = 1e-9;          // regularisation of an equilibrated system
constexpr double PIVOT = 4 * SHIFT;     // a pivot below this: the true matrix is singular
constexpr double HIDDEN = 1e-6;         // behind a pivot below this a null vector of many entries may hide
constexpr double STRICT = 1e-4;         // smallest pivot of Q with which Q alone is factorised
constexpr double WEIGHT_SHIFT = 1e-11;  // weights λ/s are at most the inverse of this
constexpr double LEAST_SHIFT = 1e-200;   // lets Q = 0 pass as semidefinite
constexpr double INDEPENDENT = 1e-6;    // active rows with a larger pivot have one set of multipliers beyond doubt
constexpr double ROOM = 0.8;            // active rows to be expected, beside the variables
constexpr double CHEAP = 0.25;          // an active set at this share of a step is tried at once
constexpr int DEPTH = 64;               // rows of G that are weighed at a time

template <class T>
struct DenseSystems {
    using Mask = typename Lane<T>::Mask;
    using Matrix = Dense<T>;
    static constexpr bool CORRECTED = false;
    Group<T, Matrix>& g;
    static constexpr bool SINGLE = Lane<T>::count == 1;
    // Q alone: the factor of Q + ε I, its smallest pivot, and whether all lanes can do with it.
    T *curvature, *curvature_inverse, curvature_pivot;
    bool curved;
    // A step of the interior point: Q + AᵀA, once it has been computed, and the factor of that with GᵀWG, a few weighted rows at a time.
    T *base, *U, *inverse, *weighted;
    const T* weight;
    bool based;
    // The rows of a Schur complement, those of A in a step and the active ones of a set: half = U⁻ᵀCᵀ and the factor of S = halfᵀhalf.
    T *half, *S, *S_inverse;
    int ldk;  // columns of half and S
    // An active set: its rows of every lane, `limit` each, their number and the largest, the rows gathered, and a right-hand side.
    int* rows;
    int count[Lane<T>::count], limit, k;
    T *C, *y;
    const T *factor_, *factor_inverse;  // U or curvature
    T independence;                     // smallest pivot of the Schur complement
    Mask singular, suspicious;
    // Of a single problem, for the engine, which tries several sets: what is known of the rows, and the set, active rows of G, then all of A.
    KnownRows known;
    int* set;
    bool reuses;

    // At a degenerate vertex more rows are active than there are variables.
    static int most_rows(int n, int m) { return m < 2 * n ? m : 2 * n; }

    static long entries(const Data& d, const Sparse*) {
        const long n = d.n, ldn = padded<T>(d.n), ldm = padded<T>(d.m), ldk = padded<T>(most_rows(d.n, d.m) + d.p);
        const long reused = SINGLE ? KnownRows::entries(n, d.m + d.p, most_rows(d.n, d.m) + d.p) + ldk / 2 + 8 : 0;
        return reused + ldn * n * 3 + ldk * (n + ldk) + ldn * DEPTH + ldk * ldn + 3 * ldn + 2 * ldk + ldm + 17 * 8 + (long)ldk * Lane<T>::count;
    }

    DenseSystems(Arena& arena, Group<T, Matrix>& group, const Sparse*) : g(group) {
        const int n = g.n, p = g.p;
        limit = most_rows(n, g.m) + p;
        ldk = padded<T>(limit);
        base = raw<T>(arena, (long)n * g.ldn);
        curvature = raw<T>(arena, (long)n * g.ldn);
        U = raw<T>(arena, (long)n * g.ldn);
        inverse = zeros<T>(arena, g.ldn);
        curvature_inverse = zeros<T>(arena, g.ldn);
        half = raw<T>(arena, (long)n * ldk);
        S = raw<T>(arena, (long)ldk * ldk);
        S_inverse = zeros<T>(arena, ldk);
        weighted = raw<T>(arena, (long)DEPTH * g.ldn);
        C = raw<T>(arena, (long)ldk * g.ldn);
        y = zeros<T>(arena, ldk);
        rows = zeros<int>(arena, (long)ldk * Lane<T>::count);
        if constexpr (SINGLE) {
            known.reserve(arena, n, g.m + p, limit);
            set = zeros<int>(arena, ldk);
        }
    }

    // Whether an active set costs little beside a step, and the share of unclear rows with which one is tried.
    bool quick() const { return reuses; }
    double unclear_rows() const { return reuses && cheap_sets() ? 1 : 0.05; }

    // Whether active sets are tried before any step.
    bool sets_first() const { return reuses && (cheap_sets() || roomy(g.n, g.m, g.p)); }
    bool one_set_of_multipliers() const { return !any(singular) && !any(independence < INDEPENDENT); }
    // Where half of the inequalities leave room among the variables, corrections of active sets hardly ever cycle.
    static bool roomy(double n, double m, double p) { return 0.5 * m + p <= ROOM * n; }

    // What does not change during the iteration. Negative curvature of Q up to `rounding`, relative to its largest entry, is none.
    void prepare(double rounding, bool several_sets) {
        based = false;
        std::memcpy(curvature, g.Q.data, (long)g.n * g.ldn * sizeof(T));
        // In the caller's units the shift is rounding · max|Q|; D and c carry it here.
        const T shift = larger(rounding * g.scale * g.c, constant<T>(LEAST_SHIFT));
        for (int i = 0; i < g.n; ++i) curvature[(long)i * g.ldn + i] += shift * g.D[i] * g.D[i];
        factor(curvature, g.n, g.ldn, curvature_inverse, constant<T>(0), curvature_pivot);
        T most = constant<T>(0);
        for (int i = 0; i < g.n; ++i) most = larger(most, shift * g.D[i] * g.D[i]);
        curved = !any(negate((curvature_pivot > STRICT) & (curvature_pivot > 1e4 * most)));
        reuses = SINGLE && curved && several_sets;
        if constexpr (SINGLE)
            if (reuses) known.forget(curvature, curvature_inverse, g.m + g.p);
    }

    // [Q + GᵀWG, Aᵀ; A, 0] for weights w.
    void newton(const T* w) {
        weight = w;
        const long size = (long)g.n * g.ldn * sizeof(T);
        if (!based) {
            std::memcpy(base, g.Q.data, size);
            if (g.p) add_gram(g.A.data, g.A.data, g.p, g.n, g.ldn, base);
            based = true;
        }
        std::memcpy(U, base, size);
        for (int i0 = 0; i0 < g.m; i0 += DEPTH) {
            const int depth = g.m - i0 < DEPTH ? g.m - i0 : DEPTH;
            for (int i = 0; i < depth; ++i) {
                const V by = Lane<T>::splat(w[i0 + i]);
                for (int j = 0; j < g.ldn; j += Lane<T>::width)
                    pack(weighted + (long)i * g.ldn + j) = by * pack(g.G.row(i0 + i) + j);
            }
            add_gram(g.G.row(i0), weighted, depth, g.n, g.ldn, U);
        }
        T lowest;
        shift_and_factor(U, inverse, lowest);
        if (g.p) schur(U, inverse, g.A.data, g.p, lowest);
    }

    // [Q, Gᵀ, Aᵀ; G, −W⁻¹, 0; A, 0, 0] (x, λ, ν): right-hand side in, solution and Gx out. λ is taken out and comes back as W (Gx − its side).
    void newton_solve(T* x, T* lam, T* nu, T* Gx) const {
        for (int i = 0; i < g.m; ++i) lam[i] *= weight[i];
        g.G.add_transposed(lam, x);
        solve(U, inverse, g.A.data, g.p, true, x, nu);
        g.G.multiply(x, Gx);
        for (int i = 0; i < g.m; ++i) lam[i] = weight[i] * Gx[i] - lam[i];
    }

    // [Q, Cᵀ; C, 0] where C holds the active rows of G and all of A.
    void active(const T* on) {
        gather(on);
        T lowest = constant<T>(1), dependent = constant<T>(1);
        if (curved) {
            factor_ = curvature;
            factor_inverse = curvature_inverse;
        } else {
            std::memcpy(U, g.Q.data, (long)g.n * g.ldn * sizeof(T));
            add_gram(C, C, k + g.p, g.n, g.ldn, U);
            shift_and_factor(U, inverse, lowest);
            factor_ = U;
            factor_inverse = inverse;
        }
        if (reuses) block_of_known(dependent);
        else if (k + g.p) schur(factor_, factor_inverse, C, k + g.p, dependent);
        independence = dependent;
        singular = singular | negate(lowest > PIVOT) | negate(dependent > PIVOT);
        suspicious = negate(singular) & (negate(lowest > HIDDEN) | negate(dependent > HIDDEN));
    }
    void judge() {}  // the pivots have told

    // x and nu: right-hand side in, solution out; lam: the solution, from the right-hand side `rows_rhs` on the active rows.
    void active_solve(T* x, const T* rows_rhs, T* lam, T* nu) const {
        clear(y, padded<T>(k + g.p));
        clear(lam, g.ldm);
        for (int lane = 0; lane < Lane<T>::count; ++lane)
            for (int i = 0; i < count[lane]; ++i) Lane<T>::set(y[i], lane, Lane<T>::get(rows_rhs[row(lane, i)], lane));
        for (int i = 0; i < g.p; ++i) y[k + i] = nu[i];
        if (reuses) solve_known(x, y);
        else solve(factor_, factor_inverse, C, k + g.p, !curved, x, y);
        for (int lane = 0; lane < Lane<T>::count; ++lane)
            for (int i = 0; i < count[lane]; ++i) Lane<T>::set(lam[row(lane, i)], lane, Lane<T>::get(y[i], lane));
        for (int i = 0; i < g.p; ++i) nu[i] = y[k + i];
    }

  private:
    // Multiplications of a set of half the rows, and of a step: those of the factorisations, and of three times the matrices.
    bool cheap_sets() const {
        const double n = g.n, m = g.m, p = g.p, k = 0.5 * m + p;
        const double set_costs = k * k * k / 6 + 3 * (n * n + n * k + k * k) + 2 * n * (n + m + p);
        const double step = n * n * (0.5 * m + n / 6) + p * (0.5 * n * n + 0.5 * n * p + p * p / 6);
        return set_costs < CHEAP * step;
    }

    int row(int lane, int i) const { return rows[(long)lane * ldk + i]; }

    void shift_and_factor(T* H, T* inv, T& lowest) {
        for (int i = 0; i < g.n; ++i) H[(long)i * g.ldn + i] += constant<T>(SHIFT);
        factor(H, g.n, g.ldn, inv, constant<T>(0), lowest);
    }

    // half = U⁻ᵀCᵀ and the factor of S = halfᵀhalf + shift; a row of zeros gets a one.
    void schur(const T* factor_of, const T* inv, const T* rows_of, int count_rows, T& lowest) {
        const int ld = padded<T>(count_rows);
        for (int i = 0; i < g.n; ++i)
            for (int j = 0; j < ld; ++j) half[(long)i * ld + j] = j < count_rows ? rows_of[(long)j * g.ldn + i] : constant<T>(0);
        solve_transposed_block(factor_of, g.n, g.ldn, inv, half, ld);
        clear(S, ld * count_rows);
        add_gram(half, half, g.n, count_rows, ld, S);
        factor_schur(count_rows, lowest);
    }

    void factor_schur(int count_rows, T& lowest) {
        const int ld = padded<T>(count_rows);
        for (int i = 0; i < count_rows; ++i) {
            T& pivot = S[(long)i * ld + i];
            const T none = constant<T>(1);
            pivot = pivot == 0 ? none : pivot + SHIFT;
        }
        factor(S, count_rows, ld, S_inverse, constant<T>(0), lowest);
    }

    void block_of_known(T& lowest) {
        if constexpr (SINGLE) {
            for (int i = 0; i < k; ++i) set[i] = rows[i];
            for (int i = 0; i < g.p; ++i) set[k + i] = g.m + i;
            const auto stored = [&](int i) { return i < g.m ? g.G.row(i) : g.A.row(i - g.m); };
            known.learn(set, k + g.p, g.m + g.p, stored);
            known.block(set, k + g.p, S);
            factor_schur(k + g.p, lowest);
        }
    }

    // x, y: right-hand side in, solution out. With `added`, CᵀC is part of the factorised matrix.
    void solve(const T* factor_of, const T* inv, const T* rows_of, int count_rows, bool added, T* x, T* y) const {
        const int ld = padded<T>(count_rows);
        if (count_rows && added) add_transposed(rows_of, count_rows, g.ldn, y, x);
        solve_transposed(factor_of, g.n, g.ldn, inv, x);
        if (count_rows) {
            for (int i = 0; i < count_rows; ++i) y[i] = -y[i];
            add_transposed(half, g.n, ld, x, y);
            solve_schur(count_rows, y);
            for (int i = 0; i < g.n; ++i) x[i] -= dot(half + (long)i * ld, y, ld);
        }
        solve_upper(factor_of, g.n, g.ldn, inv, x);
    }

    void solve_schur(int count_rows, T* y) const {
        const int ld = padded<T>(count_rows);
        solve_transposed(S, count_rows, ld, S_inverse, y);
        solve_upper(S, count_rows, ld, S_inverse, y);
    }

    void solve_known(T* x, T* y) const {
        if constexpr (SINGLE) {
            solve_transposed(factor_, g.n, g.ldn, factor_inverse, x);
            known.down(set, k + g.p, x, y);
            solve_schur(k + g.p, y);
            known.up(set, k + g.p, y, x);
            solve_upper(factor_, g.n, g.ldn, factor_inverse, x);
        }
    }

    // Far more active rows than variables: such a lane is marked, and its surplus rows left out.
    void gather(const T* on) {
        const int most = limit - g.p;
        singular = constant<T>(0) > 1.0;
        k = 0;
        for (int lane = 0; lane < Lane<T>::count; ++lane) {
            int found = 0;
            for (int i = 0; i < g.m; ++i)
                if (Lane<T>::get(on[i], lane) != 0) {
                    if (found < most) rows[(long)lane * ldk + found] = i;
                    ++found;
                }
            if (found > most || found + g.p > g.n) put(singular, lane, true);
            count[lane] = found < most ? found : most;
            k = count[lane] > k ? count[lane] : k;
        }
        if (reuses) return;
        for (int i = 0; i < k; ++i) gather_row(i);
        std::memcpy(C + (long)k * g.ldn, g.A.data, (long)g.p * g.ldn * sizeof(T));
    }

    void gather_row(int i) {
        T* to = C + (long)i * g.ldn;
        clear(to, g.ldn);
        for (int lane = 0; lane < Lane<T>::count; ++lane) {
            if (i >= count[lane]) continue;
            const T* from = g.G.row(row(lane, i));
            for (int j = 0; j < g.n; ++j) Lane<T>::set(to[j], lane, Lane<T>::get(from[j], lane));
        }
    }
};

}  // namespace CORE
