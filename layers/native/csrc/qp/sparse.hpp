// The two linear systems of the engine for matrices with shared zeros: LDLᵀ of the quasi-definite KKT matrix (Vanderbei 1995) in the order
// of the plan, row by row, every number a T.
#pragma once
#include "qp/newton.hpp"

namespace CORE {

constexpr double CANCELLED = 1e-13, RAISED = 1e-7;  // a pivot of this size or less becomes that
constexpr double SUSPICIOUS = 1e3;  // size of a regularised inverse that may be that of a singular matrix

// Numbers between ½ and 1 in size, the same ones every time.
class Samples {
  public:
    double next() {
        seed_ = seed_ * 1664525u + 1013904223u;
        return (seed_ >> 31 ? 1 : -1) * (0.5 + (seed_ >> 8 & 0x7fffff) * 0x1p-24);
    }

  private:
    unsigned seed_ = 1;
};

template <class T>
struct SparseSystems {
    using Mask = typename Lane<T>::Mask;
    using Matrix = Zeros<T>;
    static constexpr bool CORRECTED = true;  // a direction, by its residual
    Group<T, Matrix>& g;
    const Sparse& plan;
    T *L, *inverse, *work, *values, *shift;
    int* filled;
    T curvature_pivot;
    Mask singular, suspicious;

    static long entries(const Data& d, const Sparse* plan) {
        const long N = (long)d.n + d.m + d.p;
        const long stored = plan->Q.count() + plan->G.count() + plan->A.count();
        return plan->column_start[N] + 3 * N + stored + (N * (long)sizeof(int) + (long)sizeof(T) - 1) / (long)sizeof(T) + 6 * 8;
    }

    SparseSystems(Arena& arena, Group<T, Matrix>& group, const Sparse* plan_) : g(group), plan(*plan_) {
        const int N = g.n + g.m + g.p;
        L = zeros<T>(arena, plan.column_start[N]);
        inverse = zeros<T>(arena, N);
        work = zeros<T>(arena, N);
        shift = zeros<T>(arena, N);
        values = zeros<T>(arena, plan.Q.count() + plan.G.count() + plan.A.count());
        filled = zeros<int>(arena, N);
        singular = constant<T>(0) > 1.0;
    }

    double unclear_rows() const { return 0.05; }
    bool quick() const { return false; }
    bool sets_first() const { return false; }
    bool one_set_of_multipliers() const { return true; }

    // Curvature is judged by the same factorisation with all rows of constraints switched off.
    void prepare(double rounding, bool judged) {
        if (!judged) return;
        collect(nullptr);
        const T amount = larger(rounding * g.scale * g.c, constant<T>(LEAST_SHIFT));
        for (int j = 0; j < g.n; ++j) shift[j] = amount * g.D[j] * g.D[j];
        const int stored = plan.Q.count() + plan.G.count() + plan.A.count();
        for (int k = plan.Q.count(); k < stored; ++k) values[k] = constant<T>(0);
        for (int i = g.n; i < g.n + g.m + g.p; ++i) shift[i] = constant<T>(-1);
        curvature_pivot = factor(1e-300);
    }

    void newton(const T* w) {
        collect(nullptr);
        for (int j = 0; j < g.n; ++j) shift[j] = constant<T>(SHIFT);
        for (int i = 0; i < g.m; ++i) shift[g.n + i] = -1.0 / w[i];
        for (int i = 0; i < g.p; ++i) shift[g.n + g.m + i] = constant<T>(-SHIFT);
        factor();
    }

    // [Q, Gᵀ, Aᵀ; G, −W⁻¹, 0; A, 0, 0] (x, λ, ν): right-hand side in, solution and Gx out.
    void newton_solve(T* x, T* lam, T* nu, T* Gx) const {
        for (int j = 0; j < g.n; ++j) work[plan.place[j]] = x[j];
        for (int i = 0; i < g.m; ++i) work[plan.place[g.n + i]] = lam[i];
        for (int i = 0; i < g.p; ++i) work[plan.place[g.n + g.m + i]] = nu[i];
        substitute();
        for (int j = 0; j < g.n; ++j) x[j] = work[plan.place[j]];
        for (int i = 0; i < g.m; ++i) lam[i] = work[plan.place[g.n + i]];
        for (int i = 0; i < g.p; ++i) nu[i] = work[plan.place[g.n + g.m + i]];
        g.G.multiply(x, Gx);
    }

    void active(const T* on) {
        collect(on);
        for (int j = 0; j < g.n; ++j) shift[j] = constant<T>(SHIFT);
        for (int i = 0; i < g.m; ++i) shift[g.n + i] = on[i] > 0.5 ? constant<T>(-SHIFT) : constant<T>(-1);
        for (int i = 0; i < g.p; ++i) shift[g.n + g.m + i] = constant<T>(-SHIFT);
        active_rows = on;
        factor();
    }

