// One group of problems from load to answer: what an instruction set offers to the scheduler.
#pragma once
#include "cone/derivative.hpp"
#include "cone/engine.hpp"
#include "qp/derivative.hpp"
#include "qp/engine.hpp"
#include "qp/gram.hpp"
#include "qp/separable.hpp"

namespace CORE {

using convex_layers::Linearised;
using convex_layers::Choice;
using convex_layers::Verdict;
using convex_layers::Watch;

// The rows of an element that was not solved.
inline void blank(const Data& d, const Answer& out, long index) {
    // Loops, for memset may not be given the null pointer of an array without entries.
    clear(out.z + index * d.n, d.n);
    clear(out.lam + index * d.m, d.m);
    clear(out.nu + index * d.p, d.p);
    clear(out.s + index * d.m, d.m);
    for (int i = 0; i < d.m; ++i) out.kind[index * d.m + i] = 0;
    clear(out.residuals + 6 * index, 6);
    out.objective[index] = 0;
    out.iterations[index] = 0;
}

template <class T, class Systems>
void solve_part(const Data& data, const Sparse* plan, const Options& options, const Answer& out, Arena& arena, long first, long last, Watch& watch) {
    using Engine = CORE::Engine<T, Systems>;
    constexpr int lanes = Lane<T>::count;
    Engine& engine = *static_cast<Engine*>(arena.zeros(sizeof(Engine)));
    new (&engine) Engine(arena, data, plan);
    // A group that is not full repeats its last problem.
    const auto index_of = [&](int lane) { return first + lane < last ? first + lane : last - 1; };
    for (int lane = 0; lane < lanes; ++lane) engine.g.load(data, index_of(lane), lane);
    engine.prepare(options);
    if (options.z) {
        for (int lane = 0; lane < lanes; ++lane) {
            const long i = index_of(lane);
            engine.warm(options.z + i * data.n, options.lam + i * data.m, options.nu + i * data.p, options.s + i * data.m, lane);
        }
        engine.run_warm(options);
    }
    if (!options.interior && !options.as_it_is && !options.precise && any(negate(engine.sets.done))) engine.run(options, watch);
    for (int lane = 0; lane < lanes && first + lane < last; ++lane) {
        const auto& g = engine.g;
        const double skew = Lane<T>::get(g.skew, lane), scale = Lane<T>::get(g.scale, lane);
        const bool sound = g.finite[lane] && skew <= options.rounding * scale && Lane<T>::get(engine.sys.curvature_pivot, lane) > 0;
        const bool solved = sound && at(engine.sets.done, lane);
        solved ? engine.store(out, first + lane, lane) : blank(data, out, first + lane);
        if (!solved) out.iterations[first + lane] = (long long)Lane<T>::get(engine.sets.best.iterations, lane);
        out.status[first + lane] = solved ? Verdict::OPTIMAL : sound ? Verdict::LEFT : Verdict::SUSPECT;
    }
}

template <class T, class Systems>
void derivative_part(const Data& data, const Sparse* plan, const Linearised& call, Arena& arena, long first, long last) {
    using Derivative = CORE::Derivative<T, Systems>;
    Derivative* one = static_cast<Derivative*>(arena.zeros(sizeof(Derivative)));
    new (one) Derivative(arena, data, plan);
    bool plain[Lane<T>::count], any_plain = false;
    for (int lane = 0; lane < Lane<T>::count; ++lane) {
        const long index = first + lane < last ? first + lane : last - 1;
        one->g.load(data, index, lane);
        plain[lane] = one->load(call, index, lane);
        any_plain = any_plain || plain[lane];
    }
    if (any_plain) one->run();
    for (int lane = 0; lane < Lane<T>::count && first + lane < last; ++lane) one->store(call, first + lane, lane, plain[lane]);
}

template <class T, class Systems>
long bytes(const Data& d, const Sparse* plan) {
    const long engine = Engine<T, Systems>::bytes(d, plan), derivative = Derivative<T, Systems>::bytes(d, plan);
    return engine > derivative ? engine : derivative;
}

// Whether the diagonal of the first Q lets its condition be small.
inline bool may_be_curved(const Data& d) {
    double least = 1e300, most = 0;
    for (long j = 0; j < d.n; ++j) {
        const double own = d.Q[j * d.n + j];
        least = smaller(least, own), most = larger(most, own);
    }
    return least > STRICT * most;
}

// Which kernel is fastest, by the cycles that its factorisations take. Measured: a multiplication of the sparse kernel costs as much as
// SPARSE_COST multiplications of the dense one per lane, which fills its registers alone.
inline Choice choose(const Data& d, const Sparse* plan) {
    const double n = d.n, m = d.m, p = d.p;
    const double dense = n * n * (0.5 * m + n / 6) + p * (n * n + 0.5 * n * p + p * p / 6);
    const bool many = d.batch > 1;
    const double schur = n * p * p / 2 + p * p * p / 6;
    if (plan && plan->separable && schur < dense && schur < plan->multiplications * SPARSE_COST * (many ? 1 : W)) {
        const long side_by_side = bytes<V, SeparableSystems<V>>(d, plan);
        if (many && side_by_side <= SIDE_BY_SIDE_BYTES && d.p < SCHUR_SINGLE) return {Choice::SEPARABLE_LANES, W, side_by_side};
        return {Choice::SEPARABLE_SINGLE, 1, bytes<double, SeparableSystems<double>>(d, plan)};
    }
    // A single problem can keep the rows of earlier active sets, which pays where there is room for half of the inequalities.
    const bool alone = d.n >= SETS_ALONE * W && DenseSystems<double>::roomy(n, m, p);
    // Lanes without a problem cost as much as others.
    const double sparse = plan ? plan->multiplications * SPARSE_COST * (many ? (double)W / smaller((double)d.batch, (double)W) : W) : 0;
    if (plan && sparse < (alone && may_be_curved(d) ? dense / SETS_SAVE : dense)) {
        const long side_by_side = bytes<V, SparseSystems<V>>(d, plan);
        if (many && side_by_side < SPARSE_BYTES) return {Choice::SPARSE_LANES, W, side_by_side};
        return {Choice::SPARSE_SINGLE, 1, bytes<double, SparseSystems<double>>(d, plan)};
    }
    const long side_by_side = bytes<V, DenseSystems<V>>(d, nullptr);
    if (many && !alone && side_by_side <= SIDE_BY_SIDE_BYTES) return {Choice::DENSE_LANES, W, side_by_side};
    return {Choice::DENSE_SINGLE, 1, bytes<double, DenseSystems<double>>(d, nullptr)};
}

inline void solve(const Choice& choice, const Data& data, const Sparse* plan, const Options& options, const Answer& out, Arena& arena, long first,
                  long last, Watch& watch) {
    switch (choice.kernel) {
        case Choice::DENSE_LANES: return solve_part<V, DenseSystems<V>>(data, plan, options, out, arena, first, last, watch);
        case Choice::DENSE_SINGLE: return solve_part<double, DenseSystems<double>>(data, plan, options, out, arena, first, last, watch);
        case Choice::SPARSE_LANES: return solve_part<V, SparseSystems<V>>(data, plan, options, out, arena, first, last, watch);
        case Choice::SEPARABLE_LANES: return solve_part<V, SeparableSystems<V>>(data, plan, options, out, arena, first, last, watch);
        case Choice::SEPARABLE_SINGLE: return solve_part<double, SeparableSystems<double>>(data, plan, options, out, arena, first, last, watch);
        case Choice::SPARSE_SINGLE: return solve_part<double, SparseSystems<double>>(data, plan, options, out, arena, first, last, watch);
    }
}

inline void solve_linearised(const Choice& choice, const Data& data, const Sparse* plan, const Linearised& call, Arena& arena, long first, long last) {
    switch (choice.kernel) {
        case Choice::DENSE_LANES: return derivative_part<V, DenseSystems<V>>(data, plan, call, arena, first, last);
        case Choice::DENSE_SINGLE: return derivative_part<double, DenseSystems<double>>(data, plan, call, arena, first, last);
        case Choice::SPARSE_LANES: return derivative_part<V, SparseSystems<V>>(data, plan, call, arena, first, last);
        case Choice::SEPARABLE_LANES: return derivative_part<V, SeparableSystems<V>>(data, plan, call, arena, first, last);
        case Choice::SEPARABLE_SINGLE: return derivative_part<double, SeparableSystems<double>>(data, plan, call, arena, first, last);
        case Choice::SPARSE_SINGLE: return derivative_part<double, SparseSystems<double>>(data, plan, call, arena, first, last);
    }
}

template <class T>
void cone_part(const ConeData& data, int most, const ConeAnswer& out, Arena& arena, long first, long last, Watch& watch) {
    ConeEngine<T>& engine = *static_cast<ConeEngine<T>*>(arena.zeros(sizeof(ConeEngine<T>)));
    new (&engine) ConeEngine<T>(arena, data);
    for (int lane = 0; lane < Lane<T>::count; ++lane) engine.g.load(data, data.q, data.b, first + lane < last ? first + lane : last - 1, lane);
    engine.run(most, watch);
    for (int lane = 0; lane < Lane<T>::count && first + lane < last; ++lane) {
        engine.store(out, first + lane, lane);
        const Verdict found = engine.newton.suspect(lane) ? Verdict::SUSPECT : Verdict::OPTIMAL;
        out.status[first + lane] = engine.solved(lane) ? found : Verdict::LEFT;
    }
}

template <class T>
void cone_derivative_part(const ConeData& data, const ConeLinearised& call, Arena& arena, long first, long last) {
    ConeDerivative<T>& one = *static_cast<ConeDerivative<T>*>(arena.zeros(sizeof(ConeDerivative<T>)));
    new (&one) ConeDerivative<T>(arena, data);
    for (int lane = 0; lane < Lane<T>::count; ++lane) one.load(data, call, first + lane < last ? first + lane : last - 1, lane);
    one.run();
    for (int lane = 0; lane < Lane<T>::count && first + lane < last; ++lane) one.store(call, first + lane, lane);
}

inline Choice choose_cones(const ConeData& d) {
    const auto bytes = [&](auto one) {
        using T = decltype(one);
        const long engine = ConeEngine<T>::bytes(d), derivative = ConeDerivative<T>::bytes(d);
        return engine > derivative ? engine : derivative;
    };
    const long side_by_side = bytes(V{});
    if (d.batch > 1 && side_by_side <= SIDE_BY_SIDE_BYTES) return {Choice::DENSE_LANES, W, side_by_side};
    return {Choice::DENSE_SINGLE, 1, bytes(0.0)};
}

inline void solve_cones(const Choice& choice, const ConeData& data, int most, const ConeAnswer& out, Arena& arena, long first, long last, Watch& watch) {
    if (choice.kernel == Choice::DENSE_LANES) return cone_part<V>(data, most, out, arena, first, last, watch);
    return cone_part<double>(data, most, out, arena, first, last, watch);
}

inline void solve_cones_linearised(const Choice& choice, const ConeData& data, const ConeLinearised& call, Arena& arena, long first, long last) {
    if (choice.kernel == Choice::DENSE_LANES) return cone_derivative_part<V>(data, call, arena, first, last);
    return cone_derivative_part<double>(data, call, arena, first, last);
}

}  // namespace CORE

namespace convex_layers {
extern const Kernels CORE_KERNELS;
const Kernels CORE_KERNELS{CORE::W, CORE::choose, CORE::solve, CORE::solve_linearised, CORE::weighted_gram, CORE::choose_cones, CORE::solve_cones, CORE::solve_cones_linearised};
}  // namespace convex_layers
