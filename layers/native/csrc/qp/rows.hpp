// Rows of [G; A] in the metric of Q⁻¹ = (UᵀU)⁻¹, for one problem whose Q is well conditioned: H = U⁻ᵀ[rows]ᵀ and HᵀH, a column of H for each
// row that has ever been in an active set. The KKT system of any set of them is then its block of HᵀH, whose factorisation is small beside
// that of a Newton matrix: an active set can be tried, refuted and corrected for a fraction of an iteration.
#pragma once
#include "qp/data.hpp"

namespace CORE {

struct KnownRows {
    int n, limit, ld, known;
    const double *U, *inverse;
    double *H, *gram, *fresh, *product;
    int *slot, *fresh_id;  // the column of a row, -1 for none

    static long entries(long n, long rows, long limit) {
        const long ld = padded<double>((int)limit);
        return 2 * n * ld + 2 * ld * ld + (rows + ld) / 2 + 6 * 8 + 2;
    }

    void reserve(Arena& arena, int n_, int rows, int limit_) {
        n = n_;
        limit = limit_;
        ld = padded<double>(limit);
        H = raw<double>(arena, (long)n * ld);
        gram = raw<double>(arena, (long)ld * ld);
        fresh = raw<double>(arena, (long)n * ld);
        product = raw<double>(arena, (long)ld * ld);
        slot = zeros<int>(arena, rows);
        fresh_id = zeros<int>(arena, ld);
    }

    void forget(const double* U_, const double* inverse_, int rows) {
        U = U_;
        inverse = inverse_;
        known = 0;
        for (int i = 0; i < rows; ++i) slot[i] = -1;
    }

    // Give every row of `id` a column; `row(i)` is where row i is stored. At most `limit` rows at a time: when there is no room the earlier
    // ones are forgotten.
    template <class Row>
    void learn(const int* id, int count, int rows, Row&& row) {
        if (known + missing(id, count) > limit) {
            forget(U, inverse, rows);
            missing(id, count);
        }
        const int added = missing(id, count);
        if (!added) return;
        const int wide = padded<double>(added);
        for (int i = 0; i < n; ++i)
            for (int j = added; j < wide; ++j) fresh[(long)i * wide + j] = 0;
        for (int j = 0; j < added; ++j) {
            const double* from = row(fresh_id[j]);
            for (int i = 0; i < n; ++i) fresh[(long)i * wide + j] = from[i];
        }
        solve_transposed_block(U, n, ld_of_U(), inverse, fresh, wide);
        const int all = known + added, end = padded<double>(all);
        for (int i = 0; i < n; ++i) {
            std::memcpy(H + (long)i * ld + known, fresh + (long)i * wide, added * sizeof(double));
            for (int j = all; j < end; ++j) H[(long)i * ld + j] = 0;
        }
        clear(product, all * wide);
        // of the block of the new rows with themselves the upper triangle is enough
        for (int i = 0; i < all; i += Lane<double>::rows) {
            const int strip = all - i < Lane<double>::rows ? all - i : Lane<double>::rows, from = i > known ? left_of<double>(i - known) : 0;
            panel(H + i, ld, fresh + from, wide, n, product + (long)i * wide + from, wide, strip, wide - from, 1.0);
        }
        for (int i = 0; i < all; ++i)
            for (int j = i > known ? i - known : 0; j < added; ++j)
                gram[(long)i * ld + known + j] = gram[(long)(known + j) * ld + i] = product[(long)i * wide + j];
        for (int j = 0; j < added; ++j) slot[fresh_id[j]] = known + j;
        known = all;
    }

    // The block of HᵀH of these rows, its rows padded to whole packs.
    void block(const int* id, int count, double* S) const {
        const int wide = padded<double>(count);
        for (int i = 0; i < count; ++i) {
            const double* from = gram + (long)slot[id[i]] * ld;
            for (int j = 0; j < count; ++j) S[(long)i * wide + j] = from[slot[id[j]]];
            for (int j = count; j < wide; ++j) S[(long)i * wide + j] = 0;
        }
    }

    // y = −y + Hᵀx and x −= H y on the columns of these rows
    void down(const int* id, int count, const double* x, double* y) const {
        double* sum = product;
        const int columns = padded<double>(known);
        clear(sum, columns);
        add_transposed(H, n, ld, x, sum, columns);
        for (int i = 0; i < count; ++i) y[i] = sum[slot[id[i]]] - y[i];
    }
    void up(const int* id, int count, const double* y, double* x) const {
        double* spread = product;
        clear(spread, padded<double>(known));
        for (int i = 0; i < count; ++i) spread[slot[id[i]]] = y[i];
        for (int i = 0; i < n; ++i) x[i] -= dot(H + (long)i * ld, spread, padded<double>(known));
    }

  private:
    int ld_of_U() const { return padded<double>(n); }
    int missing(const int* id, int count) const {
        int found = 0;
        for (int i = 0; i < count; ++i)
            if (slot[id[i]] < 0) fresh_id[found++] = id[i];
        return found;
    }
};

}  // namespace CORE
