// Groups of problems over threads, work memory, and the choice of the instruction set.
#include "simd/schedule.hpp"

#include "qp/activity.hpp"
#include "qp/analysis.hpp"
#include "qp/certificate.hpp"
#include "qp/degenerate.hpp"
#include "simd/apart.hpp"
#include "simd/refined.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>

// Under AddressSanitizer the arrays of an arena have red zones between them.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
constexpr long RED_ZONE = 64;
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
constexpr long RED_ZONE = 0;
#endif
constexpr long MOST_ARRAYS = 128;

namespace convex_layers {

Arena::Arena(long bytes)
    : bytes_((bytes + 63) / 64 * 64 + MOST_ARRAYS * RED_ZONE), used_(0), block_(static_cast<char*>(std::aligned_alloc(64, bytes_))) {
    if (!block_) throw std::bad_alloc();
    ASAN_POISON_MEMORY_REGION(block_, bytes_);
}
Arena::~Arena() {
    ASAN_UNPOISON_MEMORY_REGION(block_, bytes_);
    std::free(block_);
}
void Arena::reset() {
    used_ = 0;
    ASAN_POISON_MEMORY_REGION(block_, bytes_);
}
void* Arena::zeros(long bytes) { return std::memset(raw(bytes), 0, bytes); }
void* Arena::raw(long bytes) {
    const long size = (bytes + 63) / 64 * 64;
    if (used_ + size > bytes_) throw std::logic_error("the native engine ran out of its own work memory: please report this");
    void* out = block_ + used_;
    used_ += size + RED_ZONE;
    ASAN_UNPOISON_MEMORY_REGION(out, bytes);
#if defined(__SANITIZE_ADDRESS__)
    std::memset(out, 0xff, bytes);  // not a number: what is read before it is written shows in the answer
#endif
    return out;
}

Watch::~Watch() = default;

namespace {

struct Interrupted {};

class Bell final : public Watch {
  public:
    Bell(Poll poll, std::atomic<bool>& stop, bool caller) : poll_(poll), stop_(stop), caller_(caller) {}
    void operator()() override {
        if (caller_ && poll_) {
            const auto now = std::chrono::steady_clock::now();
            if (now - last_ > std::chrono::milliseconds(50)) {
                last_ = now;
                if (poll_()) stop_ = true;
            }
        }
        if (stop_.load(std::memory_order_relaxed)) throw Interrupted();
    }

