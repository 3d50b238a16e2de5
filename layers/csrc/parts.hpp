// One group of problems from load to answer: what an instruction set offers to the scheduler.
#pragma once
#include "derivative.hpp"
#include "engine.hpp"

namespace CORE {

using convex_layers::Linearised;
using convex_layers::Verdict;
using convex_layers::Watch;

template <class T>
void solve_part(const Data& data, const Options& options, const Answer& out, Arena& arena, long first, long last, Watch& watch) {
    constexpr int lanes = Lane<T>::count;
    const auto fresh = [&] {
        arena.reset();
        Engine<T>* engine = static_cast<Engine<T>*>(arena.zeros(sizeof(Engine<T>)));
        new (engine) Engine<T>(arena, data.n, data.m, data.p);
        // A group that is not full repeats its last problem.
        for (int lane = 0; lane < lanes; ++lane) engine->g.load(data, first + lane < last ? first + lane : last - 1, lane);
        return engine;
    };
    const auto keep = [&](Engine<T>& engine) {
        bool all = true;
        for (int lane = 0; lane < lanes && first + lane < last; ++lane) {
            const long index = first + lane;
            const auto& g = engine.g;
            const double skew = Lane<T>::get(g.skew, lane), scale = Lane<T>::get(g.scale, lane);
            const bool sound = g.finite[lane] && skew <= options.rounding * scale && Lane<T>::get(engine.sys.curvature_pivot, lane) > 0;
            if (sound && at(engine.done, lane)) {
                engine.store(out, index, lane);
                out.status[index] = Verdict::OPTIMAL;
            } else {
                out.status[index] = sound ? Verdict::LEFT : Verdict::SUSPECT;
                all = false;
            }
        }
        return all;
    };
    Engine<T>* engine = fresh();
    if (options.z) {
        for (int lane = 0; lane < lanes; ++lane) {
            const long i = first + lane < last ? first + lane : last - 1;
            engine->warm(options.z + i * data.n, options.lam + i * data.m, options.nu + i * data.p, options.s + i * data.m, lane);
        }
        engine->run_warm(options);
        if (keep(*engine)) return;
        engine = fresh();
    }
    engine->run(options, watch);
    keep(*engine);
}

template <class T>
void derivative_part(const Data& data, const Linearised& call, Arena& arena, long first, long last) {
    Derivative<T>* one = static_cast<Derivative<T>*>(arena.zeros(sizeof(Derivative<T>)));
    new (one) Derivative<T>(arena, data.n, data.m, data.p);
    bool plain[Lane<T>::count];
    for (int lane = 0; lane < Lane<T>::count; ++lane) {
        const long index = first + lane < last ? first + lane : last - 1;
        one->g.load(data, index, lane);
        plain[lane] = one->load(call, index, lane);
    }
    one->run();
    for (int lane = 0; lane < Lane<T>::count && first + lane < last; ++lane) one->store(call, first + lane, lane, plain[lane]);
}

// Problems side by side pay while a group of them fits the second-level cache, and while the batch fills the lanes.
inline bool side_by_side(const Data& data) {
    return data.batch > 1 && Engine<V>::bytes(data.n, data.m, data.p) <= SIDE_BY_SIDE_BYTES;
}

template <class T>
long bytes_for(const Data& d) {
    const long engine = Engine<T>::bytes(d.n, d.m, d.p) + (long)sizeof(Engine<T>);
    const long derivative = Derivative<T>::bytes(d.n, d.m, d.p) + (long)sizeof(Derivative<T>);
    return engine > derivative ? engine : derivative;
}

inline convex_layers::Plan plan(const Data& data) {
    return side_by_side(data) ? convex_layers::Plan{W, bytes_for<V>(data)} : convex_layers::Plan{1, bytes_for<double>(data)};
}

inline void solve(const Data& data, const Options& options, const Answer& out, Arena& arena, long first, long last, Watch& watch) {
    side_by_side(data) ? solve_part<V>(data, options, out, arena, first, last, watch)
                       : solve_part<double>(data, options, out, arena, first, last, watch);
}

inline void solve_linearised(const Data& data, const Linearised& call, Arena& arena, long first, long last, Watch&) {
    side_by_side(data) ? derivative_part<V>(data, call, arena, first, last) : derivative_part<double>(data, call, arena, first, last);
}

}  // namespace CORE

namespace convex_layers {
extern const Kernels CORE_KERNELS;
const Kernels CORE_KERNELS{CORE::W, CORE::plan, CORE::solve, CORE::solve_linearised};
}  // namespace convex_layers
