// Primal-dual interior point on a group of equilibrated problems, with a polish on the active set as soon as the active set shows. What it
// cannot finish to `tol` on the caller's data is left to the torch engine, which also tells infeasible and unbounded problems apart.
#pragma once
#include "qp/active_sets.hpp"
#include "qp/walk.hpp"

namespace CORE {

using convex_layers::Answer;
using convex_layers::Options;

constexpr int MOST_ITERATIONS = 50;
// A step reduces all residuals by the same factor, up to the errors of its equations; after so many they are measured. Most are solved before.
constexpr int DRIFTED = 6;
// The active set shows when the largest min(λ, s) is so small beside the smallest max(λ, s), or when only some rows are unclear, those
// whose min(λ, s) is not small beside their own max(λ, s).
constexpr double SHOWN = 0.03, UNCLEAR = 0.1;
// … and a row by itself is told where one of the two is less than this part of the other.
constexpr double APART = 1e-3;
// … or where both are smaller than this: it is weakly active, where iterates come near but slowly, or its multiplier is small.
constexpr double VANISHED = 1e-4;
constexpr double WAITED = 2;                // iterations that a lane which is ready waits for the others

template <class T, class Systems>
struct Engine {
    using Mask = typename Lane<T>::Mask;
    using Matrix = typename Systems::Matrix;
    Group<T, Matrix> g;
    Systems sys;
    ActiveSets<T, Systems> sets;
    Walk<T, Systems> walk;

    static long bytes(const Data& d, const Sparse* plan) {
        const long own = ActiveSets<T, Systems>::entries(d) + Walk<T, Systems>::entries(d);
        const long entries = Group<T, Matrix>::entries(d, plan) + Systems::entries(d, plan) + own + 6 * 8;
        return entries * (long)sizeof(T) + 64 * 128 + (long)sizeof(Engine);
    }

    Engine(Arena& a, const Data& d, const Sparse* plan) : g(a, d, plan), sys(a, g, plan), sets(a, g, sys), walk(a, g, sys) {}

    // All lanes are loaded: scale, factorise what stays, forget earlier answers.
    void prepare(const Options& options) {
        g.equilibrate();
        sys.prepare(options.rounding, true);
        sets.prepare();
    }

    // Solve the lanes that are not done.
    template <class Check>
    void run(const Options& options, Check&& check) {
        if (g.m == 0) {
            sets.start_from_zero();
            sets.attempt(negate(sets.done), constant<T>(0), options.tol, true, sets.done);
            // No row will be in doubt, and ask for a sharper point.
            sets.done = sets.best.error <= (options.tol < NEAR ? options.tol : NEAR);
            return;
        }
        if (sys.sets_first()) {
            sets.start_from_zero();
            sets.attempt(negate(sets.done), constant<T>(0), options.tol, false, sets.done);
            // Dependent rows share their multipliers as the iteration would have them, not as the order of the sets has.
            if (!sys.one_set_of_multipliers()) sets.forget();
            if (!any(negate(sets.done))) return;
        }
        walk.initial(sets);
        iterate(options, check);
    }

    // An earlier solution in the caller's units: its active set is tried first.
    void warm(const double* z, const double* lam, const double* nu, const double* s, int lane) {
        for (int j = 0; j < g.n; ++j) Lane<T>::set(sets.trial.x[j], lane, z[j]);
        for (int i = 0; i < g.m; ++i) {
            Lane<T>::set(sets.trial.lam[i], lane, lam[i]);
            Lane<T>::set(sets.trial.on[i], lane, lam[i] > s[i] ? 1.0 : 0.0);
        }
        for (int i = 0; i < g.p; ++i) Lane<T>::set(sets.trial.nu[i], lane, nu[i]);
    }

    void run_warm(const Options& options) {
        g.group(sets.trial.x, sets.trial.lam, sets.trial.nu);
        if (options.precise) sets.refine_beyond(*options.precise, options.tol);
        else if (options.as_it_is) sets.take(constant<T>(0), options.tol);
        else sets.attempt(negate(sets.done), constant<T>(0), options.tol, options.interior, sets.done);
        sets.done = sets.best.error <= options.tol;
    }