    // Pivots depend on the order and tell nothing of a singular matrix, but its regularised inverse is as large as 1 / SHIFT on the null
    // space: here it is applied to numbers between ½ and 1.
    void judge() {
        const int N = g.n + g.m + g.p;
        Samples samples;
        for (int k = 0; k < N; ++k) {
            const int row = plan.order[k] - g.n;
            const T sample = constant<T>(samples.next());
            work[k] = row >= 0 && row < g.m ? sample * active_rows[row] : sample;
        }
        substitute();
        const T size = max_abs_of(work, N);
        suspicious = negate(size < SUSPICIOUS);
    }

    void active_solve(T* x, const T* rows_rhs, T* lam, T* nu) const {
        const T zero = constant<T>(0);
        for (int j = 0; j < g.n; ++j) work[plan.place[j]] = x[j];
        for (int i = 0; i < g.m; ++i) work[plan.place[g.n + i]] = active_rows[i] > 0.5 ? rows_rhs[i] : zero;
        for (int i = 0; i < g.p; ++i) work[plan.place[g.n + g.m + i]] = nu[i];
        substitute();
        for (int j = 0; j < g.n; ++j) x[j] = work[plan.place[j]];
        for (int i = 0; i < g.m; ++i) lam[i] = active_rows[i] > 0.5 ? work[plan.place[g.n + i]] : zero;
        for (int i = 0; i < g.p; ++i) nu[i] = work[plan.place[g.n + g.m + i]];
    }

  private:
    const T* active_rows = nullptr;

    // y[row] -= column · value: the inner loop of everything here.
    static void subtract(const T* __restrict column, const int* __restrict row, int c, int end, T value, T* __restrict y) {
        for (; c + 4 <= end; c += 4) {
            const int i = row[c], j = row[c + 1], k = row[c + 2], l = row[c + 3];
            const T a = y[i] - column[c] * value, b = y[j] - column[c + 1] * value;
            const T d = y[k] - column[c + 2] * value, e = y[l] - column[c + 3] * value;
            y[i] = a;
            y[j] = b;
            y[k] = d;
            y[l] = e;
        }
        for (; c < end; ++c) y[row[c]] -= column[c] * value;
    }

    static T max_abs_of(const T* v, int length) {
        T worst = constant<T>(0);
        for (int i = 0; i < length; ++i) worst = larger(worst, absolute(v[i]));
        return worst;
    }

    // The values of (Q, G, A) in one array; rows of G that are not `on` are zero.
    void collect(const T* on) {
        T* to = values;
        std::memcpy(to, g.Q.data, plan.Q.count() * sizeof(T));
        to += plan.Q.count();
        for (int i = 0; i < g.m; ++i)
            for (int k = plan.G.start[i]; k < plan.G.start[i + 1]; ++k) to[k] = on ? g.G.data[k] * on[i] : g.G.data[k];
        to += plan.G.count();
        std::memcpy(to, g.A.data, plan.A.count() * sizeof(T));
    }

    // Row k of L solves a triangular system with the rows above. Returns the smallest pivot of x.
    T factor(double cancelled = CANCELLED) {
        const int N = g.n + g.m + g.p;
        T lowest = constant<T>(1e300);
        for (int k = 0; k < N; ++k) {
            filled[k] = plan.column_start[k];
            work[k] = constant<T>(0);
        }
        for (int k = 0; k < N; ++k) {
            for (int e = plan.entry_start[k]; e < plan.entry_start[k + 1]; ++e) work[plan.entry_place[e]] += values[plan.entry[e]];
            const int unknown = plan.order[k];
            T pivot = shift[unknown];
            if (unknown < g.n) pivot += values[plan.diagonal[unknown]];
            for (int e = plan.row_start[k]; e < plan.row_start[k + 1]; ++e) {
                const int j = plan.column_of[e];
                const T value = work[j], scaled = value * inverse[j];
                work[j] = constant<T>(0);
                const int end = filled[j];
                subtract(L, plan.row_of, plan.column_start[j], end, value, work);
                L[end] = scaled;
                filled[j] = end + 1;
                pivot -= value * scaled;
            }
            if (unknown < g.n) lowest = smaller(lowest, pivot);
            // What cancels is rounding of the pivots before.
            const T least = constant<T>(unknown < g.n ? RAISED : -RAISED);
            inverse[k] = 1.0 / (absolute(pivot) > cancelled ? pivot : least);
        }
        return lowest;
    }

    void substitute() const {
        const int N = g.n + g.m + g.p;
        for (int k = 0; k < N; ++k) {
            const T value = work[k];
            subtract(L, plan.row_of, plan.column_start[k], plan.column_start[k + 1], value, work);
        }
        for (int k = N - 1; k >= 0; --k) {
            T value = work[k] * inverse[k];
            for (int c = plan.column_start[k]; c < plan.column_start[k + 1]; ++c) value -= L[c] * work[plan.row_of[c]];
            work[k] = value;
        }
    }
};

}  // namespace CORE
