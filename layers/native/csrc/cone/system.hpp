// The quasi-definite system [H Cᵀ; C −diag(δ/(1 − δ))] of a group by two Cholesky factors: layers/linalg/quasidefinite.py, with all rows kept.
#pragma once
#include "cone/group.hpp"

namespace CORE {

// Relative to the diagonal: regularisation, and the pivot below which the true matrix may be singular, which torch is to tell.
constexpr double CONE_SHIFT = 1e-13, CONE_PIVOT = 1e-8;

template <class T>
struct ConeSystem {
    using Mask = typename Lane<T>::Mask;
    int n, ldn, k, ldk;
    const T* C;
    // the objective's weight, which brings H and C to one size, and what it is found from: the diagonal and the largest entries of columns
    T c, *top, *column;
    // link = c / (c(1 − δ) + δ), F = (1 − δ) link; M = cH + CᵀFC, whose factor takes its place: the scales of its rows, and the reciprocals of
    // the diagonal of the factor
    T *link, *F, *FC, *M, *M_scale, *M_inverse;
    // N = FC M⁻¹ (FC)ᵀ + diag(δ link / c) and its factor; the first term is halfᵀ half
    T *half, *N, *N_scale, *N_inverse;
    // δ link / c while N is made; in a solve, the right-hand side of N, as `top` is that of M
    T* low;
    Mask singular;

    static long entries(const ConeData& d) {
        const long ldn = padded<T>(d.n), ldm = padded<T>(d.m);
        return ldn * d.n + ldn * d.m + ldm * d.n + ldm * ldm + 4 * ldn + 6 * ldm + 13 * 8;
    }
    ConeSystem(Arena& arena, const ConeGroup<T>& g) : n(g.n), ldn(g.ldn), k(0), ldk(g.ldm), C(nullptr) {
        M = zeros<T>(arena, (long)n * ldn);
        FC = zeros<T>(arena, (long)g.m * ldn);
        half = zeros<T>(arena, (long)n * ldk);
        N = zeros<T>(arena, (long)ldk * ldk);
        for (T** v : {&M_scale, &M_inverse, &top, &column}) *v = zeros<T>(arena, ldn);
        for (T** v : {&N_scale, &N_inverse, &F, &link, &low}) *v = zeros<T>(arena, ldk);
    }

    // H has its upper triangle; C has `rows` rows. `inside` and `outside` are δ and 1 − δ, null for 0 and 1.
    void factor(const T* H, const T* C_, int rows, const T* inside, const T* outside) {
        const T none = constant<T>(0), one = constant<T>(1);
        C = C_;
        k = rows;
        ldk = padded<T>(rows);
        weigh(H, inside, outside);
        for (int i = 0; i < k; ++i) {
            const T in = inside ? inside[i] : none, out = outside ? outside[i] : one;
            link[i] = c / (c * out + in);
            F[i] = out * link[i];
            low[i] = in * link[i] / c;
            const V f = Lane<T>::splat(F[i]);
            for (int j = 0; j < ldn; j += Lane<T>::width) pack(FC + (long)i * ldn + j) = f * pack(C + (long)i * ldn + j);
        }
        const V f = Lane<T>::splat(c);
        for (long j = 0; j < (long)n * ldn; j += Lane<T>::width) pack(M + j) = f * pack(H + j);
        add_gram(C, FC, k, n, ldn, M);
        // A variable without curvature and without an active row, as the bound on a norm that does not bind, moves nothing and stays
        // where it is: the least of all steps. Its column of M is zero.
        for (int j = 0; j < n; ++j) M[(long)j * ldn + j] = or_one(M[(long)j * ldn + j]);
        singular = negate(scale_and_factor(M, n, ldn, M_scale, M_inverse) > CONE_PIVOT);
        if (!k) return;
        for (int j = 0; j < n; ++j)
            for (int i = 0; i < ldk; ++i) half[(long)j * ldk + i] = i < k ? FC[(long)i * ldn + j] * M_scale[j] : none;
        solve_transposed_block(M, n, ldn, M_inverse, half, ldk);
        clear(N, ldk * k);
        add_gram(half, half, n, k, ldk, N);
        for (int i = 0; i < k; ++i) N[(long)i * ldk + i] += low[i];
        singular = singular | negate(scale_and_factor(N, k, ldk, N_scale, N_inverse) > CONE_PIVOT);
    }

    // x: r₁ in, dx out; eta: F r₂ in, η out.
    void solve(T* x, T* eta) {
        for (int j = 0; j < n; ++j) top[j] = c * x[j];
        if (k) add_transposed(C, k, ldn, eta, top);
        apply(M, M_scale, M_inverse, n, ldn, top, x);
        if (!k) return;
        multiply(FC, k, ldn, x, low);
        for (int i = 0; i < k; ++i) low[i] -= eta[i];
        apply(N, N_scale, N_inverse, k, ldk, low, eta);
        for (int i = 0; i < k; ++i) {
            low[i] = -eta[i];
            eta[i] /= c;
        }
        add_transposed(FC, k, ldn, low, top);
        apply(M, M_scale, M_inverse, n, ldn, top, x);
    }

  private:
    // The objective is weighed so that no column of the curvature outgrows that of C; columns that C lacks do not count.
    void weigh(const T* H, const T* inside, const T* outside) {
        const T none = constant<T>(0), one = constant<T>(1);
        for (int j = 0; j < n; ++j) {
            top[j] = H[(long)j * ldn + j];
            column[j] = none;
        }
        for (int i = 0; i < k; ++i) {
            const T in = inside ? inside[i] : none, out = outside ? outside[i] : one;
            const T bent = in > out ? out / in : none, kept = in > out ? none : one;
            for (int j = 0; j < n; ++j) {
                const T square = C[(long)i * ldn + j] * C[(long)i * ldn + j];
                top[j] += bent * square;
                column[j] = larger(column[j], kept * square);
            }
        }
        T ratio = none, most = none;
        for (int j = 0; j < n; ++j) {
            ratio = larger(ratio, column[j] > none ? top[j] / or_one(column[j]) : none);
            most = larger(most, top[j]);
        }
        c = 1 / or_one(ratio > none ? ratio : most);
    }

    // H = diag(s)⁻¹ U'U diag(s)⁻¹; the smallest pivot of the scaled matrix, whose diagonal is one.
    static T scale_and_factor(T* H, int size, int ld, T* scale, T* inverse) {
        for (int i = 0; i < size; ++i) scale[i] = 1 / root(or_one(H[(long)i * ld + i]));
        for (int i = 0; i < size; ++i) {
            const V f = Lane<T>::splat(scale[i]);
            for (int j = left_of<T>(i); j < ld; j += Lane<T>::width) pack(H + (long)i * ld + j) *= f * pack(scale + j);
            H[(long)i * ld + i] += constant<T>(CONE_SHIFT);
        }
        T lowest;
        CORE::factor(H, size, ld, inverse, constant<T>(0), lowest);
        return lowest;
    }
    static void apply(const T* U, const T* scale, const T* inverse, int size, int ld, const T* r, T* x) {
        for (int i = 0; i < size; ++i) x[i] = scale[i] * r[i];
        solve_transposed(U, size, ld, inverse, x);
        solve_upper(U, size, ld, inverse, x);
        for (int i = 0; i < size; ++i) x[i] *= scale[i];
    }
};

}  // namespace CORE