  private:
    Poll poll_;
    std::atomic<bool>& stop_;
    bool caller_;
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Call loop(true) here and loop(false) on count - 1 more threads; loop must not throw.
template <class Loop>
void on_threads(long count, const Loop& loop) {
    std::vector<std::thread> helpers;
    helpers.reserve(count > 1 ? count : 1);
    try {
        for (long i = 1; i < count; ++i) helpers.emplace_back(loop, false);
    } catch (const std::system_error&) {
        // the system gives no more threads: those that there are do the work
    }
    loop(true);
    for (auto& helper : helpers) helper.join();
}

// Call work(arena, first, last, watch) for every group of a batch.
template <class Work>
void parallel(long batch, Choice plan, int threads, Poll poll, const Work& work) {
    const long groups = (batch + plan.group - 1) / plan.group;
    std::atomic<long> next{0};
    std::atomic<bool> stop{false};
    std::exception_ptr failure;
    std::mutex lock;
    const auto loop = [&](bool caller) {
        try {
            Arena arena(plan.bytes);
            Bell bell(poll, stop, caller);
            for (long group; (group = next++) < groups;) {
                bell();
                arena.reset();
                const long first = group * plan.group, last = first + plan.group;
                work(arena, first, last < batch ? last : batch, bell);
            }
        } catch (const Interrupted&) {
            stop = true;
        } catch (...) {
            stop = true;
            const std::lock_guard<std::mutex> guard(lock);
            failure = std::current_exception();
        }
    };
    on_threads(threads < groups ? threads : groups, loop);
    if (failure) std::rethrow_exception(failure);
}

}  // namespace

const Kernels& kernels(int most_lanes) {
#if defined(__x86_64__)
    if (most_lanes >= 8 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw"))
        return avx512_kernels;
    if (most_lanes >= 4 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_kernels;
#endif
    return baseline_kernels;
}

void spread(long batch, int threads, const std::function<void(long, long)>& part) {
    const long most = threads < batch ? threads : batch, count = most > 1 ? most : 1;
    std::atomic<long> next{0};
    std::exception_ptr failure;
    std::mutex lock;
    on_threads(count, [&](bool) {
        try {
            for (long i; (i = next++) < count;) part(batch * i / count, batch * (i + 1) / count);
        } catch (...) {  // out of memory
            const std::lock_guard<std::mutex> guard(lock);
            failure = std::current_exception();
        }
    });
    if (failure) std::rethrow_exception(failure);
}

namespace {

// What the constraints of a solved element are, at another point if need be.
void tell(const Kernels& k, const Data& data, const Sparse* plan, const Options& options, const Answer& answer, long index) {
    const Telling first = tell_activity(data, plan, answer, index, false);
    if (first == Telling::APART) solve_parts(k, data, plan, options, answer, index);
    if (first == Telling::DOUBT && refine(k, data, plan, options, answer, index)) tell_activity(data, plan, answer, index, true);
}

void solve(const Kernels& k, const Data& data, const Sparse* plan, const Options& options, const Answer& answer, Poll poll) {
    const Choice choice = k.choose(data, plan);
    parallel(data.batch, choice, options.threads, poll, [&](Arena& arena, long first, long last, Watch& watch) {
        k.solve(choice, data, plan, options, answer, arena, first, last, watch);
        for (long i = first; i < last; ++i)
            if (data.m && answer.status[i] == OPTIMAL && answer.kind[i * data.m] < 0) {
                tell(k, data, plan, options, answer, i);
            } else if (answer.status[i] == LEFT && !options.interior && !solve_parts(k, data, plan, options, answer, i)) {
                prove(data, answer, i);
            }
    });
}

}  // namespace

Data alone(const Data& d, long i) {
    return {d.n, d.m, d.p, 1, d.Q + i * d.Q_stride, d.q + i * d.q_stride, d.G + i * d.G_stride, d.h + i * d.h_stride,
            d.A + i * d.A_stride, d.b + i * d.b_stride, 0, 0, 0, 0, 0, 0};
}

Answer alone(const Data& d, const Answer& a, long i) {
    return {a.z + i * d.n, a.lam + i * d.m, a.nu + i * d.p, a.s + i * d.m, a.objective + i, a.residuals + 6 * i, a.kind + i * d.m, a.status + i, a.iterations + i};
}

// A batch that cannot be is refused by the memory that it would take: no product of it may overflow before.
Solved::Solved(const Kernels& k, const Data& d, const Options& options, Poll poll)
    : z(std::size_t(d.batch) * d.n), lam(std::size_t(d.batch) * d.m), nu(std::size_t(d.batch) * d.p), s(std::size_t(d.batch) * d.m),
      objective(d.batch), residuals(std::size_t(6) * d.batch), kind(std::size_t(d.batch) * d.m), status(d.batch), iterations(d.batch),
      structure(analyse(d)) {
    solve(k, d, structure ? &sparse_of(*structure) : nullptr, options,
          {z.data(), lam.data(), nu.data(), s.data(), objective.data(), residuals.data(), kind.data(), status.data(), iterations.data()}, poll);
}

bool Solved::settled() const {
    return told() && std::all_of(status.begin(), status.end(), [](long long verdict) { return verdict == OPTIMAL; });
}

bool Solved::told() const {
    return std::all_of(status.begin(), status.end(), [](long long verdict) { return verdict >= OPTIMAL; }) &&
           std::all_of(kind.begin(), kind.end(), [](signed char known) { return known >= 0; });
}

double largest(const double* error, long batch) {
    double most = 0;
    for (long i = 0; i < batch; ++i) most = error[i] <= most ? most : error[i] == error[i] ? error[i] : HUGE_VAL;
    return most;
}

void solve_linearised(const Kernels& k, const Data& data, const Structure* structure, const Linearised& call, int threads, Poll poll) {
    const Sparse* plan = structure ? &sparse_of(*structure) : nullptr;
    const Choice choice = k.choose(data, plan);
    parallel(data.batch, choice, threads, poll, [&](Arena& arena, long first, long last, Watch&) {
        k.solve_linearised(choice, data, plan, call, arena, first, last);
        for (long i = first; i < last; ++i)
            if (call.status[i] == OPTIMAL && !(call.error[i] <= ANSWERED)) solve_degenerate(data, plan, call, i);
    });
}

void solve_cones(const Kernels& k, const ConeData& data, int max_iterations, int threads, const ConeAnswer& answer, Poll poll) {
    const Choice choice = k.choose_cones(data);
    parallel(data.batch, choice, threads, poll, [&](Arena& arena, long first, long last, Watch& watch) {
        k.solve_cones(choice, data, max_iterations, answer, arena, first, last, watch);
    });
}

void solve_cones_linearised(const Kernels& k, const ConeData& data, const ConeLinearised& call, int threads, Poll poll) {
    const Choice choice = k.choose_cones(data);
    parallel(data.batch, choice, threads, poll, [&](Arena& arena, long first, long last, Watch&) {
        k.solve_cones_linearised(choice, data, call, arena, first, last);
    });
}

}  // namespace convex_layers