    void store(const Answer& out, long index, int lane) {
        g.caller(sets.best.x, sets.best.lam, sets.best.nu, sets.trial.x, sets.trial.lam, sets.trial.nu);  // every lane; cheap
        for (int j = 0; j < g.n; ++j) out.z[index * g.n + j] = Lane<T>::get(sets.trial.x[j], lane);
        for (int i = 0; i < g.m; ++i) out.lam[index * g.m + i] = Lane<T>::get(sets.trial.lam[i], lane);
        for (int i = 0; i < g.p; ++i) out.nu[index * g.p + i] = Lane<T>::get(sets.trial.nu[i], lane);
        for (int i = 0; i < g.m; ++i) out.s[index * g.m + i] = Lane<T>::get(sets.best.slack[i] * g.r / g.Eg[i], lane);
        out.objective[index] = Lane<T>::get(sets.best.objective, lane);
        for (int k = 0; k < 6; ++k) out.residuals[6 * index + k] = Lane<T>::get(sets.best.residuals[k], lane);
        out.iterations[index] = (long long)Lane<T>::get(sets.best.iterations, lane);
        sets.classify(out.kind + index * g.m, lane);
    }

  private:
    template <class Check>
    void iterate(const Options& options, Check&& check) {
        const int most = options.max_iterations < MOST_ITERATIONS ? options.max_iterations : MOST_ITERATIONS;
        T linear = constant<T>(1), waiting = constant<T>(SHOWN), allowed = constant<T>(sys.unclear_rows() * g.m);
        T waited = constant<T>(0);
        Mask tried = sets.done;
        int iteration = 0;
        for (; iteration <= most; ++iteration) {
            check();
            T mixed = constant<T>(0), apart = constant<T>(1e300), unclear = constant<T>(0);
            const T zero = constant<T>(0), one = constant<T>(1);
            Mask each = zero < one;
            for (int i = 0; i < g.m; ++i) {
                const T least = smaller(walk.lam[i], walk.s[i]), most = larger(walk.lam[i], walk.s[i]);
                each = each & ((least <= APART * most) | (most <= VANISHED));
                mixed = larger(mixed, least);
                apart = smaller(apart, most);
                unclear += least > UNCLEAR * most ? one : zero;
            }
            const Mask near = sys.quick() ? linear <= 1.0 : linear < 1e-1;
            const Mask ready = negate(sets.done) & near & ((mixed < waiting * apart) | (unclear <= allowed) | (each & negate(tried)));
            waited = ready ? waited + one : zero;
            // Lanes are tried together: the group needs the iterations of its slowest one anyway.
            const bool all_ready = !any(negate(sets.done) & negate(ready));
            if (iteration > 0 && any(ready) && (all_ready || any(ready & (waited > WAITED)))) {
                guess();
                sets.attempt(ready, constant<T>(iteration), options.tol, false, each);
                // an attempt that failed: wait until the active set shows much better
                waiting = ready ? waiting * 0.03 : waiting;
                allowed = ready ? (unclear > one ? 0.5 * unclear : -one) : allowed;
                tried = tried | (ready & each);
                waited = zero;
            }
            if (!any(negate(sets.done)) || iteration == most) break;
            const T mu = dot(walk.lam, walk.s, g.ldm) * (1.0 / g.m);
            const bool drifted = iteration >= DRIFTED;
            if (drifted) walk.measure_residuals(sets);
            const T alpha = walk.step(mu, drifted);
            linear *= 1 - alpha;
            const Mask ends = negate(mu > 1e-15) & (linear < 1e-12);
            if (!any(negate(sets.done) & negate(ends)) || !any(negate(sets.done) & (alpha > 1e-7))) break;
        }
        settle(options.tol, constant<T>(iteration));
    }

    void guess() {
        std::memcpy(sets.trial.x, walk.x, g.ldn * sizeof(T));
        std::memcpy(sets.trial.nu, walk.nu, g.ldp * sizeof(T));
        const T zero = constant<T>(0), one = constant<T>(1);
        for (int i = 0; i < g.m; ++i) {
            sets.trial.on[i] = walk.lam[i] > walk.s[i] ? one : zero;
            sets.trial.lam[i] = walk.lam[i] > walk.s[i] ? walk.lam[i] : zero;
        }
    }

    // Where the active set never showed (a weakly active constraint hides it), the best of what was seen, of the last guess and of
    // the iterate itself, if it meets the tolerance.
    void settle(double tol, T iteration) {
        if (!any(negate(sets.done))) return;
        guess();
        sets.attempt(negate(sets.done), iteration, tol, true, sets.done);
        std::memcpy(sets.trial.x, walk.x, g.ldn * sizeof(T));
        std::memcpy(sets.trial.lam, walk.lam, g.ldm * sizeof(T));
        std::memcpy(sets.trial.nu, walk.nu, g.ldp * sizeof(T));
        sets.take(iteration, tol);
        sets.done = sets.best.error <= tol;
    }
};

}  // namespace CORE
