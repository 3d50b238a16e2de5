// A family of programs with linear constraints, from parameters to variables and back in one call. Formulas: layers/convex/direct.py and
// layers/convex/canonical/quadratic.py.
#pragma once
#include <memory>
#include <vector>

#include "simd/schedule.hpp"

namespace convex_layers {

// θ ↦ constant + Σ weight · θ[column], added at (i, j) of an array; a vector has one column.
struct AffinePart {
    struct Entries {  // in one source, a piece of θ
        int source;
        std::vector<int> i, j;
        std::vector<long> column;
        std::vector<double> weight;
    };
    long rows, columns;
    std::vector<double> constant;
    std::vector<Entries> sources;

    long size() const { return rows * columns; }
};

// An entry of a variable: weight · piece[place] of the solution, whose pieces are z, ν and λ.
struct Pick {
    int piece;
    long place;
    double weight;
};

struct Family {
    int n, m, p, w;  // variables, inequalities, equalities, and variables that were taken out
    bool weighted;   // whether D is there; else it is the identity
    AffinePart parts[PARTS];
    std::vector<long> widths;                 // of the sources
    std::vector<std::vector<Pick>> variables;

    long length(int piece) const { return piece == 0 ? n : piece == 1 ? p : m; }
};

// Values of the sources, (width,) or (B, width) one after the other.
struct Sources {
    long batch;
    std::vector<const double*> values;
    std::vector<char> batched;
};

// A batch of the family, solved; keeps what its derivative needs.
class SolvedFamily {
  public:
    SolvedFamily(std::shared_ptr<const Family>, const Kernels&, const Sources&, Options, Poll);

    // Whether every element is solved and the activity of all its constraints told.
    bool settled() const { return solved_.settled(); }
    // Entries of one variable, (B, size).
    void variable(long which, double* out) const;
    // Gradients of the sources, each shaped as its values, null where not needed; from those of the variables. Returns the largest backward
    // error of the linear solve, which has to be judged before the gradients mean anything.
    double pull_back(const Kernels&, const std::vector<const double*>& bars, const std::vector<double*>& gradients, int threads, Poll) const;

    const Family& family() const { return *family_; }
    long batch() const { return batch_; }
    bool batched(long source) const { return batched_[source]; }

  private:
    // One array for every element, or one for all.
    struct Values {
        std::vector<double> data;
        long stride = 0;
        const double* of(long element) const { return data.data() + element * stride; }
    };
    struct View {
        const double* first;
        long stride;
        View(const double* given, long apart) : first(given), stride(apart) {}
        View(const Values& values) : View(values.data.data(), values.stride) {}
    };
    Values evaluate(const AffinePart&, const Sources&, int threads) const;
    void condense(const Kernels&, int threads);
    Data data(View q, View h, View b) const;

    std::shared_ptr<const Family> family_;
    long batch_;
    std::vector<char> batched_;
    Values parts_[PARTS], Q_, q_;  // Q_ and q_ without the variables that were taken out
    Solved solved_;
};

}  // namespace convex_layers
