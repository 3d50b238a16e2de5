// Gradients of matrices: scale · (u vᵀ + w xᵀ) for every element, written once. Bound by memory, so no instruction set is chosen.
#include "simd/schedule.hpp"

#include <algorithm>

namespace convex_layers {

void outer_pair(const Outer& o, int threads) {
    const auto part = [&](long from, long to) {
        for (long b = from; b < to; ++b) {
            const double *u = o.u + b * o.rows, *w = o.w + b * o.rows, *v = o.v + b * o.columns, *x = o.x + b * o.columns;
            double* out = o.out + b * o.rows * o.columns;
            for (long i = 0; i < o.rows; ++i) {
                const double a = o.scale * u[i], c = o.scale * w[i];
                double* row = out + i * o.columns;
                if (a == 0 && c == 0)  // most rows of G: those that do not bind
                    std::fill_n(row, o.columns, 0.0);
                else
                    for (long j = 0; j < o.columns; ++j) row[j] = a * v[j] + c * x[j];
            }
        }
    };
    spread(o.batch, threads, part);
}

}  // namespace convex_layers
