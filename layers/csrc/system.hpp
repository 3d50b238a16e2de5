// What the engine needs from outside, included before an instruction set is chosen: nothing here is compiled for one, because the linker
// would be free to take that copy for all.
#pragma once
#include <cstring>
#include <new>

#include "api.hpp"

// A group of problems side by side may take this much memory: the second-level cache of a core.
constexpr long SIDE_BY_SIDE_BYTES = 1L << 20;

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

  private:
    long bytes_, used_;
    char* block_;
};

// Called once per iteration; throws when the user has asked to stop.
class Watch {
  public:
    virtual void operator()() = 0;
    virtual ~Watch();
};

// How a batch is cut: problems per group, and the work memory of a group.
struct Plan {
    int group;
    long bytes;
};

// What one instruction set offers.
struct Kernels {
    int lanes;
    Plan (*plan)(const Data&);
    void (*solve)(const Data&, const Options&, const Answer&, Arena&, long first, long last, Watch&);
    void (*solve_linearised)(const Data&, const Linearised&, Arena&, long first, long last, Watch&);
};

}  // namespace convex_layers
