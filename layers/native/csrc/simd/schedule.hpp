// The engine as module.cpp sees it.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "simd/system.hpp"

namespace convex_layers {

extern const Kernels avx512_kernels, avx2_kernels, baseline_kernels;

// The widest instruction set that this processor has, with at most so many lanes.
const Kernels& kernels(int most_lanes);

class Structure;

void outer_pair(const Outer&, int threads);

// A solved batch: what is known of every element, from which arrays are fetched when somebody asks for them.
struct Solved {
    std::vector<double> z, lam, nu, s, objective, residuals;
    std::vector<signed char> kind;
    std::vector<long long> status, iterations;
    std::shared_ptr<const Structure> structure;  // of the problems, null where they are taken as dense

    Solved() = default;
    Solved(const Kernels&, const Data&, const Options&, Poll);
    // Whether every element is solved and the activity of all its constraints told.
    bool settled() const;
    // The same, or proved to have no solution.
    bool told() const;
};

// One element of a batch, as a batch of one.
Data alone(const Data&, long index);
Answer alone(const Data&, const Answer&, long index);

// The largest of the backward errors of a batch, infinite where one is not a number.
double largest(const double* error, long batch);

// Call part(first, last) for equal parts of a batch on several threads.
void spread(long batch, int threads, const std::function<void(long, long)>& part);

void solve_linearised(const Kernels&, const Data&, const Structure*, const Linearised&, int threads, Poll);

void solve_cones(const Kernels&, const ConeData&, int max_iterations, int threads, const ConeAnswer&, Poll);
void solve_cones_linearised(const Kernels&, const ConeData&, const ConeLinearised&, int threads, Poll);

}  // namespace convex_layers
