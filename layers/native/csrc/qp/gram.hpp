// Q += MᵀDM for one problem, by the kernel of the factorisations.
#pragma once
#include "qp/newton.hpp"

namespace CORE {

// M has `rows` rows and n columns, D is null for the identity; Q is full and symmetric, without padding.
inline void weighted_gram(const double* M, const double* D, int rows, int n, double* Q) {
    const int ld = padded<double>(n), most = rows < DEPTH ? rows : DEPTH;
    Arena arena((long)(n + 2 * most) * ld * (long)sizeof(double) + 3 * 64);
    double *total = zeros<double>(arena, (long)n * ld), *left = zeros<double>(arena, (long)most * ld), *right = zeros<double>(arena, (long)most * ld);
    for (int i0 = 0; i0 < rows; i0 += most) {
        const int depth = rows - i0 < most ? rows - i0 : most;
        for (int i = 0; i < depth; ++i) {
            const double *row = M + (long)(i0 + i) * n, weight = D ? D[i0 + i] : 1;
            for (int j = 0; j < n; ++j) {
                left[(long)i * ld + j] = row[j];
                right[(long)i * ld + j] = weight * row[j];
            }
        }
        add_gram(left, right, depth, n, ld, total);
    }
    for (int i = 0; i < n; ++i) {
        Q[(long)i * n + i] += total[(long)i * ld + i];
        for (int j = i + 1; j < n; ++j) {
            const double value = total[(long)i * ld + j];
            Q[(long)i * n + j] += value;
            Q[(long)j * n + i] += value;
        }
    }
}

}  // namespace CORE
