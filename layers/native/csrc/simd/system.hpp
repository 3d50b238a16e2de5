// What the engine needs from outside, included before an instruction set is chosen: nothing here is compiled for one, because the linker
// would be free to take that copy for all.
#pragma once
#include <cstring>
#include <initializer_list>
#include <new>

#include "qp/structure.hpp"

// A group of problems side by side may take this much memory: the second-level cache of a core.
constexpr long SIDE_BY_SIDE_BYTES = 1L << 20;
// … and this much with a sparse kernel, whose single problem is not faster by more than the lanes.
constexpr long SPARSE_BYTES = 64L << 20;
constexpr double SPARSE_COST = 3;
// Where active sets are tried before any step, all of them take about as long as one or two; a sparse kernel has to be so many times faster.
constexpr double SETS_SAVE = 4;
// With so many equalities the Schur complement of one problem fills the registers better than eight side by side.
constexpr int SCHUR_SINGLE = 24;

// Problems of which a register holds W, and with so many times W variables, are faster one by one with their active sets.
constexpr int SETS_ALONE = 6;

namespace convex_layers {

// Work memory of one thread, handed out in order; throws when it is exhausted.
class Arena {
  public:
    explicit Arena(long bytes);
    ~Arena();
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    void reset();
    void* zeros(long bytes);
    void* raw(long bytes);  // not set to anything: what is read has to be written first

  private:
    long bytes_, used_;
    char* block_;
};

// Called once per iteration; throws when the user has asked to stop, if somebody listens.
class Watch {
  public:
    virtual void operator()() {}
    virtual ~Watch();
};

// Which kernel solves a batch, how many problems it takes at a time, and its work memory.
struct Choice {
    enum Kernel { DENSE_LANES, DENSE_SINGLE, SPARSE_LANES, SPARSE_SINGLE, SEPARABLE_LANES, SEPARABLE_SINGLE } kernel;
    int group;
    long bytes;
};

// What one instruction set offers; the plan is null where the matrices are taken as dense.
struct Kernels {
    int lanes;
    Choice (*choose)(const Data&, const Sparse*);
    void (*solve)(const Choice&, const Data&, const Sparse*, const Options&, const Answer&, Arena&, long first, long last, Watch&);
    void (*solve_linearised)(const Choice&, const Data&, const Sparse*, const Linearised&, Arena&, long first, long last);
    void (*weighted_gram)(const double* M, const double* D, int rows, int n, double* Q);
    Choice (*choose_cones)(const ConeData&);
    void (*solve_cones)(const Choice&, const ConeData&, int max_iterations, const ConeAnswer&, Arena&, long first, long last, Watch&);
    void (*solve_cones_linearised)(const Choice&, const ConeData&, const ConeLinearised&, Arena&, long first, long last);
};

}  // namespace convex_layers
